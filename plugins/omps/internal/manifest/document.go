// Package manifest knows operators in package-manifest form: it finds the
// package's name, rewrites what an organization wants different, judges the
// manifests and packs them (push service contract, sections 6 and 12).
package manifest

import (
	"bytes"
	"errors"
	"io"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/iib-engine/iib/plugins/omps/internal/fault"
	"github.com/iib-engine/iib/plugins/omps/internal/intake"
)

// maxWeight bounds what the parsed documents of an operator can become. Every
// node of a document needs one of the characters that weigh counts, and takes
// some 200 bytes. Operators of the largest size that is taken have half of it.
const maxWeight = 2_000_000

func weigh(content []byte) (weight int) {
	for _, c := range content {
		switch c {
		case '\n', '\r', ',', '[', '{', ':', '-', '?', '&', '*', '!':
			weight++
		}
	}
	return weight
}

var errMany = errors.New("it has too many entries")

// document is one parsed YAML document.
type document struct {
	node  *yaml.Node // the document's top node
	value any
}

// parse reads exactly one document.
func parse(content []byte) (*document, error) {
	if weigh(content) > maxWeight {
		return nil, errMany
	}
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	top := new(yaml.Node)
	if err := decoder.Decode(top); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("it is empty")
		}
		return nil, err
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("it holds more than one document")
	}
	d := &document{node: top}
	if err := top.Decode(&d.value); err != nil {
		return nil, err
	}
	return d, nil
}

// kind is the document's kind, "" if it has none.
func (d *document) kind() string {
	kind, _ := member(d.value, "kind").(string)
	return kind
}

// member returns what a mapping has at a path of keys, nil if there is nothing.
func member(value any, keys ...string) any {
	for _, key := range keys {
		switch m := value.(type) {
		case map[string]any:
			value = m[key]
		case map[any]any:
			value = m[key]
		default:
			return nil
		}
	}
	return value
}

// has tells whether a mapping has a key, also with nothing there.
func has(value any, key string) bool {
	var ok bool
	switch m := value.(type) {
	case map[string]any:
		_, ok = m[key]
	case map[any]any:
		_, ok = m[key]
	}
	return ok
}

func isMapping(value any) bool {
	switch value.(type) {
	case map[string]any, map[any]any:
		return true
	}
	return false
}

func isYAML(name string) bool {
	return strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml")
}

func isYAMLAnyCase(name string) bool { return isYAML(strings.ToLower(name)) }

func unreadable(name string, err error) error {
	return fault.New(fault.PackageValidation, "Failed to process yaml file /%s: %v", name, err)
}

// PackageName finds the package's name in the files of the root, and the file.
func PackageName(files intake.Files) (name, file string, err error) {
	for _, file := range files.Paths() {
		if path.Dir(file) != "." || !isYAML(file) {
			continue
		}
		d, err := parse(files[file])
		if err != nil {
			return "", "", unreadable(file, err)
		}
		if !has(d.value, "packageName") {
			continue
		}
		name, ok := member(d.value, "packageName").(string)
		if !ok || name == "" {
			return "", "", fault.New(fault.PackageValidation, "Could not find packageName in manifests: in /%s it is not a text.", file)
		}
		return name, file, nil
	}
	return "", "", fault.New(fault.PackageValidation, "Could not find packageName in manifests.")
}

// child returns the value node of a key of a mapping node, nil if there is none.
func child(node *yaml.Node, key string) *yaml.Node {
	if node != nil && node.Kind == yaml.DocumentNode && len(node.Content) == 1 {
		node = node.Content[0]
	}
	if node != nil && node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if node == nil || node.Kind != yaml.MappingNode {
		return nil
	}
	for pair := range slices.Chunk(node.Content, 2) {
		if pair[0].Value == key {
			return pair[1]
		}
	}
	return nil
}
