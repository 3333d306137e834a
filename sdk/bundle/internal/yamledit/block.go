package yamledit

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// block decodes a literal or folded scalar.
func (d *Document) block(t *token, want string) bool {
	pos := t.start + 1
	explicit := 0
	var chomp byte
	for ; pos < len(d.src); pos++ {
		c := d.src[pos]
		if c >= '1' && c <= '9' {
			explicit = int(c - '0')
		} else if c == '+' || c == '-' {
			chomp = c
		} else {
			break
		}
	}
	headerEnd := d.lineEnd(pos)
	t.comment = strings.TrimSpace(string(d.src[pos:headerEnd]))
	body := headerEnd
	if width, _ := lineBreak(d.src[body:]); width > 0 {
		body += width
	}
	for _, indent := range d.indents(body, explicit, want) {
		t.value = decoded{}
		t.end = headerEnd
		d.blockLines(t, body, indent, chomp)
		if string(t.value.text) == want {
			return true
		}
	}
	return false
}

// indents returns how many spaces may have to be taken off the lines from pos
// on, the likeliest first. A header with a digit counts from the parent's
// indentation, which is not known here; the value tells.
func (d *Document) indents(pos, explicit int, want string) []int {
	written, deepest := -1, 1
	for written < 0 && pos < len(d.src) {
		end := d.lineEnd(pos)
		line := string(d.src[pos:end])
		spaces := len(line) - len(strings.TrimLeft(line, " "))
		deepest = max(deepest, spaces)
		if spaces < len(line) {
			written = spaces
		}
		width, _ := lineBreak(d.src[end:])
		if pos = end + width; width == 0 {
			break
		}
	}
	if explicit == 0 {
		// What follows an empty scalar looks like its first line.
		return []int{deepest, deepest + 1}
	}
	for line := range strings.Lines(want) {
		if text := strings.TrimLeft(line, " "); strings.TrimRight(text, "\n") != "" {
			return []int{written - (len(line) - len(text))}
		}
	}
	// Nothing but spaces: the parent is at most as deep as they are.
	var all []int
	for indent := explicit; indent <= min(deepest, maxDepth); indent++ {
		all = append(all, indent)
	}
	return append(all, deepest+1)
}

// blockLines decodes the lines of a block scalar.
func (d *Document) blockLines(t *token, pos, indent int, chomp byte) {
	type ending struct {
		text     string
		from, to int
	}
	var lead ending
	var trail []ending
	column := 0
	// indentation goes to the first line that is not empty.
	indentation := func() {
		for {
			column = 0
			for column < indent && pos < len(d.src) && d.src[pos] == ' ' {
				pos++
				column++
			}
			width, value := lineBreak(d.src[pos:])
			if width == 0 {
				return
			}
			trail = append(trail, ending{value, pos, pos + width})
			pos += width
		}
	}
	put := func(e ending) { t.value.add(e.text, e.from, e.to) }
	indentation()
	indentedBefore := false
	for column == indent && pos < len(d.src) {
		indented := isBlank(d.src[pos])
		folds := t.style == yaml.FoldedStyle && !indentedBefore && !indented && lead.text == "\n"
		switch {
		case folds && len(trail) == 0:
			lead.text = " "
			put(lead)
		case !folds:
			put(lead)
		}
		for _, e := range trail {
			put(e)
		}
		lead, trail = ending{}, nil
		indentedBefore = indented
		for end := d.lineEnd(pos); pos < end; {
			pos = t.value.addRune(d.src, pos)
		}
		t.end = pos
		if width, value := lineBreak(d.src[pos:]); width > 0 {
			lead = ending{value, pos, pos + width}
			pos += width
		}
		indentation()
	}
	if chomp != '-' {
		put(lead)
	}
	if chomp == '+' {
		for _, e := range trail {
			put(e)
			t.end = e.from
		}
	}
}
