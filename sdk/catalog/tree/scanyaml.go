package tree

import (
	"bytes"
	"fmt"
	"slices"
	"unicode"
	"unicode/utf8"

	yamlnode "go.yaml.in/yaml/v3"
	"sigs.k8s.io/yaml"
)

// separator begins the line between two YAML documents.
var separator = []byte("---")

// yaml finds the metas of a stream of YAML documents. Where documents begin
// and end is decided by lines, as opm does it.
func (s *scanner) yaml(in *input) error {
	var (
		// start and off are where the current document begins, with and
		// without the separator before it; length is its length so far.
		start, off = in.base, in.base
		length     int
		// held tells that a separator opened the document: opm takes it for a
		// part of it, so that nothing between two separators is a document
		// too. One that ended a document opens no other.
		held bool
	)
	for {
		line, err := s.line(in, length)
		if err != nil {
			return err
		}
		if line > 0 && !bytes.HasPrefix(in.window()[length:length+line], separator) {
			length += line
			continue
		}
		if length > 0 || held {
			if err := s.document(start, off, in.window()[:length]); err != nil {
				return err
			}
			held = false
		} else {
			held = line > 0
		}
		in.pass(length)
		if line == 0 {
			return nil
		}
		rest := bytes.TrimSpace(in.window()[len(separator):line])
		if len(rest) > 0 && rest[0] != '#' {
			return &fault{in.base, "only a comment may follow the document separator ---"}
		}
		start = in.base
		in.pass(line)
		off, length = in.base, 0
	}
}

// line returns the length of the line that begins at an offset of the window,
// with its end; 0 at the end of the file.
func (s *scanner) line(in *input, at int) (int, error) {
	seen := at
	for {
		if n := bytes.IndexByte(in.window()[seen:], '\n'); n >= 0 {
			return seen + n + 1 - at, nil
		}
		seen = len(in.window())
		if in.eof {
			return seen - at, nil
		}
		if int64(seen) > s.limits.DocumentSize {
			return 0, &fault{in.base, fmt.Sprintf("this YAML document is larger than %d bytes", s.limits.DocumentSize)}
		}
		if err := in.fill(2*seen + 1); err != nil {
			return 0, err
		}
	}
}

// skipLine passes white space, up to the end of a line at most, before YAML
// that follows JSON. It reports whether anything is left.
func (s *scanner) skipLine(in *input) bool {
	for {
		if len(in.window()) < utf8.UTFMax && in.fill(utf8.UTFMax) != nil {
			return false
		}
		r, size := utf8.DecodeRune(in.window())
		if size == 0 || r == utf8.RuneError {
			return false
		}
		if !unicode.IsSpace(r) {
			return true
		}
		in.pass(size)
		if r == '\n' {
			return true
		}
	}
}

func (s *scanner) document(start, off int64, raw []byte) error {
	if int64(len(raw)) > s.limits.DocumentSize {
		return &fault{off, fmt.Sprintf("this YAML document is larger than %d bytes", s.limits.DocumentSize)}
	}
	text, err := yamlToJSON(s.limits, raw)
	if err != nil {
		return &fault{off, err.Error()}
	}
	m, err := identify(text)
	if err != nil {
		return &fault{off, err.Error()}
	}
	return s.add(item{Schema: m.Schema, Package: m.Package, Name: m.Name, Start: start, Off: off, Len: int64(len(raw)), YAML: true}, raw)
}

// yamlToJSON turns a document into JSON with the library that opm uses, once
// it is sure that the result is of bounded size.
func yamlToJSON(limits Limits, raw []byte) ([]byte, error) {
	// opm's reader ends each line, the last too, with \n only.
	raw = bytes.ReplaceAll(raw, []byte("\r\n"), []byte("\n"))
	if !bytes.HasSuffix(raw, []byte("\n")) {
		raw = append(slices.Clip(raw), '\n')
	}
	if bytes.IndexByte(raw, '&') >= 0 && bytes.IndexByte(raw, '*') >= 0 {
		if err := checkAliases(limits, raw); err != nil {
			return nil, err
		}
	}
	text, err := yaml.YAMLToJSON(raw)
	if err != nil {
		return nil, err
	}
	p := parser{data: text, depth: limits.Depth}
	if err := p.value(); err != nil {
		return nil, err
	}
	return text, nil
}

// checkAliases refuses a document that its aliases make larger than a document
// may be. The parser's own guard counts nodes, not bytes.
func checkAliases(limits Limits, raw []byte) error {
	var root yamlnode.Node
	if err := yamlnode.Unmarshal(raw, &root); err != nil {
		return err
	}
	const endless = -1
	sizes := make(map[*yamlnode.Node]int64)
	var measure func(n *yamlnode.Node) int64
	measure = func(n *yamlnode.Node) int64 {
		if n.Kind == yamlnode.AliasNode {
			n = n.Alias
		}
		switch size, seen := sizes[n]; {
		case size == endless:
			return limits.DocumentSize + 1
		case seen:
			return size
		}
		sizes[n] = endless
		size := int64(len(n.Value)) + 4
		for _, child := range n.Content {
			// Capped, so that a sum of sums does not overflow.
			size = min(size+measure(child), limits.DocumentSize+1)
		}
		sizes[n] = size
		return size
	}
	if measure(&root) > limits.DocumentSize {
		return fmt.Errorf("aliases make this YAML document larger than %d bytes", limits.DocumentSize)
	}
	return nil
}
