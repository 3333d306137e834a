// Command echo-handler adds a request type of its own, echo: POST
// /api/v1/builds/echo with a text gives a request whose field "echo" has it.
package main

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/serve"
)

func main() {
	serve.Plugin(sdk.Plugin{
		Name:     "echo-handler",
		Doc:      "Gives back what it is sent.",
		Handlers: map[string]sdk.Handler{"echo": new(handler)},
	})
}

type handler struct {
	Times int `hcl:"times,optional" doc:"How often to repeat the text; 0 is once."`
}

type params struct {
	Text string `json:"text"`
}

func (h *handler) Describe() sdk.HandlerDoc {
	return sdk.HandlerDoc{
		Summary: "Give back a text.",
		Params: []sdk.ParamDoc{{
			Name: "text", Doc: "What to give back.", Required: true,
			Schema: json.RawMessage(`{"type": "string", "minLength": 1}`), Example: json.RawMessage(`"hello"`),
		}},
		Fields: []sdk.FieldDoc{{Name: "echo", Doc: "The text.", Shape: sdk.ShapeText}},
	}
}

func (h *handler) Accept(_ context.Context, sub *sdk.Submission) error {
	var p params
	if err := json.Unmarshal(sub.Body, &p); err != nil || p.Text == "" {
		return sdk.FieldErrorf("text", "text must be a string with something in it")
	}
	sub.Params = sub.Body
	return nil
}

func (h *handler) Handle(ctx context.Context, job *sdk.Job) error {
	var p params
	if err := job.Decode(&p); err != nil {
		return err
	}
	if err := job.Statef(ctx, "Echoing %d characters", len(p.Text)); err != nil {
		return err
	}
	job.Done("Echoed")
	return job.SetFields(ctx, map[string]any{"echo": strings.Repeat(p.Text, max(1, h.Times))})
}
