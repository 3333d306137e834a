package main

import (
	"context"
	"encoding/json"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/index"
	"github.com/iib-engine/iib/sdk/params"
)

// handler runs create-empty-index requests. Its exported fields are the
// plugin's settings.
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

type emptyParams struct {
	index.Params
	OutputFBC bool              `json:"output_fbc,omitempty"`
	Labels    map[string]string `json:"labels,omitempty"`
}

// refused parameters are known to the other index requests, and a mistake here.
var refused = []string{"add_arches", "overwrite_from_index", "overwrite_from_index_token", "build_tags"}

// Accept judges a submission in the order of the contract's section 2.10.
func (h *handler) Accept(_ context.Context, sub *sdk.Submission) error {
	o, err := params.Parse(sub.Body)
	if err != nil {
		return err
	}
	p, err := readOwn(o)
	if err != nil {
		return err
	}
	shared, err := h.Config.Accept(sub, o, []string{"from_index"}, []string{"labels", "output_fbc"})
	if err != nil {
		return err
	}
	p.Params = *shared
	if sub.Params, err = json.Marshal(p); err != nil {
		return sdk.Errorf(sdk.Internal, "encode the parameters: %v", err)
	}
	if err := p.SetFields(sub); err != nil {
		return err
	}
	for _, name := range []string{"build_tags", "internal_index_image_copy", "internal_index_image_copy_resolved"} {
		delete(sub.Fields, name)
	}
	var labels any
	if len(p.Labels) > 0 {
		labels = p.Labels
	}
	return sub.SetField("labels", labels)
}

// readOwn is steps 1 to 4: everything that comes before the shared rules.
func readOwn(o params.Object) (*emptyParams, error) {
	p := new(emptyParams)
	from, err := o.Text("from_index")
	if err != nil || from == "" {
		return nil, sdk.FieldErrorf("from_index", "from_index must be a non-empty string")
	}
	if o.Truthy("output_fbc") {
		if p.OutputFBC, err = o.Bool("output_fbc"); err != nil {
			return nil, err
		}
	}
	if !o.Null("labels") {
		if p.Labels, err = o.TextMap("labels"); err != nil {
			return nil, err
		}
	}
	for _, name := range refused {
		if o.Present(name) {
			return nil, sdk.FieldErrorf(name, "%s cannot be used with create-empty-index", name)
		}
	}
	return p, nil
}

// Describe documents the type: the contract's sections 2.10, 3.2 and 5.2.
func (h *handler) Describe() sdk.HandlerDoc {
	doc := sdk.HandlerDoc{Summary: "Make an index image without operators, like an existing one otherwise."}
	for _, p := range index.Parameters("from_index") {
		if p.Name == "from_index" || p.Name == "binary_image" || p.Name == "distribution_scope" {
			doc.Params = append(doc.Params, p)
		}
	}
	doc.Params = append(doc.Params,
		sdk.ParamDoc{Name: "output_fbc", Doc: "Make a file-based index, also from a SQLite one.", Schema: params.SchemaBool, Example: json.RawMessage(`true`)},
		sdk.ParamDoc{Name: "labels", Doc: "Labels of the image; they win over the engine's own.", Schema: params.SchemaTextMap, Example: json.RawMessage(`{"version":"v4.14"}`)},
	)
	for _, f := range index.ResultFields() {
		switch f.Name {
		case "build_tags", "internal_index_image_copy", "internal_index_image_copy_resolved":
		default:
			doc.Fields = append(doc.Fields, f)
		}
	}
	doc.Fields = append(doc.Fields,
		sdk.FieldDoc{Name: "labels", Doc: "The labels that were asked for.", Schema: json.RawMessage(`{"type":["object","null"],"additionalProperties":{"type":"string"}}`)})
	return doc
}
