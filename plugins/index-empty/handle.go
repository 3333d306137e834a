package main

import (
	"context"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/index"
)

// Handle empties a copy of the index (handlers, section 4.5).
func (h *handler) Handle(ctx context.Context, job *sdk.Job) error {
	p := new(emptyParams)
	if err := job.Decode(p); err != nil {
		return err
	}
	session, err := h.Config.Open(job)
	if err != nil {
		return err
	}
	_, err = session.Land(ctx, &index.Landing{
		Params: &p.Params,
		Labels: p.Labels,
		Planned: func(_ context.Context, base *index.Base, _ *index.Plan) error {
			if base.FileBased() && !p.OutputFBC {
				return sdk.FieldErrorf("output_fbc", "index %s is file-based and cannot become a SQLite one: set output_fbc to true", base.Spec)
			}
			return nil
		},
		Edit: func(ctx context.Context, content *index.Content, _ *index.Plan) error {
			if err := job.Statef(ctx, "Removing all operators."); err != nil {
				return err
			}
			return content.Clear(ctx, p.OutputFBC)
		},
	})
	if err != nil {
		return err
	}
	job.Done("The empty index image was created.")
	return nil
}

// Preview tells what the request would change.
func (h *handler) Preview(ctx context.Context, job *sdk.Job) (*sdk.Preview, error) {
	return index.Preview(ctx, job, h.Handle)
}
