package engine

import (
	"context"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// published answers Job.Published: a run that died between the move of the
// index's tag and the end of its request has done what the request is for. Doing
// that again would not be harmless: others may have undone it on purpose since.
func (h *jobHost) published(ctx context.Context, p *sdk.Publication) (*sdk.Published, error) {
	none := sdk.Errorf(sdk.NotFound, "no earlier run of request %d has published %s", h.request.ID, p.Overwrite)
	if p.Overwrite == "" || h.claim.Epoch <= 1 {
		return nil, none
	}
	digest, err := h.landed(ctx, p.Overwrite)
	if err != nil {
		return nil, err
	}
	if digest == "" {
		return nil, none
	}
	published, err := h.tagBuild(ctx, h.engine.Images.BuildRepository()+"@"+digest, p.BuildTags)
	if err != nil {
		return nil, err
	}
	published.IndexImage = p.Overwrite
	published.IndexImageResolved = repository(p.Overwrite) + "@" + digest
	return published, nil
}

// landed returns the digest that this request has moved a tag to, "" if it has
// not. Where a run died at the move, what the tag is tells what came of it.
func (h *jobHost) landed(ctx context.Context, spec string) (digest string, err error) {
	unlock, err := h.Lock(ctx, "index "+spec)
	if err != nil {
		return "", err
	}
	defer unlock()
	tag := recordSpec(spec)
	err = h.untilFree(ctx, "tag "+tag, core.ReasonMoving, func() error {
		now, err := h.now(ctx, spec, func(string) error { return nil })
		if err != nil {
			return err
		}
		digest, err = h.engine.Store.Landed(ctx, tag, *now, h.claim)
		return err
	})
	return digest, err
}
