package index

import (
	"encoding/json"
	"slices"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/params"
)

// Parameters documents the shared parameters; those named are required.
func Parameters(required ...string) []sdk.ParamDoc {
	list := []sdk.ParamDoc{
		{Name: "from_index", Doc: "The index to work on.", Schema: params.SchemaText, Example: raw(`"quay.io/namespace/index:v4.14"`)},
		{Name: "binary_image", Doc: "The image that brings the opm binary, or \"scratch\" for a catalog without one.", Schema: params.SchemaText, Example: raw(`"quay.io/namespace/ose-operator-registry:v4.14"`)},
		{Name: "add_arches", Doc: "Architectures to build for, beside those of the index.", Schema: params.SchemaTexts, Example: raw(`["amd64","s390x"]`)},
		{Name: "distribution_scope", Doc: "dev, stage or prod; never wider than the index's own. Default: the index's own.", Schema: raw(`{"type":"string","enum":["dev","stage","prod"]}`), Example: raw(`"stage"`)},
		{Name: "overwrite_from_index", Doc: "Replace from_index by the result.", Schema: params.SchemaBool, Example: raw(`true`)},
		{Name: "overwrite_from_index_token", Doc: "The credential, user:password, that may replace from_index.", Secret: true, Schema: params.SchemaText, Example: raw(`"robot:secret"`)},
		{Name: "build_tags", Doc: "Further tags of the built image, beside the request's ID.", Schema: params.SchemaTexts, Example: raw(`["v4.14"]`)},
	}
	for i := range list {
		list[i].Required = slices.Contains(required, list[i].Name)
	}
	return list
}

// IgnoredBundleImage documents a key that old workers report without effect.
func IgnoredBundleImage() sdk.FieldDoc {
	return sdk.FieldDoc{Name: "from_bundle_image_resolved", Doc: "Accepted from old workers, without effect.",
		Schema: params.SchemaTextOrNull, Shape: sdk.ShapeIgnored, Hidden: true}
}

// ResultFields documents the representation keys that add, rm, fbc-operations
// and add-deprecations share.
func ResultFields() []sdk.FieldDoc {
	image := func(name, doc string) sdk.FieldDoc {
		return sdk.FieldDoc{Name: name, Doc: doc, Schema: params.SchemaTextOrNull, Shape: sdk.ShapeImage, Image: true}
	}
	return []sdk.FieldDoc{
		image("binary_image", "The image that brings the opm binary."),
		image("binary_image_resolved", "binary_image by digest."),
		{Name: "from_index", Doc: "The index that was worked on.", Schema: params.SchemaTextOrNull, Image: true},
		image("from_index_resolved", "from_index by digest, as it was at the start."),
		image("index_image", "The index that was made."),
		image("index_image_resolved", "index_image by digest."),
		image("internal_index_image_copy", "The engine's own copy of the index that was made."),
		image("internal_index_image_copy_resolved", "internal_index_image_copy by digest."),
		{Name: "distribution_scope", Doc: "The effective distribution scope.", Schema: params.SchemaTextOrNull, Shape: sdk.ShapeText},
		{Name: "build_tags", Doc: "Further tags of the built image.", Schema: params.SchemaTexts},
	}
}

// SetFields sets the first values of the keys that ResultFields documents.
func (p *Params) SetFields(sub *sdk.Submission) error {
	for name, value := range map[string]any{
		"binary_image":                       OrNull(p.BinaryImage),
		"binary_image_resolved":              nil,
		"from_index":                         OrNull(p.FromIndex),
		"from_index_resolved":                nil,
		"index_image":                        nil,
		"index_image_resolved":               nil,
		"internal_index_image_copy":          nil,
		"internal_index_image_copy_resolved": nil,
		"distribution_scope":                 OrNull(p.DistributionScope),
		"build_tags":                         List(p.BuildTags),
	} {
		if err := sub.SetField(name, value); err != nil {
			return err
		}
	}
	return nil
}

func raw(text string) json.RawMessage { return json.RawMessage(text) }

// OrNull is a text field's value: null for an empty one.
func OrNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// List is a list field's value: never null.
func List(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
