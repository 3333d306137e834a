package main

import (
	"context"
	"encoding/json"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/index"
	"github.com/iib-engine/iib/sdk/params"
)

// handler runs add-deprecations requests. Its exported fields are the plugin's
// settings.
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

type deprecationParams struct {
	index.Params
	Package string `json:"operator_package"`
	// Schema is the submitted text, verbatim.
	Schema string `json:"deprecation_schema"`
}

// Accept judges a submission in the order of the contract's section 2.10.
func (h *handler) Accept(_ context.Context, sub *sdk.Submission) error {
	o, err := params.Parse(sub.Body)
	if err != nil {
		return err
	}
	p := new(deprecationParams)
	if p.Package, err = o.Text("operator_package"); err != nil || p.Package == "" {
		return sdk.FieldErrorf("operator_package", "operator_package must be a non-empty string")
	}
	if p.Schema, err = o.Text("deprecation_schema"); err != nil || p.Schema == "" {
		return sdk.FieldErrorf("deprecation_schema", "deprecation_schema must be a non-empty string")
	}
	if !json.Valid([]byte(p.Schema)) {
		return sdk.FieldErrorf("deprecation_schema", "deprecation_schema must be the text of one JSON document")
	}
	shared, err := h.Config.Accept(sub, o, []string{"deprecation_schema", "from_index", "operator_package"}, nil)
	if err != nil {
		return err
	}
	p.Params = *shared
	if p.BuildTags, err = index.BuildTags(o); err != nil {
		return err
	}
	if sub.Params, err = json.Marshal(p); err != nil {
		return sdk.Errorf(sdk.Internal, "encode the parameters: %v", err)
	}
	if err := p.SetFields(sub); err != nil {
		return err
	}
	if err := sub.SetField("operator_package", p.Package); err != nil {
		return err
	}
	return sub.SetField("deprecation_schema", p.Schema)
}

// Describe documents the type: the contract's sections 2.10, 3.2 and 5.2.
func (h *handler) Describe() sdk.HandlerDoc {
	doc := sdk.HandlerDoc{
		Summary: "Set the deprecations of an operator in an index image.",
		Params: append(index.Parameters("from_index"),
			sdk.ParamDoc{Name: "operator_package", Doc: "The package whose deprecations are set.", Required: true, Schema: params.SchemaText, Example: json.RawMessage(`"amqstreams"`)},
			sdk.ParamDoc{Name: "deprecation_schema", Doc: "The text of an olm.deprecations document.", Required: true, Schema: params.SchemaText,
				Example: json.RawMessage(`"{\"schema\":\"olm.deprecations\",\"package\":\"amqstreams\",\"entries\":[]}"`)},
		),
		Artifacts: []sdk.ArtifactDoc{{
			Name: "deprecation_schema", Path: "deprecation-schema", Field: "deprecation_schema_url",
			ContentType: "application/json", Parameter: true,
		}},
	}
	for _, f := range index.ResultFields() {
		// The scope is stored, but the contract does not show it.
		f.Hidden = f.Name == "distribution_scope"
		doc.Fields = append(doc.Fields, f)
	}
	doc.Fields = append(doc.Fields,
		sdk.FieldDoc{Name: "operator_package", Doc: "The package whose deprecations are set.", Schema: params.SchemaText},
		sdk.FieldDoc{Name: "deprecation_schema", Doc: "The submitted text.", Schema: params.SchemaText, Hidden: true},
		index.IgnoredBundleImage(),
	)
	return doc
}
