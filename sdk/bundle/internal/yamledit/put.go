package yamledit

import (
	"fmt"
	"sort"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Pair is a key and its value for Put.
type Pair struct {
	Key string
	// Value is built of the nodes that Text, List and Map return.
	Value *yaml.Node
}

// Text returns a node for Put that holds a string.
func Text(text string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}
}

// List returns a node for Put that holds a sequence.
func List(items ...*yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Content: items}
}

// Map returns a node for Put that holds a mapping.
func Map(pairs ...Pair) *yaml.Node {
	m := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	for _, p := range pairs {
		m.Content = append(m.Content, Text(p.Key), p.Value)
	}
	return m
}

// Put sets keys of a mapping that is part of the document. The value of a key
// that is there is replaced; other keys are added at the mapping's end, in the
// order given and in the mapping's own style; at its beginning if the document
// ends within a literal, without a line break. A mapping takes one Put before
// each Apply.
func (d *Document) Put(m *yaml.Node, pairs ...Pair) error {
	if m.Kind != yaml.MappingNode {
		return fmt.Errorf("line %d: not a mapping", m.Line)
	}
	if err := d.touch(m); err != nil {
		return err
	}
	var missing []Pair
	for _, p := range pairs {
		at := -1
		for i := 0; i < len(m.Content); i += 2 {
			if k := m.Content[i]; k.Kind == yaml.ScalarNode && k.ShortTag() == "!!str" && k.Value == p.Key {
				at = i
			}
		}
		if at < 0 {
			missing = append(missing, p)
		} else if err := d.putOver(m, at, p); err != nil {
			return err
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return d.putNew(m, missing)
}

// putOver replaces the value of the pair at m.Content[i].
func (d *Document) putOver(m *yaml.Node, i int, p Pair) error {
	key, old := m.Content[i], m.Content[i+1]
	if old.Kind == yaml.ScalarNode && p.Value.Kind == yaml.ScalarNode && !IsNull(old) {
		return d.Set(old, p.Value.Value)
	}
	start, end, colon, err := d.valueSpan(key, old)
	if err != nil {
		return err
	}
	text := colon + " " + d.flow(p.Value)
	if m.Style&yaml.FlowStyle == 0 && p.Value.Kind != yaml.ScalarNode {
		_, column, err := d.keys(m)
		if err != nil {
			return err
		}
		if p.Value.Kind == yaml.MappingNode {
			column += 2
		}
		text = colon + d.newline() + strings.TrimSuffix(d.blockOf(p.Value, column), d.newline())
	}
	d.edits = append(d.edits, edit{start, end, text})
	m.Content[i+1] = p.Value
	return nil
}

// valueSpan returns where the value of a pair stands, the blanks before it
// included, and the colon if that is not written either.
func (d *Document) valueSpan(key, value *yaml.Node) (start, end int, colon string, err error) {
	if !d.isUnwritten(value) {
		end, err = d.end(value)
		start, _ = d.offset(value)
		for start > 0 && isBlank(d.src[start-1]) {
			start--
		}
		return start, end, "", err
	}
	if end, err = d.end(key); err != nil {
		return 0, 0, "", err
	}
	if at := d.skipSpace(end); at < len(d.src) && d.src[at] == ':' {
		return at + 1, at + 1, "", nil
	}
	return end, end, ":", nil
}

func (d *Document) putNew(m *yaml.Node, pairs []Pair) error {
	added := Map(pairs...)
	if m.Style&yaml.FlowStyle != 0 {
		if err := d.putFlow(m, pairs); err != nil {
			return err
		}
		m.Content = append(m.Content, added.Content...)
		return nil
	}
	end, err := d.end(m)
	if err != nil {
		return err
	}
	first, column, err := d.keys(m)
	if err != nil {
		return err
	}
	text := d.blockOf(added, column)
	pos := d.lineEnd(end)
	width, _ := lineBreak(d.src[pos:])
	switch {
	case width == 0 && endsInBlock(m):
		// A line break behind the last value would become a part of it.
		pos, text = first, text[column:]+strings.Repeat(" ", column)
		m.Content = append(added.Content, m.Content...)
	case width == 0:
		text = d.newline() + strings.TrimSuffix(text, d.newline())
		m.Content = append(m.Content, added.Content...)
	default:
		pos += width
		m.Content = append(m.Content, added.Content...)
	}
	d.edits = append(d.edits, edit{pos, pos, text})
	return nil
}

// endsInBlock reports whether the last value in n is a literal or folded one.
func endsInBlock(n *yaml.Node) bool {
	for len(n.Content) > 0 {
		n = n.Content[len(n.Content)-1]
	}
	return n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0
}

func (d *Document) putFlow(m *yaml.Node, pairs []Pair) error {
	pos, ok := d.offset(m)
	if !ok {
		return fmt.Errorf("line %d: a mapping lies outside the text", m.Line)
	}
	_, open := d.skipProperties(pos)
	if open >= len(d.src) || d.src[open] != '{' {
		return fmt.Errorf("line %d: a mapping without braces cannot be added to", m.Line)
	}
	var b strings.Builder
	if len(m.Content) == 0 {
		for i, p := range pairs {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(doubleQuoted(p.Key) + ": " + d.flow(p.Value))
		}
		d.edits = append(d.edits, edit{open + 1, open + 1, b.String()})
		return nil
	}
	// New pairs are set apart from the others as the first is from the brace.
	gap := string(d.src[open+1 : d.skipBlanks(open+1)])
	if gap == "" {
		gap = " "
	}
	for _, p := range pairs {
		b.WriteString("," + gap + doubleQuoted(p.Key) + ": " + d.flow(p.Value))
	}
	end, err := d.lastEnd(m)
	if err != nil {
		return err
	}
	text := b.String()
	if last := m.Content[len(m.Content)-1]; last.Kind == yaml.ScalarNode && last.Value == "" && last.Style&quoting == 0 && !isSpaceBefore(d.src, end) && d.src[end-1] != ':' {
		// A comma would become a part of the tag that ends here.
		text = " " + text
	}
	d.edits = append(d.edits, edit{end, end, text})
	return nil
}

// skipBlanks returns the offset of the first byte from pos on that is neither
// white space nor a line break.
func (d *Document) skipBlanks(pos int) int {
	for pos < len(d.src) {
		width, _ := lineBreak(d.src[pos:])
		if width == 0 && isBlank(d.src[pos]) {
			width = 1
		}
		if width == 0 {
			break
		}
		pos += width
	}
	return pos
}

// keys returns where the first key of a block mapping is, and how many spaces
// stand before each of them. The parser tells where the anchor or tag is, if
// there is one: they are the mapping's if the line ends behind them, and else
// the first key's.
func (d *Document) keys(m *yaml.Node) (first, column int, err error) {
	first, ok := d.offset(m)
	if !ok {
		return 0, 0, fmt.Errorf("line %d: a mapping lies outside the text", m.Line)
	}
	for at := first; ; {
		end, next := d.skipSome(at, 1)
		if next == at {
			break
		}
		if d.lineEnd(end) < next {
			first = next
		}
		at = next
	}
	line := sort.SearchInts(d.lines, first+1) - 1
	return first, utf8.RuneCount(d.src[d.lines[line]:first]), nil
}

// newline returns the line break that the document's first line ends with.
func (d *Document) newline() string {
	end := d.lineEnd(0)
	if width, value := lineBreak(d.src[end:]); value == "\n" && d.src[end] != 0xC2 {
		return string(d.src[end : end+width])
	}
	return "\n"
}

// blockOf writes a sequence or a mapping line by line, each ending in a line
// break.
func (d *Document) blockOf(n *yaml.Node, column int) string {
	indent := strings.Repeat(" ", column)
	var b strings.Builder
	switch n.Kind {
	case yaml.SequenceNode:
		for _, item := range n.Content {
			text := indent + "  " + d.flow(item) + d.newline()
			if item.Kind == yaml.MappingNode && len(item.Content) > 0 {
				text = d.blockOf(item, column+2)
			}
			b.WriteString(indent + "- " + text[column+2:])
		}
	case yaml.MappingNode:
		for i := 0; i < len(n.Content); i += 2 {
			b.WriteString(indent + d.scalar(n.Content[i].Value) + ":")
			value := n.Content[i+1]
			if value.Kind == yaml.SequenceNode && len(value.Content) > 0 {
				b.WriteString(d.newline() + d.blockOf(value, column))
			} else if value.Kind == yaml.MappingNode && len(value.Content) > 0 {
				b.WriteString(d.newline() + d.blockOf(value, column+2))
			} else {
				b.WriteString(" " + d.flow(value) + d.newline())
			}
		}
	}
	return b.String()
}

// flow writes a node on one line, in a form that is JSON too unless it is a
// word in a document that is not.
func (d *Document) flow(n *yaml.Node) string {
	var b strings.Builder
	switch n.Kind {
	case yaml.SequenceNode:
		b.WriteByte('[')
		for i, item := range n.Content {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(d.flow(item))
		}
		b.WriteByte(']')
	case yaml.MappingNode:
		b.WriteByte('{')
		for i := 0; i < len(n.Content); i += 2 {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(doubleQuoted(n.Content[i].Value) + ": " + d.flow(n.Content[i+1]))
		}
		b.WriteByte('}')
	default:
		return d.scalar(n.Value)
	}
	return b.String()
}
