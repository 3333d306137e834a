package yamledit

import (
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// lineBreak returns the length of the line break that src begins with, 0 if it
// begins with none, and how a scalar's value shows it. YAML 1.1, which the
// parser follows, has three breaks beyond those of ASCII.
func lineBreak(src []byte) (width int, value string) {
	switch {
	case len(src) == 0:
		return 0, ""
	case src[0] == '\n':
		return 1, "\n"
	case src[0] == '\r':
		if len(src) > 1 && src[1] == '\n' {
			return 2, "\n"
		}
		return 1, "\n"
	case len(src) > 1 && src[0] == 0xC2 && src[1] == 0x85:
		return 2, "\n"
	case len(src) > 2 && src[0] == 0xE2 && src[1] == 0x80 && (src[2] == 0xA8 || src[2] == 0xA9):
		return 3, string(src[:3])
	}
	return 0, ""
}

func isBlank(b byte) bool { return b == ' ' || b == '\t' }

// lineStarts returns the offset of every line's first character.
func lineStarts(src []byte) []int {
	pos := 0
	if len(src) >= 3 && src[0] == 0xEF && src[1] == 0xBB && src[2] == 0xBF {
		pos = 3
	}
	starts := []int{pos}
	for pos < len(src) {
		if width, _ := lineBreak(src[pos:]); width > 0 {
			pos += width
			starts = append(starts, pos)
			continue
		}
		pos++
	}
	return starts
}

// offset returns where n begins: its anchor or tag if it has one.
func (d *Document) offset(n *yaml.Node) (int, bool) {
	if d.offsets != nil {
		at, ok := d.offsets[n]
		return at, ok
	}
	if n.Line < 1 || n.Line > len(d.lines) {
		return 0, false
	}
	pos := d.lines[n.Line-1]
	for range n.Column - 1 {
		if pos >= len(d.src) {
			return 0, false
		}
		_, width := utf8.DecodeRune(d.src[pos:])
		pos += width
	}
	return pos, true
}

// lineEnd returns the offset of the line break at or after pos, or the end of
// the document.
func (d *Document) lineEnd(pos int) int {
	for pos < len(d.src) {
		if width, _ := lineBreak(d.src[pos:]); width > 0 {
			break
		}
		pos++
	}
	return pos
}

// skipProperties returns the offset after the anchor and the tag that begin at
// pos, and the offset of what follows them. An anchor ends where its letters
// do, a tag at white space.
func (d *Document) skipProperties(pos int) (end, next int) { return d.skipSome(pos, 2) }

// skipSome is skipProperties for at most so many of them.
func (d *Document) skipSome(pos, most int) (end, next int) {
	end, next = pos, pos
	for ; most > 0 && next < len(d.src) && (d.src[next] == '&' || d.src[next] == '!'); most-- {
		anchor := d.src[next] == '&'
		end = next + 1
		for end < len(d.src) && !isBlank(d.src[end]) && (!anchor || isAnchor(d.src[end])) {
			if width, _ := lineBreak(d.src[end:]); width > 0 {
				break
			}
			end++
		}
		next = d.skipSpace(end)
	}
	return end, next
}

func isAnchor(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c == '_' || c == '-'
}

// skipSpace returns the offset of the first byte at or after pos that is not
// white space, a line break or part of a comment.
func (d *Document) skipSpace(pos int) int {
	for pos < len(d.src) {
		if isBlank(d.src[pos]) {
			pos++
			continue
		}
		if width, _ := lineBreak(d.src[pos:]); width > 0 {
			pos += width
			continue
		}
		if d.src[pos] == '#' && (pos == 0 || isSpaceBefore(d.src, pos)) {
			pos = d.lineEnd(pos)
			continue
		}
		break
	}
	return pos
}

// isSpaceBefore reports whether the byte before pos ends a word.
func isSpaceBefore(src []byte, pos int) bool {
	switch src[pos-1] {
	case ' ', '\t', '\n', '\r', 0x85, 0xA8, 0xA9, 0xBF:
		return true
	}
	return false
}
