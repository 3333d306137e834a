// Package yamledit changes single values of a YAML document and leaves every
// other byte as it was: comments, the order of keys, quotes, indentation,
// embedded JSON, line ends.
//
// The document is parsed for its structure, but never printed again. A change
// replaces the bytes of one scalar, or adds the bytes of a new pair at the end
// of a mapping. Apply parses the outcome and compares it with what was asked
// for, so that a document is either changed as wished or not at all.
package yamledit

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Document is one YAML document and the changes that wait for Apply. It is not
// safe for concurrent use.
type Document struct {
	src     []byte
	root    *yaml.Node
	lines   []int
	offsets map[*yaml.Node]int
	edits   []edit
	touched map[*yaml.Node]bool
}

// edit replaces src[start:end] by text.
type edit struct {
	start, end int
	text       string
}

// Parse reads a document. The caller bounds the size of src and leaves it
// unchanged afterwards.
//
// Refused are, with the line at fault if there is one: text that is not UTF-8
// or not YAML, more than one document, a key that occurs twice in one mapping,
// an alias that contains itself, aliases that multiply the document, and more
// values or deeper nesting than any real object has.
func Parse(src []byte) (*Document, error) {
	if !utf8.Valid(src) {
		return nil, errors.New("the text is not UTF-8")
	}
	if err := checkSize(src); err != nil {
		return nil, err
	}
	d := &Document{src: src, lines: lineStarts(src)}
	var err error
	if isJSON(src) {
		d.root, d.offsets, err = parseJSON(src, d.lines)
	} else {
		d.root, err = parseYAML(src)
	}
	if err != nil {
		return nil, err
	}
	if err := check(d.root); err != nil {
		return nil, err
	}
	return d, nil
}

// parseYAML returns the top node of the only document, nil if there is none.
func parseYAML(src []byte) (root *yaml.Node, err error) {
	// The parser panics on some malformed input instead of returning an error.
	defer func() {
		if p := recover(); p != nil {
			root, err = nil, fmt.Errorf("not YAML: %v", p)
		}
	}()
	dec := yaml.NewDecoder(bytes.NewReader(src))
	var first yaml.Node
	if err := dec.Decode(&first); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, syntaxError(err)
	}
	for {
		var next yaml.Node
		if err := dec.Decode(&next); errors.Is(err, io.EOF) {
			return first.Content[0], nil
		} else if err != nil {
			return nil, syntaxError(err)
		}
		// A separator at the end of a file opens a document with nothing in it.
		if top := next.Content[0]; !IsNull(top) {
			return nil, fmt.Errorf("line %d: a second document begins; a file holds one object", top.Line)
		}
	}
}

func syntaxError(err error) error {
	return fmt.Errorf("not YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
}

// Root returns the top node, or nil for an empty document. Nodes are only for
// reading, and are valid until the next Apply.
func (d *Document) Root() *yaml.Node { return d.root }

// Bytes returns the document as it is after the last Apply.
func (d *Document) Bytes() []byte { return d.src }

// Apply makes the waiting changes. If one of them cannot be made, the document
// stays as it was and no change waits any longer.
func (d *Document) Apply() error {
	if len(d.edits) == 0 {
		d.touched = nil
		return nil
	}
	next, err := d.applied()
	if err != nil {
		// The tree already shows what was asked for.
		before, parseErr := Parse(d.src)
		if parseErr != nil {
			return errors.Join(err, parseErr)
		}
		*d = *before
		return err
	}
	*d = *next
	return nil
}

func (d *Document) applied() (*Document, error) {
	slices.SortStableFunc(d.edits, func(a, b edit) int { return cmp.Compare(a.start, b.start) })
	out := make([]byte, 0, len(d.src)+1024)
	end := 0
	for _, e := range d.edits {
		if e.start < end {
			return nil, errors.New("two changes overlap")
		}
		out = append(out, d.src[end:e.start]...)
		out = append(out, e.text...)
		end = e.end
	}
	out = append(out, d.src[end:]...)
	next, err := Parse(out)
	if err != nil {
		return nil, fmt.Errorf("the changed document is malformed: %w", err)
	}
	if at := difference(d.root, next.root); at != nil {
		return nil, fmt.Errorf("line %d: the changed document does not read as wished", at.Line)
	}
	return next, nil
}

// difference returns the first node of want that got does not match, or nil.
// Style and comments are free to differ: bytes outside the edits are the same
// by construction.
func difference(want, got *yaml.Node) *yaml.Node {
	if want == nil || got == nil {
		if want == got {
			return nil
		}
		return cmp.Or(want, got)
	}
	if want.Kind != got.Kind || want.ShortTag() != got.ShortTag() || want.Value != got.Value ||
		want.Anchor != got.Anchor || len(want.Content) != len(got.Content) {
		return want
	}
	for i, child := range want.Content {
		if at := difference(child, got.Content[i]); at != nil {
			return at
		}
	}
	return nil
}

// IsNull reports whether n is a null, spelled out or not.
func IsNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

// IsText reports whether n is a scalar that reads as a string.
func IsText(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!str"
}
