// Command compare-handler adds a request type that describes itself so well
// that the engine does the rest: POST /api/v1/builds/compare has its checks, its
// JSON and its documentation from Describe alone.
package main

import (
	"context"
	"encoding/json"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/serve"
)

func main() {
	serve.Plugin(sdk.Plugin{
		Name:     "compare-handler",
		Doc:      "Tells whether two images have the same name.",
		Handlers: map[string]sdk.Handler{"compare": handler{}},
	})
}

type handler struct{}

var image = json.RawMessage(`{"type": "string", "pattern": "[:@]"}`)

func (handler) Describe() sdk.HandlerDoc {
	return sdk.HandlerDoc{
		Summary: "Tell whether two images have the same name.",
		Params: []sdk.ParamDoc{
			{Name: "first", Doc: "An image, with a tag or a digest.", Required: true, Schema: image, Example: json.RawMessage(`"quay.io/namespace/app:v1"`)},
			{Name: "second", Doc: "Another one.", Required: true, Schema: image, Example: json.RawMessage(`"quay.io/namespace/app:v2"`)},
			{Name: "by", Doc: "What is compared.", Schema: json.RawMessage(`{"enum": ["name", "registry"]}`), Example: json.RawMessage(`"registry"`)},
			{Name: "token", Doc: "Not needed: it shows that secrets are kept.", Secret: true, Schema: json.RawMessage(`{"type": "string"}`)},
		},
		Fields: []sdk.FieldDoc{
			{Name: "first", Doc: "The first image.", Schema: json.RawMessage(`{"type": "string"}`), Image: true},
			{Name: "second", Doc: "The second image.", Schema: json.RawMessage(`{"type": "string"}`), Image: true},
			{Name: "by", Doc: "What is compared.", Schema: json.RawMessage(`{"type": ["string", "null"]}`)},
			{Name: "verdict", Doc: "same or different, once it is known.", Schema: json.RawMessage(`{"enum": ["same", "different", null]}`), Shape: sdk.ShapeText},
		},
	}
}

func (handler) Handle(ctx context.Context, job *sdk.Job) error {
	var p struct{ First, Second, By string }
	if err := job.Decode(&p); err != nil {
		return err
	}
	first, second, what := p.First, p.Second, "names"
	if p.By == "registry" {
		first, second, what = sdk.Image{Spec: first}.Registry(), sdk.Image{Spec: second}.Registry(), "registries"
	}
	verdict := "different"
	if first == second {
		verdict = "same"
	}
	with := ""
	if _, err := job.Secret(ctx, "token"); err == nil {
		with = ", and a token came along"
	}
	job.Done("The images have %s %s%s.", verdict, what, with)
	return job.SetFields(ctx, map[string]any{"verdict": verdict})
}
