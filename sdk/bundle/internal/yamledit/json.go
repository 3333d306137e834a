package yamledit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sort"

	"go.yaml.in/yaml/v3"
)

// isJSON reports whether src is a JSON object. The YAML parser would take most
// of them, but not those with an escaped slash or a surrogate pair, which are
// JSON all the same and which the tools of a cluster accept.
func isJSON(src []byte) bool {
	trimmed := bytes.TrimLeft(src, " \t\r\n")
	return len(trimmed) > 0 && trimmed[0] == '{' && json.Valid(src)
}

// parseJSON returns valid JSON as YAML nodes, and where each begins.
func parseJSON(src []byte, lines []int) (*yaml.Node, map[*yaml.Node]int, error) {
	dec := json.NewDecoder(bytes.NewReader(src))
	dec.UseNumber()
	p := jsonParser{dec: dec, src: src, lines: lines, offsets: make(map[*yaml.Node]int)}
	root, err := p.value()
	if err != nil {
		return nil, nil, fmt.Errorf("not JSON: %w", err)
	}
	return root, p.offsets, nil
}

type jsonParser struct {
	dec     *json.Decoder
	src     []byte
	lines   []int
	offsets map[*yaml.Node]int
}

// value reads the value that comes next. Its recursion ends where json.Valid
// refused to go deeper.
func (p *jsonParser) value() (*yaml.Node, error) {
	start := int(p.dec.InputOffset())
	for start < len(p.src) && bytes.IndexByte([]byte(" \t\r\n,:"), p.src[start]) >= 0 {
		start++
	}
	token, err := p.dec.Token()
	if errors.Is(err, io.EOF) {
		return nil, io.ErrUnexpectedEOF
	} else if err != nil {
		return nil, err
	}
	n := &yaml.Node{Kind: yaml.ScalarNode, Line: sort.SearchInts(p.lines, start+1)}
	p.offsets[n] = start
	switch token := token.(type) {
	case json.Delim:
		n.Style = yaml.FlowStyle
		n.Kind, n.Tag = yaml.SequenceNode, "!!seq"
		if token == '{' {
			n.Kind, n.Tag = yaml.MappingNode, "!!map"
		}
		for p.dec.More() {
			child, err := p.value()
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, child)
		}
		if _, err := p.dec.Token(); err != nil {
			return nil, err
		}
	case string:
		n.Style, n.Tag, n.Value = yaml.DoubleQuotedStyle, "!!str", token
	case nil:
		n.Value = "null"
	default:
		// A number or a boolean; the text tells, as it does in YAML.
		n.Value = fmt.Sprint(token)
	}
	return n, nil
}
