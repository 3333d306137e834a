package main

import (
	"context"
	"encoding/json"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/index"
	"github.com/iib-engine/iib/sdk/params"
)

// handler runs rm requests. Its exported fields are the plugin's settings.
type handler struct {
	index.Config
}

var (
	_ sdk.Handler   = (*handler)(nil)
	_ sdk.Acceptor  = (*handler)(nil)
	_ sdk.Describer = (*handler)(nil)
	_ sdk.Previewer = (*handler)(nil)
	_ sdk.Validator = (*handler)(nil)
)

type rmParams struct {
	index.Params
	Operators []string `json:"operators"`
}

// Accept judges a submission in the order of the contract's section 2.6.
func (h *handler) Accept(_ context.Context, sub *sdk.Submission) error {
	o, err := params.Parse(sub.Body)
	if err != nil {
		return err
	}
	operators, err := o.UniqueTexts("operators")
	if err != nil {
		return err
	}
	if len(operators) == 0 {
		return sdk.FieldErrorf("operators", "operators must be a non-empty array of package names")
	}
	shared, err := h.Config.Accept(sub, o, []string{"operators", "from_index"}, nil)
	if err != nil {
		return err
	}
	p := rmParams{Params: *shared, Operators: operators}
	if p.BuildTags, err = index.BuildTags(o); err != nil {
		return err
	}
	if sub.Params, err = json.Marshal(p); err != nil {
		return sdk.Errorf(sdk.Internal, "encode the parameters: %v", err)
	}
	if err := p.SetFields(sub); err != nil {
		return err
	}
	for name, value := range map[string]any{
		"bundles": []string{}, "bundle_mapping": struct{}{}, "deprecation_list": []string{},
		"removed_operators": operators, "organization": nil,
	} {
		if err := sub.SetField(name, value); err != nil {
			return err
		}
	}
	return nil
}

// Describe documents the type: the contract's sections 2.6, 3.2 and 5.2.
func (h *handler) Describe() sdk.HandlerDoc {
	return sdk.HandlerDoc{
		Summary: "Remove operators from an index image.",
		Params: append(index.Parameters("from_index"),
			sdk.ParamDoc{Name: "operators", Doc: "The packages to remove.", Required: true, Schema: params.SchemaTexts, Example: json.RawMessage(`["amqstreams"]`)},
		),
		Fields: append(index.ResultFields(),
			sdk.FieldDoc{Name: "bundles", Doc: "Always empty.", Schema: params.SchemaTexts},
			sdk.FieldDoc{Name: "bundle_mapping", Doc: "Always empty.", Schema: params.SchemaMapping},
			sdk.FieldDoc{Name: "deprecation_list", Doc: "Always empty.", Schema: params.SchemaTexts},
			sdk.FieldDoc{Name: "removed_operators", Doc: "The packages to remove.", Schema: params.SchemaTexts},
			sdk.FieldDoc{Name: "organization", Doc: "Always null.", Schema: params.SchemaTextOrNull},
			index.IgnoredBundleImage(),
		),
	}
}
