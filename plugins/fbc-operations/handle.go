package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/index"
)

// Handle puts the fragments into the index (handlers, section 4.7).
func (h *handler) Handle(ctx context.Context, job *sdk.Job) error {
	p := new(fbcParams)
	if err := job.Decode(p); err != nil {
		return err
	}
	session, err := h.Config.Open(job)
	if err != nil {
		return err
	}
	if err := job.Statef(ctx, "Resolving the fragments."); err != nil {
		return err
	}
	fragments, err := session.Fragments(ctx, p.Fragments)
	if err != nil {
		return err
	}
	published, err := session.Land(ctx, &index.Landing{
		Params: &p.Params,
		Planned: func(ctx context.Context, base *index.Base, plan *index.Plan) error {
			if !base.FileBased() {
				return sdk.FieldErrorf("from_index", "index %s is a SQLite one: fragments can be put into file-based indexes only", base.Spec)
			}
			for _, f := range fragments {
				plan.Newer(f.Created)
			}
			return job.SetFields(ctx, p.resolved(fragments))
		},
		Edit: func(ctx context.Context, content *index.Content, _ *index.Plan) error {
			for i, f := range fragments {
				err := job.Statef(ctx, "Adding the packages %s from fragment %d of %d.", strings.Join(f.Tree.Packages(), ", "), i+1, len(fragments))
				if err != nil {
					return err
				}
				if err := content.Adopt(ctx, f.Tree); err != nil {
					return sdk.Errorf(sdk.CodeOf(err), "fragment %s: %v", f.Spec, err)
				}
			}
			return nil
		},
	})
	if err != nil {
		return err
	}
	if err := session.Report(ctx, published); err != nil {
		return err
	}
	job.Done("%s", fmt.Sprintf("%d fragments were added to the index image.", len(fragments)))
	return nil
}

// resolved are the representation keys of the fragments by digest.
func (p *fbcParams) resolved(fragments []*index.Fragment) map[string]any {
	pinned := make([]string, 0, len(fragments))
	for _, f := range fragments {
		pinned = append(pinned, f.Pinned)
	}
	if p.Single {
		return map[string]any{"fbc_fragment_resolved": pinned[0]}
	}
	return map[string]any{"fbc_fragments_resolved": pinned}
}

// Preview tells what the request would change.
func (h *handler) Preview(ctx context.Context, job *sdk.Job) (*sdk.Preview, error) {
	return index.Preview(ctx, job, h.Handle)
}
