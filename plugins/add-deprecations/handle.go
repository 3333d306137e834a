package main

import (
	"context"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/index"
)

// Handle sets the deprecations (handlers, section 4.8).
func (h *handler) Handle(ctx context.Context, job *sdk.Job) error {
	p := new(deprecationParams)
	if err := job.Decode(p); err != nil {
		return err
	}
	session, err := h.Config.Open(job)
	if err != nil {
		return err
	}
	published, err := session.Land(ctx, &index.Landing{
		Params: &p.Params,
		Planned: func(_ context.Context, base *index.Base, _ *index.Plan) error {
			if !base.FileBased() {
				return sdk.FieldErrorf("from_index", "index %s is a SQLite one: deprecations can be set in file-based indexes only", base.Spec)
			}
			return nil
		},
		Edit: func(ctx context.Context, content *index.Content, _ *index.Plan) error {
			if err := job.Statef(ctx, "Setting the deprecations of %s.", p.Package); err != nil {
				return err
			}
			return content.SetDeprecations(ctx, p.Package, []byte(p.Schema))
		},
	})
	if err != nil {
		return err
	}
	if err := session.Report(ctx, published); err != nil {
		return err
	}
	job.Done("The deprecations of %s were set.", p.Package)
	return nil
}

// Preview tells what the request would change.
func (h *handler) Preview(ctx context.Context, job *sdk.Job) (*sdk.Preview, error) {
	return index.Preview(ctx, job, h.Handle)
}
