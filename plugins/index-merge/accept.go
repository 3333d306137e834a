package main

import (
	"context"
	"encoding/json"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/index"
	"github.com/iib-engine/iib/sdk/params"
)

// handler runs merge-index-image requests. Its exported fields are the
// plugin's settings.
type handler struct {
	index.Config

	GraphModes       []string `hcl:"graph_modes,optional" doc:"The graph_update_mode values that are allowed. Default: replaces, semver, semver-skippatch."`
	GraphModeIndexes []string `hcl:"graph_mode_indexes,optional" doc:"The indexes, with or without tag, for which graph_update_mode may be used. Default: none."`
	NoOCPLabel       []string `hcl:"no_ocp_label,optional" doc:"Prefixes of index pull specs, or users, for which ignore_bundle_ocp_version tolerates bundles without an OpenShift version label."`
}

var (
	_ sdk.Handler   = (*handler)(nil)
	_ sdk.Acceptor  = (*handler)(nil)
	_ sdk.Describer = (*handler)(nil)
	_ sdk.Previewer = (*handler)(nil)
	_ sdk.Validator = (*handler)(nil)
)

// Validate checks the settings.
func (h *handler) Validate() error {
	if err := index.CheckGraphModes(h.GraphModes); err != nil {
		return err
	}
	for _, entry := range h.NoOCPLabel {
		if entry == "" {
			return sdk.FieldErrorf("no_ocp_label", "no_ocp_label: an empty entry would admit every index")
		}
	}
	return h.Config.Validate()
}

type mergeParams struct {
	Source                 string   `json:"source_from_index"`
	Target                 string   `json:"target_index,omitempty"`
	BinaryImage            string   `json:"binary_image,omitempty"`
	DistributionScope      string   `json:"distribution_scope,omitempty"`
	Overwrite              bool     `json:"overwrite,omitempty"`
	BuildTags              []string `json:"build_tags,omitempty"`
	DeprecationList        []string `json:"deprecation_list,omitempty"`
	GraphUpdateMode        string   `json:"graph_update_mode,omitempty"`
	IgnoreBundleOCPVersion *bool    `json:"ignore_bundle_ocp_version,omitempty"`
}

var optionalParams = []string{
	"binary_image", "build_tags", "deprecation_list", "distribution_scope", "graph_update_mode",
	"ignore_bundle_ocp_version", "overwrite_target_index", "overwrite_target_index_token", "target_index",
}

// Accept judges a submission in the order of the contract's section 2.9.
func (h *handler) Accept(_ context.Context, sub *sdk.Submission) error {
	o, err := params.Parse(sub.Body)
	if err != nil {
		return err
	}
	if err := o.Unknown([]string{"source_from_index"}, optionalParams); err != nil {
		return err
	}
	p := new(mergeParams)
	token, err := h.read(p, o)
	if err != nil {
		return err
	}
	sub.Target, sub.Overwrite = p.Target, p.Overwrite
	index.GrantToken(sub, p.Target, token)
	if sub.Params, err = json.Marshal(p); err != nil {
		return sdk.Errorf(sdk.Internal, "encode the parameters: %v", err)
	}
	return p.setFields(sub)
}

func (h *handler) read(p *mergeParams, o params.Object) (token string, err error) {
	if p.DeprecationList, err = o.UniqueTexts("deprecation_list"); err != nil {
		return "", err
	}
	if err := params.CheckPullSpecs("deprecation_list", p.DeprecationList); err != nil {
		return "", err
	}
	if o.Empty("source_from_index") {
		return "", sdk.FieldErrorf("source_from_index", "source_from_index is required")
	}
	if p.Source, err = o.PullSpec("source_from_index"); err != nil {
		return "", err
	}
	if !o.Empty("graph_update_mode") {
		if p.GraphUpdateMode, err = o.Text("graph_update_mode"); err != nil {
			return "", err
		}
		if err := index.CheckGraphMode(p.GraphUpdateMode, index.GraphModes(h.GraphModes), o, "target_index", h.GraphModeIndexes); err != nil {
			return "", err
		}
	}
	if !o.Empty("target_index") {
		if p.Target, err = o.PullSpec("target_index"); err != nil {
			return "", err
		}
	}
	if token, err = p.readOverwrite(o); err != nil {
		return "", err
	}
	if p.BinaryImage, err = h.Config.ReadBinaryImage(o); err != nil {
		return "", err
	}
	o.Drop([]string{"distribution_scope"})
	if p.DistributionScope, err = index.ReadScope(o); err != nil {
		return "", err
	}
	if o.Present("build_tags") && o.Null("build_tags") {
		return "", sdk.FieldErrorf("build_tags", "build_tags must be an array of non-empty strings")
	}
	if p.BuildTags, err = index.BuildTags(o); err != nil {
		return "", err
	}
	if !o.Null("ignore_bundle_ocp_version") {
		ignore, err := o.Bool("ignore_bundle_ocp_version")
		if err != nil {
			return "", err
		}
		p.IgnoreBundleOCPVersion = &ignore
	}
	return token, nil
}

func (p *mergeParams) readOverwrite(o params.Object) (token string, err error) {
	if p.Overwrite, err = o.Bool("overwrite_target_index"); err != nil {
		return "", err
	}
	if o.Truthy("overwrite_target_index_token") {
		if token, err = o.Text("overwrite_target_index_token"); err != nil {
			return "", err
		}
	}
	switch {
	case token != "" && !p.Overwrite:
		return "", sdk.FieldErrorf("overwrite_target_index", "overwrite_target_index must be true when overwrite_target_index_token is given")
	case token == "" && p.Overwrite:
		return "", sdk.FieldErrorf("overwrite_target_index_token", "overwrite_target_index needs overwrite_target_index_token")
	}
	return token, nil
}

func (p *mergeParams) setFields(sub *sdk.Submission) error {
	for name, value := range map[string]any{
		"binary_image": index.OrNull(p.BinaryImage), "binary_image_resolved": nil,
		"build_tags": index.List(p.BuildTags), "deprecation_list": index.List(p.DeprecationList),
		"distribution_scope": index.OrNull(p.DistributionScope), "graph_update_mode": index.OrNull(p.GraphUpdateMode),
		"ignore_bundle_ocp_version": p.IgnoreBundleOCPVersion, "index_image": nil,
		"source_from_index": p.Source, "source_from_index_resolved": nil,
		"target_index": index.OrNull(p.Target), "target_index_resolved": nil,
	} {
		if err := sub.SetField(name, value); err != nil {
			return err
		}
	}
	return nil
}

// Describe documents the type: the contract's sections 2.9, 3.2 and 5.2.
func (h *handler) Describe() sdk.HandlerDoc {
	example := func(text string) json.RawMessage { return json.RawMessage(text) }
	image := func(name, doc string, shape sdk.Shape) sdk.FieldDoc {
		return sdk.FieldDoc{Name: name, Doc: doc, Schema: params.SchemaTextOrNull, Shape: shape, Image: true}
	}
	doc := sdk.HandlerDoc{
		Summary: "Add to one index image what only another one has, for the next OpenShift version.",
		Params: []sdk.ParamDoc{
			{Name: "source_from_index", Doc: "The index to carry over.", Required: true, Schema: params.SchemaText, Example: example(`"quay.io/namespace/index:v4.14"`)},
			{Name: "target_index", Doc: "The index whose own bundles are added.", Schema: params.SchemaTextOrNull, Example: example(`"quay.io/namespace/index:v4.15"`)},
			{Name: "deprecation_list", Doc: "Bundles to deprecate.", Schema: params.SchemaTexts, Example: example(`[]`)},
			{Name: "graph_update_mode", Doc: "How the update graph is made. Only for targets that the server allows it for.", Schema: index.SchemaGraphMode},
			{Name: "overwrite_target_index", Doc: "Replace target_index by the result.", Schema: params.SchemaBool, Example: example(`true`)},
			{Name: "overwrite_target_index_token", Doc: "The credential, user:password, that may replace target_index.", Secret: true, Schema: params.SchemaText, Example: example(`"robot:secret"`)},
			{Name: "ignore_bundle_ocp_version", Doc: "Tolerate bundles without an OpenShift version label, where the server allows it.", Schema: params.SchemaBoolOrNull, Example: example(`false`)},
		},
		Fields: []sdk.FieldDoc{
			image("source_from_index", "The index that was carried over.", sdk.ShapeNone),
			image("source_from_index_resolved", "source_from_index by digest.", sdk.ShapeImage),
			image("target_index", "The index whose own bundles were added.", sdk.ShapeNone),
			image("target_index_resolved", "target_index by digest.", sdk.ShapeImage),
			{Name: "deprecation_list", Doc: "The bundles to deprecate.", Schema: params.SchemaTexts, Image: true},
			{Name: "graph_update_mode", Doc: "The graph mode that was asked for.", Schema: params.SchemaTextOrNull},
			{Name: "ignore_bundle_ocp_version", Doc: "What was asked for.", Schema: params.SchemaBoolOrNull},
		},
	}
	for _, p := range index.Parameters() {
		if p.Name == "binary_image" || p.Name == "distribution_scope" || p.Name == "build_tags" {
			doc.Params = append(doc.Params, p)
		}
	}
	for _, f := range index.ResultFields() {
		switch f.Name {
		case "binary_image", "binary_image_resolved", "build_tags", "distribution_scope", "index_image":
			doc.Fields = append(doc.Fields, f)
		}
	}
	return doc
}
