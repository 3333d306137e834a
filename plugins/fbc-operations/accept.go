package main

import (
	"context"
	"encoding/json"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/index"
	"github.com/iib-engine/iib/sdk/params"
)

// handler runs fbc-operations requests. Its exported fields are the plugin's
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

type fbcParams struct {
	index.Params
	Fragments []string `json:"fbc_fragments"`
	// Single tells that the older parameter fbc_fragment was used, which shows
	// in the representation (contract, section 3.6).
	Single bool `json:"single,omitempty"`
}

// Accept judges a submission in the order of the contract's section 2.10.
func (h *handler) Accept(_ context.Context, sub *sdk.Submission) error {
	o, err := params.Parse(sub.Body)
	if err != nil {
		return err
	}
	p := new(fbcParams)
	if p.Single, err = singleForm(o); err != nil {
		return err
	}
	if p.Fragments, err = o.UniqueTexts("fbc_fragments"); err != nil {
		return err
	}
	shared, err := h.Config.Accept(sub, o, []string{"fbc_fragments", "from_index"}, nil)
	if err != nil {
		return err
	}
	p.Params = *shared
	if err := params.CheckPullSpecs("fbc_fragments", p.Fragments); err != nil {
		return err
	}
	if p.BuildTags, err = index.BuildTags(o); err != nil {
		return err
	}
	if sub.Params, err = json.Marshal(p); err != nil {
		return sdk.Errorf(sdk.Internal, "encode the parameters: %v", err)
	}
	return p.setFields(sub)
}

// singleForm turns the older parameter into the newer one.
func singleForm(o params.Object) (bool, error) {
	one, many := !o.Null("fbc_fragment"), !o.Null("fbc_fragments")
	switch {
	case one && many:
		return false, sdk.FieldErrorf("fbc_fragment", "fbc_fragment and fbc_fragments exclude each other: use fbc_fragments")
	case !one && !many:
		return false, sdk.FieldErrorf("fbc_fragments", "fbc_fragments is required")
	case !one:
		delete(o, "fbc_fragment")
		return false, nil
	}
	if _, err := o.Text("fbc_fragment"); err != nil {
		return false, err
	}
	o["fbc_fragments"] = json.RawMessage("[" + string(o["fbc_fragment"]) + "]")
	delete(o, "fbc_fragment")
	return true, nil
}

func (p *fbcParams) setFields(sub *sdk.Submission) error {
	if err := p.SetFields(sub); err != nil {
		return err
	}
	fields := map[string]any{
		"fbc_fragments": p.Fragments, "fbc_fragments_resolved": []string{},
		"fbc_fragment": nil, "fbc_fragment_resolved": nil,
	}
	if p.Single {
		fields["fbc_fragments"], fields["fbc_fragment"] = []string{}, p.Fragments[0]
	}
	for name, value := range fields {
		if err := sub.SetField(name, value); err != nil {
			return err
		}
	}
	return nil
}

// Describe documents the type: the contract's sections 2.10, 3.2, 3.6 and 5.2.
func (h *handler) Describe() sdk.HandlerDoc {
	return sdk.HandlerDoc{
		Summary: "Put the packages of file-based catalog fragments into an index image.",
		Params: append(index.Parameters("from_index"),
			sdk.ParamDoc{Name: "fbc_fragments", Doc: "The fragment images; no two may have the same package.", Schema: params.SchemaTexts, Example: json.RawMessage(`["quay.io/namespace/fragment:v1"]`)},
			sdk.ParamDoc{Name: "fbc_fragment", Doc: "One fragment; the older form of fbc_fragments.", Schema: params.SchemaTextOrNull},
		),
		Fields: append(index.ResultFields(),
			sdk.FieldDoc{Name: "fbc_fragments", Doc: "The fragments that were asked for.", Schema: params.SchemaTexts, Shape: sdk.ShapeIgnored, Image: true},
			sdk.FieldDoc{Name: "fbc_fragments_resolved", Doc: "The fragments by digest.", Schema: params.SchemaTexts, Shape: sdk.ShapeImages, Image: true},
			sdk.FieldDoc{Name: "fbc_fragment", Doc: "The fragment, if the older parameter was used.", Schema: params.SchemaTextOrNull, Shape: sdk.ShapeImage, Image: true},
			sdk.FieldDoc{Name: "fbc_fragment_resolved", Doc: "The fragment by digest, if the older parameter was used.", Schema: params.SchemaTextOrNull, Shape: sdk.ShapeImage, Image: true},
			index.IgnoredBundleImage(),
		),
	}
}
