package main

import (
	"context"
	"maps"
	"slices"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/bundle"
)

// csvAnnotations sets annotations on every ClusterServiceVersion.
type csvAnnotations struct {
	Annotations map[string]string `hcl:"annotations" doc:"Name to value, in which {package_name} is the package at this point of the list."`
}

var (
	_ sdk.Customizer = (*csvAnnotations)(nil)
	_ sdk.Validator  = (*csvAnnotations)(nil)
)

// Validate checks that the values can be read.
func (c *csvAnnotations) Validate() error {
	_, err := c.templates()
	return err
}

func (c *csvAnnotations) templates() (map[string]bundle.Template, error) {
	templates := make(map[string]bundle.Template, len(c.Annotations))
	for _, name := range slices.Sorted(maps.Keys(c.Annotations)) {
		if name == "" {
			return nil, sdk.FieldErrorf("annotations", "annotations: a name is empty")
		}
		template, err := parseTemplate("annotations", c.Annotations[name])
		if err != nil {
			return nil, err
		}
		for _, field := range template.Fields() {
			if field != bundle.FieldPackage {
				return nil, sdk.FieldErrorf("annotations", "annotations: {%s} in %s stands for nothing; only {%s} does",
					field, name, bundle.FieldPackage)
			}
		}
		templates[name] = template
	}
	return templates, nil
}

// Customize annotates the bundles of organizations; a request without one has
// nobody whose annotations they could be.
func (c *csvAnnotations) Customize(ctx context.Context, b *sdk.Bundle) error {
	if b.Organization == "" {
		return nil
	}
	templates, err := c.templates()
	if err != nil {
		return err
	}
	return edit(ctx, b, func(unpacked *bundle.Bundle) error { return unpacked.Annotate(templates, b.Package) })
}
