package main

import (
	"context"
	"regexp"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/bundle"
	"github.com/iib-engine/iib/sdk/image"
)

// imageNameFromLabels gives images names that are made of their labels.
type imageNameFromLabels struct {
	Template string `hcl:"template" doc:"The new namespace and repository, with labels in braces: {name}-{version}."`

	*images
}

var (
	_ sdk.Customizer = (*imageNameFromLabels)(nil)
	_ sdk.Validator  = (*imageNameFromLabels)(nil)
	_ sdk.Starter    = (*imageNameFromLabels)(nil)
)

// Validate checks that the template can be read.
func (i *imageNameFromLabels) Validate() error {
	if i.Template == "" {
		return sdk.FieldErrorf("template", "template is empty; write the name with labels in braces, such as {name}-{version}")
	}
	_, err := parseTemplate("template", i.Template)
	return err
}

func (i *imageNameFromLabels) Customize(ctx context.Context, b *sdk.Bundle) error {
	template, err := parseTemplate("template", i.Template)
	if err != nil {
		return err
	}
	return edit(ctx, b, func(unpacked *bundle.Bundle) error {
		return unpacked.NameFromLabels(ctx, template, bundle.Labels(i.of(b)))
	})
}

// parseTemplate blames a setting.
func parseTemplate(field, source string) (bundle.Template, error) {
	template, err := bundle.ParseTemplate(source)
	if err != nil {
		return template, sdk.FieldErrorf(field, "%s: %v", field, err)
	}
	return template, nil
}

// encloseRepo moves images to one namespace, and keeps the one that they had
// in their names.
type encloseRepo struct {
	Namespace     string `hcl:"namespace" doc:"The namespace that images move to."`
	EnclosureGlue string `hcl:"enclosure_glue" doc:"What joins the former namespace and the parts of the name: ----."`
}

var (
	_ sdk.Customizer = (*encloseRepo)(nil)
	_ sdk.Validator  = (*encloseRepo)(nil)
)

// Validate checks that names made so can be names.
func (e *encloseRepo) Validate() error {
	if _, err := image.ParseRef("registry.example.com/" + e.Namespace + "/name"); e.Namespace == "" || err != nil {
		return sdk.FieldErrorf("namespace", "namespace: %q cannot be part of an image's name; use lower-case letters, digits and single separators", e.Namespace)
	}
	if _, err := image.ParseRef("registry.example.com/name" + e.EnclosureGlue + "name"); err != nil {
		return sdk.FieldErrorf("enclosure_glue", "enclosure_glue: %q cannot join two names; use hyphens, one dot, or one or two underscores", e.EnclosureGlue)
	}
	return nil
}

func (e *encloseRepo) Customize(ctx context.Context, b *sdk.Bundle) error {
	return edit(ctx, b, func(unpacked *bundle.Bundle) error { return unpacked.Enclose(e.Namespace, e.EnclosureGlue) })
}

// packageNameSuffix appends to the name of the package.
type packageNameSuffix struct {
	Suffix string `hcl:"suffix" doc:"What is appended, unless the name ends so already: -cmp."`
}

var (
	_ sdk.Customizer = (*packageNameSuffix)(nil)
	_ sdk.Validator  = (*packageNameSuffix)(nil)
)

// suffixes are what keeps a package name one that a directory can have.
var suffixes = regexp.MustCompile(`^[a-z0-9.\-]*[a-z0-9]$`)

// Validate checks that a package can be called so.
func (p *packageNameSuffix) Validate() error {
	if !suffixes.MatchString(p.Suffix) {
		return sdk.FieldErrorf("suffix", "suffix: %q cannot end a package's name; use lower-case letters, digits, dots and hyphens, and end in a letter or digit", p.Suffix)
	}
	return nil
}

func (p *packageNameSuffix) Customize(ctx context.Context, b *sdk.Bundle) error {
	return edit(ctx, b, func(unpacked *bundle.Bundle) error {
		name, changed, err := unpacked.SuffixPackage(p.Suffix)
		if err != nil {
			return err
		}
		b.Package = name
		if changed {
			b.SetLabel(bundle.LabelPackage, name)
		}
		return nil
	})
}
