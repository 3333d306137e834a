package main

import (
	"context"
	"encoding/json"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/index"
	"github.com/iib-engine/iib/sdk/params"
)

// handler runs add requests. Its exported fields are the plugin's settings.
type handler struct {
	index.Config

	RequiredLabels         map[string]string            `hcl:"required_labels,optional" doc:"Labels, with their values, that every bundle must have."`
	GraphModes             []string                     `hcl:"graph_modes,optional" doc:"The graph_update_mode values that are allowed. Default: replaces, semver, semver-skippatch."`
	GraphModeIndexes       []string                     `hcl:"graph_mode_indexes,optional" doc:"The indexes, with or without tag, for which graph_update_mode may be used. Default: none."`
	RelatedImageRegistries map[string]map[string]string `hcl:"related_image_registries,optional" doc:"For check_related_images: user, then registry, to the registry to look in instead."`

	OMPS *ompsSettings `hcl:"omps,block" doc:"Where packages in the old package-manifest form are exported to. Without it, nothing is."`
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
	if h.OMPS != nil {
		if err := h.OMPS.check(); err != nil {
			return err
		}
	}
	return h.Config.Validate()
}

// addParams are the normalised parameters of an add request.
type addParams struct {
	index.Params
	Bundles            []string `json:"bundles,omitempty"`
	DeprecationList    []string `json:"deprecation_list,omitempty"`
	CheckRelatedImages bool     `json:"check_related_images,omitempty"`
	GraphUpdateMode    string   `json:"graph_update_mode,omitempty"`
	Organization       string   `json:"organization,omitempty"`
	ForceBackport      bool     `json:"force_backport,omitempty"`
}

// optionalParams are the parameters of add beside the shared ones.
var optionalParams = []string{
	"from_index", "bundles", "check_related_images", "cnr_token", "deprecation_list",
	"force_backport", "graph_update_mode", "organization",
}

// Accept judges a submission in the order of the contract's section 2.5.
func (h *handler) Accept(_ context.Context, sub *sdk.Submission) error {
	o, err := params.Parse(sub.Body)
	if err != nil {
		return err
	}
	own, err := h.readOwn(o)
	if err != nil {
		return err
	}
	checkRelated := o["check_related_images"]
	cnrToken, err := o.Text("cnr_token")
	if err != nil {
		return err
	}
	shared, err := h.Config.Accept(sub, o, nil, optionalParams)
	if err != nil {
		return err
	}
	own.Params = *shared
	if err := params.CheckPullSpecs("bundles", own.Bundles); err != nil {
		return err
	}
	if err := params.CheckPullSpecs("deprecation_list", own.DeprecationList); err != nil {
		return err
	}
	if own.BuildTags, err = index.BuildTags(o); err != nil {
		return err
	}
	if cnrToken != "" {
		sub.Secrets = map[string]sdk.Secret{"cnr_token": sdk.Secret(cnrToken)}
	}
	if sub.Params, err = json.Marshal(own); err != nil {
		return sdk.Errorf(sdk.Internal, "encode the parameters: %v", err)
	}
	return own.setFields(sub, checkRelated)
}

// readOwn is steps 1 to 6: everything that comes before the shared rules.
func (h *handler) readOwn(o params.Object) (*addParams, error) {
	p := new(addParams)
	var err error
	if p.Bundles, err = o.UniqueTexts("bundles"); err != nil {
		return nil, err
	}
	if p.DeprecationList, err = o.UniqueTexts("deprecation_list"); err != nil {
		return nil, err
	}
	if len(p.Bundles) == 0 && !o.Truthy("from_index") {
		return nil, sdk.FieldErrorf("from_index", "from_index is required when no bundles are given")
	}
	if len(p.Bundles) == 0 && o.Truthy("check_related_images") {
		return nil, sdk.FieldErrorf("check_related_images", "check_related_images needs bundles to check")
	}
	if p.CheckRelatedImages, err = o.Bool("check_related_images"); err != nil {
		return nil, err
	}
	if _, err = o.Text("cnr_token"); err != nil {
		return nil, err
	}
	if p.GraphUpdateMode, err = h.readGraphMode(o); err != nil {
		return nil, err
	}
	if p.Organization, err = o.Text("organization"); err != nil {
		return nil, err
	}
	p.ForceBackport, err = o.Bool("force_backport")
	return p, err
}

// readGraphMode applies the allow list of the contract's section 2.12.
func (h *handler) readGraphMode(o params.Object) (string, error) {
	mode, err := o.Text("graph_update_mode")
	if err != nil || mode == "" {
		return "", err
	}
	return mode, index.CheckGraphMode(mode, index.GraphModes(h.GraphModes), o, "from_index", h.GraphModeIndexes)
}

func (p *addParams) setFields(sub *sdk.Submission, checkRelated json.RawMessage) error {
	if err := p.SetFields(sub); err != nil {
		return err
	}
	if checkRelated == nil {
		checkRelated = json.RawMessage("null")
	}
	for name, value := range map[string]any{
		"bundles":               index.List(p.Bundles),
		"bundle_mapping":        struct{}{},
		"deprecation_list":      index.List(p.DeprecationList),
		"removed_operators":     []string{},
		"organization":          index.OrNull(p.Organization),
		"omps_operator_version": struct{}{},
		"graph_update_mode":     index.OrNull(p.GraphUpdateMode),
		"check_related_images":  checkRelated,
	} {
		if err := sub.SetField(name, value); err != nil {
			return err
		}
	}
	return nil
}

// Describe documents the type: the contract's sections 2.5, 3.2 and 5.2.
func (h *handler) Describe() sdk.HandlerDoc {
	example := func(text string) json.RawMessage { return json.RawMessage(text) }
	return sdk.HandlerDoc{
		Summary: "Add operator bundles to an index image.",
		Params: append(index.Parameters(),
			sdk.ParamDoc{Name: "bundles", Doc: "The bundle images to add; repetitions are ignored.", Schema: params.SchemaTexts, Example: example(`["quay.io/namespace/bundle:v1.0.0"]`)},
			sdk.ParamDoc{Name: "deprecation_list", Doc: "Bundles to deprecate after adding.", Schema: params.SchemaTexts, Example: example(`["quay.io/namespace/bundle@sha256:0000000000000000000000000000000000000000000000000000000000000000"]`)},
			sdk.ParamDoc{Name: "check_related_images", Doc: "Fail unless every image that the bundles name can be pulled.", Schema: params.SchemaBool, Example: example(`true`)},
			sdk.ParamDoc{Name: "graph_update_mode", Doc: "How the update graph is made: replaces (the default), semver or semver-skippatch. Only for indexes that the server allows it for.", Schema: index.SchemaGraphMode},
			sdk.ParamDoc{Name: "organization", Doc: "Organization in the legacy application registry.", Schema: params.SchemaTextOrNull, Example: example(`"namespace"`)},
			sdk.ParamDoc{Name: "cnr_token", Doc: "Token for the legacy application registry.", Secret: true, Schema: params.SchemaText, Example: example(`"basic abc"`)},
			sdk.ParamDoc{Name: "force_backport", Doc: "Export every bundle to the legacy application registry.", Schema: params.SchemaBool, Example: example(`false`)},
		),
		Fields: append(index.ResultFields(),
			sdk.FieldDoc{Name: "bundles", Doc: "The bundles that were asked for.", Schema: params.SchemaTexts, Shape: sdk.ShapeIgnored, Image: true},
			sdk.FieldDoc{Name: "bundle_mapping", Doc: "Operator package to the bundles of this request.", Schema: params.SchemaMapping, Shape: sdk.ShapeMapping},
			sdk.FieldDoc{Name: "deprecation_list", Doc: "The bundles to deprecate.", Schema: params.SchemaTexts, Image: true},
			sdk.FieldDoc{Name: "removed_operators", Doc: "Always empty.", Schema: params.SchemaTexts},
			sdk.FieldDoc{Name: "organization", Doc: "Organization in the legacy application registry.", Schema: params.SchemaTextOrNull},
			sdk.FieldDoc{Name: "omps_operator_version", Doc: "Package to its version in the legacy application registry.", Schema: params.SchemaObject, Shape: sdk.ShapeJSONText},
			sdk.FieldDoc{Name: "graph_update_mode", Doc: "The graph mode that was asked for.", Schema: params.SchemaTextOrNull},
			sdk.FieldDoc{Name: "check_related_images", Doc: "What was asked for.", Schema: params.SchemaBoolOrNull},
			index.IgnoredBundleImage(),
		),
	}
}
