package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/index"
)

// Handle removes the operators (handlers, section 4.2).
func (h *handler) Handle(ctx context.Context, job *sdk.Job) error {
	p := new(rmParams)
	if err := job.Decode(p); err != nil {
		return err
	}
	session, err := h.Config.Open(job)
	if err != nil {
		return err
	}
	var missing []string
	published, err := session.Land(ctx, &index.Landing{
		Params: &p.Params,
		Edit: func(ctx context.Context, content *index.Content, _ *index.Plan) (err error) {
			missing, err = content.Remove(ctx, p.Operators)
			return err
		},
	})
	if err != nil {
		return err
	}
	if err := session.Report(ctx, published); err != nil {
		return err
	}
	reason := fmt.Sprintf("The operators were removed from the index image: %s.", strings.Join(p.Operators, ", "))
	if len(missing) > 0 {
		reason += fmt.Sprintf(" Not in the index were: %s.", strings.Join(missing, ", "))
	}
	job.Done("%s", reason)
	return nil
}

// Preview tells what the request would change.
func (h *handler) Preview(ctx context.Context, job *sdk.Job) (*sdk.Preview, error) {
	return index.Preview(ctx, job, h.Handle)
}
