package yamledit

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// end returns the offset after the last byte of n. A comment on the same line
// is not part of it; for a block scalar that keeps its line breaks it lies
// before the last of them.
func (d *Document) end(n *yaml.Node) (int, error) {
	pos, ok := d.offset(n)
	if !ok {
		return 0, fmt.Errorf("line %d: a value lies outside the text", n.Line)
	}
	switch {
	case n.Kind == yaml.AliasNode:
		return pos + 1 + len(n.Value), nil
	case n.Kind == yaml.ScalarNode:
		t, err := d.locate(n)
		return t.end, err
	case n.Style&yaml.FlowStyle == 0:
		return d.lastEnd(n)
	}
	_, open := d.skipProperties(pos)
	bracket := byte('[')
	if n.Kind == yaml.MappingNode {
		bracket = '{'
	}
	if open >= len(d.src) || d.src[open] != bracket {
		// A pair without braces in a sequence.
		return d.lastEnd(n)
	}
	from := open + 1
	if len(n.Content) > 0 {
		var err error
		if from, err = d.lastEnd(n); err != nil {
			return 0, err
		}
	}
	for {
		from = d.skipSpace(from)
		if from >= len(d.src) {
			return 0, fmt.Errorf("line %d: the end of a value was not found", n.Line)
		}
		switch c := d.src[from]; {
		case c == ']' || c == '}':
			return from + 1, nil
		case strings.IndexByte(",:?", c) < 0:
			return 0, fmt.Errorf("line %d: the end of a value was not found", n.Line)
		}
		from++
	}
}

// lastEnd returns the end of the last child of a collection that has any.
func (d *Document) lastEnd(n *yaml.Node) (int, error) {
	last := n.Content[len(n.Content)-1]
	if !d.isUnwritten(last) {
		return d.end(last)
	}
	if n.Kind == yaml.SequenceNode {
		pos, _ := d.offset(last)
		return pos, nil
	}
	// The parser reports a value that is not there at the colon, or at
	// whatever comes next when there is no colon either.
	end, err := d.end(n.Content[len(n.Content)-2])
	if err != nil {
		return 0, err
	}
	if colon := d.skipSpace(end); colon < len(d.src) && d.src[colon] == ':' {
		end = colon + 1
	}
	return end, nil
}

// isUnwritten reports whether n is a null of which nothing is written. A tag
// that says nothing, a lone exclamation mark, leaves no trace in the node.
func (d *Document) isUnwritten(n *yaml.Node) bool {
	if d.offsets != nil || n.Kind != yaml.ScalarNode || n.Value != "" || n.Style != 0 || n.Anchor != "" {
		return false
	}
	pos, ok := d.offset(n)
	return !ok || pos >= len(d.src) || d.src[pos] != '!'
}
