package engine

import (
	"context"
	"fmt"

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
func (h *jobHost) landed(ctx context.Context, spec string) (string, error) {
	unlock, err := h.Lock(ctx, "index "+spec)
	if err != nil {
		return "", err
	}
	defer unlock()
	now, err := h.now(ctx, spec, func(string) error { return nil })
	if err != nil {
		return "", err
	}
	// A move that is begun and not made has the store look at those before it.
	id, err := h.beginMove(ctx, spec, now, now)
	if err != nil {
		return "", err
	}
	if err := h.engine.Store.EndMove(context.WithoutCancel(ctx), id, now, false); err != nil {
		return "", err
	}
	accepted := h.request.History[len(h.request.History)-1].Time
	for before := int64(0); ; {
		moves, err := h.engine.Store.TagMoves(ctx, recordSpec(spec), before, maxMoves)
		if err != nil {
			return "", err
		}
		for _, m := range moves {
			if m.Request == h.request.ID {
				h.log.line(sdk.LevelInfo, fmt.Sprintf("an earlier run has made %s %s", spec, m.To))
				return m.To, nil
			}
			before = m.ID
		}
		if len(moves) < maxMoves || moves[len(moves)-1].Time.Before(accepted) {
			return "", nil
		}
	}
}
