package bundle

import (
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/bundle/internal/yamledit"
)

// LabelPackage names a bundle's package: as a label of the image and as an
// annotation in its metadata.
const LabelPackage = "operators.operatorframework.io.bundle.package.v1"

const (
	annotationsFile    = metadataDir + "/annotations.yaml"
	channelsAnnotation = "operators.operatorframework.io.bundle.channels.v1"
	defaultAnnotation  = "operators.operatorframework.io.bundle.channel.default.v1"
)

// Metadata is what metadata/annotations.yaml says about a bundle.
type Metadata struct {
	// Package is never empty.
	Package string
	// Channels are in the order written, without empty names.
	Channels []string
	// DefaultChannel is empty if the bundle names none.
	DefaultChannel string
	// Annotations are all that have a single value, as it is written: 4.10
	// stays 4.10 with or without quotes.
	Annotations map[string]string
}

// Metadata reads the bundle's annotations file. What is wrong with it is an
// error of code Invalid.
func (b *Bundle) Metadata() (Metadata, error) {
	annotations, err := b.annotationNodes()
	if err != nil {
		return Metadata{}, err
	}
	name, err := b.packageNode(annotations)
	if err != nil {
		return Metadata{}, err
	}
	m := Metadata{Package: name.Value, Annotations: make(map[string]string)}
	for key, value := range pairs(annotations) {
		if value.Kind == yaml.ScalarNode && !yamledit.IsNull(value) {
			m.Annotations[key] = value.Value
		}
	}
	for _, channel := range strings.Split(m.Annotations[channelsAnnotation], ",") {
		if channel = strings.TrimSpace(channel); channel != "" {
			m.Channels = append(m.Channels, channel)
		}
	}
	m.DefaultChannel = m.Annotations[defaultAnnotation]
	return m, nil
}

// annotationNodes returns the mapping under the key annotations.
func (b *Bundle) annotationNodes() (*yaml.Node, error) {
	if b.annotations == nil {
		if err := b.checkDir(metadataDir); err != nil {
			return nil, err
		}
		data, err := b.read(annotationsFile)
		if isMissing(err) {
			return nil, sdk.Errorf(sdk.Invalid, "the bundle has no file /%s", annotationsFile)
		} else if err != nil {
			return nil, err
		}
		if b.annotations, err = parse(annotationsFile, data); err != nil {
			return nil, err
		}
	}
	annotations := child(b.annotations.doc.Root(), "annotations")
	if annotations == nil {
		return nil, sdk.Errorf(sdk.Invalid, "%s: the key annotations is missing", annotationsFile)
	}
	if annotations.Kind != yaml.MappingNode {
		return nil, sdk.Errorf(sdk.Invalid, "%s: line %d: annotations is not a mapping", annotationsFile, annotations.Line)
	}
	return annotations, nil
}

func (b *Bundle) packageNode(annotations *yaml.Node) (*yaml.Node, error) {
	name := child(annotations, LabelPackage)
	switch {
	case name == nil || yamledit.IsNull(name) || name.Kind == yaml.ScalarNode && name.Value == "":
		return nil, sdk.Errorf(sdk.Invalid, "%s: the annotation %s is missing", annotationsFile, LabelPackage)
	case !yamledit.IsText(name):
		return nil, sdk.Errorf(sdk.Invalid, "%s: line %d: the annotation %s is not text; put it in quotes",
			annotationsFile, name.Line, LabelPackage)
	}
	return name, nil
}

// SuffixPackage appends suffix to the bundle's package name, and returns the
// name and whether it changed: a name that ends so already stays. The caller
// sets the image label LabelPackage to a name that changed.
func (b *Bundle) SuffixPackage(suffix string) (name string, changed bool, err error) {
	annotations, err := b.annotationNodes()
	if err != nil {
		return "", false, err
	}
	node, err := b.packageNode(annotations)
	if err != nil {
		return "", false, err
	}
	if strings.HasSuffix(node.Value, suffix) {
		return node.Value, false, nil
	}
	name = node.Value + suffix
	if err := b.annotations.doc.Set(node, name); err != nil {
		return "", false, sdk.Errorf(sdk.Invalid, "%s: change: %v", annotationsFile, err)
	}
	return name, true, b.annotations.apply()
}
