package main

import (
	"context"
	"encoding/json"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/index"
	"github.com/iib-engine/iib/sdk/params"
)

// handler runs index-diff requests. It has no settings.
type handler struct {
	config index.Config
}

var (
	_ sdk.Handler   = (*handler)(nil)
	_ sdk.Acceptor  = (*handler)(nil)
	_ sdk.Describer = (*handler)(nil)
)

// request is the normalised parameters.
type request struct {
	FromIndex string `json:"from_index"`
	ToIndex   string `json:"to_index"`
}

// Accept judges a submission.
func (h *handler) Accept(_ context.Context, sub *sdk.Submission) error {
	o, err := params.Parse(sub.Body)
	if err != nil {
		return err
	}
	if err := o.Check([]string{"from_index", "to_index"}, []string{"registry_auths"}); err != nil {
		return err
	}
	var r request
	if r.FromIndex, err = o.PullSpec("from_index"); err != nil {
		return err
	}
	if r.ToIndex, err = o.PullSpec("to_index"); err != nil {
		return err
	}
	var unreadable []string
	if sub.Grants, unreadable, err = o.RegistryAuths("registry_auths"); err != nil {
		return err
	}
	if len(unreadable) > 0 {
		return sdk.FieldErrorf("registry_auths", "registry_auths: the credentials for %s are not base64 of user:password", unreadable[0])
	}
	if sub.Params, err = json.Marshal(r); err != nil {
		return sdk.Errorf(sdk.Internal, "encode the parameters: %v", err)
	}
	for name, value := range map[string]any{
		"from_index": r.FromIndex, "to_index": r.ToIndex, "from_index_resolved": nil, "to_index_resolved": nil,
	} {
		if err := sub.SetField(name, value); err != nil {
			return err
		}
	}
	return nil
}

// artifact is the file with the result.
const artifact = "index_diff"

// Describe documents the type.
func (h *handler) Describe() sdk.HandlerDoc {
	return sdk.HandlerDoc{
		Summary: "Tell what operators, channels and bundles differ between two index images.",
		Params: []sdk.ParamDoc{
			{Name: "from_index", Doc: "The earlier index.", Required: true, Schema: params.SchemaText, Example: json.RawMessage(`"quay.io/namespace/index@sha256:..."`)},
			{Name: "to_index", Doc: "The later index.", Required: true, Schema: params.SchemaText, Example: json.RawMessage(`"quay.io/namespace/index:v4.20"`)},
			{Name: "registry_auths", Doc: "Registry credentials for this request, in the form of a Docker config.json with the one key auths.", Secret: true, Schema: params.SchemaObject, Example: json.RawMessage(`{"auths": {"registry.example.com/namespace": {"auth": "dXNlcjpwYXNzd29yZA=="}}}`)},
		},
		Fields: []sdk.FieldDoc{
			{Name: "from_index", Doc: "The earlier index.", Schema: params.SchemaText, Image: true},
			{Name: "from_index_resolved", Doc: "The same by digest.", Schema: params.SchemaTextOrNull, Shape: sdk.ShapeImage, Image: true},
			{Name: "to_index", Doc: "The later index.", Schema: params.SchemaText, Image: true},
			{Name: "to_index_resolved", Doc: "The same by digest.", Schema: params.SchemaTextOrNull, Shape: sdk.ShapeImage, Image: true},
		},
		Artifacts: []sdk.ArtifactDoc{
			{Name: artifact, Path: "index-diff", Field: "index_diff", ContentType: "application/json"},
		},
	}
}
