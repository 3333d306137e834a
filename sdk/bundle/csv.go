package bundle

import (
	"bytes"

	"go.yaml.in/yaml/v3"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/bundle/internal/yamledit"
)

const kindCSV = "ClusterServiceVersion"

// CSV is a ClusterServiceVersion: the manifest that tells OLM how to install
// an operator, and that names the images it runs.
type CSV struct{ *file }

// mayBeCSV reports whether it is worth while to parse a manifest.
func mayBeCSV(data []byte) bool { return bytes.Contains(data, []byte(kindCSV)) }

func isCSV(doc *yamledit.Document) bool {
	kind := child(doc.Root(), "kind")
	return kind != nil && yamledit.IsText(kind) && kind.Value == kindCSV
}

// Path returns the file's path, relative to the bundle's directory.
func (c *CSV) Path() string { return c.path }

// Bytes returns the file's content with all changes.
func (c *CSV) Bytes() []byte { return c.doc.Bytes() }

// Name returns metadata.name, or "" if there is none.
func (c *CSV) Name() string {
	name := descend(c.doc.Root(), "metadata", "name")
	if name == nil || name.Kind != yaml.ScalarNode {
		return ""
	}
	return name.Value
}

// errorf blames a line of the file.
func (c *CSV) errorf(n *yaml.Node, format string, args ...any) error {
	err := sdk.Errorf(sdk.Invalid, format, args...)
	return sdk.Errorf(sdk.Invalid, "%s: line %d: %w", c.path, n.Line, err)
}

// annotate sets annotations of the CSV itself.
func (c *CSV) annotate(annotations []yamledit.Pair) error {
	root := c.doc.Root()
	metadata := child(root, "metadata")
	existing := child(metadata, "annotations")
	var err error
	switch {
	case existing != nil && existing.Kind == yaml.MappingNode:
		err = c.doc.Put(existing, annotations...)
	case existing != nil && !yamledit.IsNull(existing):
		return c.errorf(existing, "metadata.annotations is not a mapping")
	case metadata != nil && metadata.Kind == yaml.MappingNode:
		err = c.doc.Put(metadata, yamledit.Pair{Key: "annotations", Value: yamledit.Map(annotations...)})
	case metadata != nil && !yamledit.IsNull(metadata):
		return c.errorf(metadata, "metadata is not a mapping")
	default:
		err = c.doc.Put(root, yamledit.Pair{Key: "metadata", Value: yamledit.Map(
			yamledit.Pair{Key: "annotations", Value: yamledit.Map(annotations...)})})
	}
	if err != nil {
		return c.errorf(root, "set annotations: %v", err)
	}
	return c.apply()
}
