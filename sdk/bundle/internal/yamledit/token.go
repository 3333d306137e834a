package yamledit

import (
	"fmt"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// token is a scalar as it is written.
type token struct {
	// src[start:end] is the scalar with its quotes or its block header,
	// without anchor, tag and the line break after it.
	start, end int
	style      yaml.Style
	// comment is what stands in the header line of a block scalar.
	comment string
	// glued tells that nothing stands between an anchor and the scalar.
	glued bool
	value decoded
}

// decoded is a scalar's value, and for each byte of it the bytes of the source
// that it comes from. What joins two lines has no byte of the value to itself.
type decoded struct {
	text     []byte
	from, to []int
}

func (d *decoded) add(value string, from, to int) {
	for i := range len(value) {
		d.text = append(d.text, value[i])
		d.from = append(d.from, from)
		d.to = append(d.to, to)
	}
}

// addRune copies the character at pos and returns the offset after it.
func (d *decoded) addRune(src []byte, pos int) int {
	_, width := utf8.DecodeRune(src[pos:])
	d.add(string(src[pos:pos+width]), pos, pos+width)
	return pos + width
}

const quoting = yaml.DoubleQuotedStyle | yaml.SingleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle

// locate finds a scalar in the source. The value that the parser read is the
// measure: what does not decode to it is not located.
func (d *Document) locate(n *yaml.Node) (token, error) {
	pos, ok := d.offset(n)
	if !ok {
		return token{}, fmt.Errorf("line %d: a value lies outside the text", n.Line)
	}
	end, next := d.skipProperties(pos)
	t := token{start: next, style: n.Style & quoting, glued: next == end && end > pos}
	switch t.style {
	case yaml.DoubleQuotedStyle, yaml.SingleQuotedStyle:
		ok = d.quoted(&t)
	case yaml.LiteralStyle, yaml.FoldedStyle:
		ok = d.block(&t, n.Value)
	default:
		if n.Value == "" {
			t.start, t.end = end, end
			return t, nil
		}
		ok = d.plain(&t, n.Value)
	}
	if !ok || string(t.value.text) != n.Value {
		return token{}, fmt.Errorf("line %d: a value is written in a way that cannot be edited", n.Line)
	}
	return t, nil
}

// plain decodes an unquoted scalar. Where it ends depends on its surroundings,
// which the parser has judged: it ends with its value.
func (d *Document) plain(t *token, want string) bool {
	pos := t.start
	for len(t.value.text) < len(want) && pos < len(d.src) {
		pos = d.foldOrCopy(&t.value, pos, false)
	}
	t.end = pos
	return true
}

// foldOrCopy adds the character at pos, or the white space and line breaks
// there as a flow scalar's value shows them, and returns the offset after it.
// When joined, pos is behind an escaped line break.
func (d *Document) foldOrCopy(v *decoded, pos int, joined bool) int {
	start := pos
	var breaks []string
	for pos < len(d.src) {
		if isBlank(d.src[pos]) {
			pos++
			continue
		}
		width, value := lineBreak(d.src[pos:])
		if width == 0 {
			break
		}
		breaks = append(breaks, value)
		pos += width
	}
	switch {
	case joined:
		for _, b := range breaks {
			v.add(b, start, pos)
		}
	case pos == start:
		return v.addRune(d.src, pos)
	case len(breaks) == 0:
		for i := start; i < pos; i++ {
			v.add(string(d.src[i]), i, i+1)
		}
	case breaks[0] != "\n":
		for _, b := range breaks {
			v.add(b, start, pos)
		}
	case len(breaks) == 1:
		v.add(" ", start, pos)
	default:
		for _, b := range breaks[1:] {
			v.add(b, start, pos)
		}
	}
	return pos
}

// quoted decodes a scalar in quotes of either kind.
func (d *Document) quoted(t *token) bool {
	if t.start >= len(d.src) {
		return false
	}
	quote := d.src[t.start]
	if quote != '"' && quote != '\'' {
		return false
	}
	pos := t.start + 1
	for pos < len(d.src) {
		rest := d.src[pos:]
		switch {
		case quote == '\'' && len(rest) > 1 && rest[0] == '\'' && rest[1] == '\'':
			t.value.add("'", pos, pos+2)
			pos += 2
		case rest[0] == quote:
			t.end = pos + 1
			return true
		case quote == '"' && rest[0] == '\\':
			if width, _ := lineBreak(rest[1:]); width > 0 {
				pos = d.foldOrCopy(&t.value, pos+1+width, true)
				continue
			}
			value, width := unescape(rest)
			if width == 0 {
				return false
			}
			t.value.add(value, pos, pos+width)
			pos += width
		default:
			pos = d.foldOrCopy(&t.value, pos, false)
		}
	}
	return false
}
