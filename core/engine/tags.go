package engine

import (
	"context"
	"strings"
	"time"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// TagPoints returns a page of what a tag has been, newest first.
func (e *Engine) TagPoints(ctx context.Context, user, spec string, page int) (*core.TagPage, error) {
	spec, err := core.TagSpec(spec)
	if err != nil {
		return nil, err
	}
	history := e.Tags.Of(spec, user)
	found := &core.TagPage{Spec: spec, Kind: history.Kind()}
	found.Points, found.More, err = history.Points(ctx, spec, page)
	return found, err
}

// TagPoint finds the image that a tag was: at a time, as RFC 3339 writes it, or
// by its digest, which need not be in the history. An empty point is now.
func (e *Engine) TagPoint(ctx context.Context, user, spec, point string) (tag, digest string, err error) {
	if tag, err = core.TagSpec(spec); err != nil {
		return "", "", err
	}
	switch {
	case point == "":
		digest, err = e.Images.Session(nil).Digest(ctx, tag)
		return tag, digest, err
	case strings.Contains(point, ":") && !strings.Contains(point, "T"):
		if !isDigest(point) {
			return "", "", sdk.FieldErrorf("point", "point %.100q: want a digest such as sha256:... with 64 digits, or a time such as 2026-11-28T12:00:00Z", point)
		}
		return tag, point, nil
	}
	at, err := time.Parse(time.RFC3339, point)
	if err != nil {
		return "", "", sdk.FieldErrorf("point", "point %.100q: want a digest such as sha256:... with 64 digits, or a time such as 2026-11-28T12:00:00Z", point)
	}
	digest, err = pointAt(ctx, e.Tags.Of(tag, user), tag, at)
	return tag, digest, err
}

// maxPages bounds how far back a time is looked for.
const maxPages = 1000

// pointAt finds what a tag was at a time. A point whose beginning is not known
// counts only if no other was there.
func pointAt(ctx context.Context, history core.TagHistory, tag string, at time.Time) (string, error) {
	guess := ""
	for page := 1; page <= maxPages; page++ {
		points, more, err := history.Points(ctx, tag, page)
		if err != nil {
			return "", err
		}
		for _, p := range points {
			switch {
			case !p.Alive(at):
			case !p.Start.IsZero():
				return p.Digest, nil
			case guess == "":
				guess = p.Digest
			}
		}
		if !more {
			break
		}
	}
	if guess == "" {
		return "", sdk.Errorf(sdk.NotFound, "tag %s: nothing is known of what it was at %s", tag, at.Format(time.RFC3339))
	}
	return guess, nil
}

func isDigest(s string) bool {
	digits, ok := strings.CutPrefix(s, "sha256:")
	return ok && len(digits) == 64 && strings.Trim(digits, "0123456789abcdef") == ""
}

// RestoreTag makes a tag point to what it was before, at a point as TagPoint
// reads it, and returns the move. It is one event.
func (e *Engine) RestoreTag(ctx context.Context, user, spec, point string) (*core.TagMove, error) {
	if point == "" {
		return nil, sdk.FieldErrorf("point", "point is empty: want the digest or the time to go back to")
	}
	history, err := e.writable(user, spec)
	if err != nil {
		return nil, err
	}
	tag, digest, err := e.TagPoint(ctx, user, spec, point)
	if err != nil {
		return nil, err
	}
	m := core.TagMove{Spec: tag, To: digest, Kind: core.MoveRestore, User: user}
	return e.recordMove(ctx, m, func() error { return history.Restore(ctx, tag, digest) })
}

// ExpireTag sets when a tag ends: never for the zero time.
func (e *Engine) ExpireTag(ctx context.Context, user, spec string, at time.Time) error {
	history, err := e.writable(user, spec)
	if err != nil {
		return err
	}
	tag, err := core.TagSpec(spec)
	if err != nil {
		return err
	}
	if !at.IsZero() && !at.After(time.Now()) {
		return sdk.FieldErrorf("at", "at is %s, which has passed: name a time to come, or now", at.Format(time.RFC3339))
	}
	return history.Expire(ctx, tag, at)
}

// DeleteTag ends a tag now. It is one event.
func (e *Engine) DeleteTag(ctx context.Context, user, spec string) (*core.TagMove, error) {
	history, err := e.writable(user, spec)
	if err != nil {
		return nil, err
	}
	tag, err := core.TagSpec(spec)
	if err != nil {
		return nil, err
	}
	m := core.TagMove{Spec: tag, Kind: core.MoveDelete, User: user}
	return e.recordMove(ctx, m, func() error { return history.Delete(ctx, tag) })
}

// writable returns the history of a tag if the user may change it. Where the
// engine's own credentials would do it, that is who may overwrite an index
// without a token.
func (e *Engine) writable(user, spec string) (core.TagHistory, error) {
	tag, err := core.TagSpec(spec)
	if err != nil {
		return nil, err
	}
	history := e.Tags.Of(tag, user)
	if user != "" && !history.Trusted() && !e.settings.Load().privileged(user) {
		return nil, sdk.Errorf(sdk.Denied, "tag %s: %s may not move it with the engine's credentials; access.privileged says who may", tag, user)
	}
	return history, nil
}

// recordMove makes a move that belongs to no request. Meanwhile no request
// moves the tag.
func (e *Engine) recordMove(ctx context.Context, m core.TagMove, do func() error) (*core.TagMove, error) {
	id, err := e.Store.BeginMove(ctx, m, nil)
	if err != nil {
		return nil, err
	}
	var from *string
	switch now, err := e.Images.Session(nil).Digest(ctx, m.Spec); {
	case err == nil:
		from, m.From = &now, now
	case sdk.CodeOf(err) == sdk.NotFound:
		from = new("")
	case sdk.CodeOf(err) == sdk.Unavailable:
		_ = e.Store.EndMove(context.WithoutCancel(ctx), id, nil, false)
		return nil, err
	default: // it may be nobody's business to read it
	}
	err = do()
	ended := e.Store.EndMove(context.WithoutCancel(ctx), id, from, err == nil)
	if err != nil {
		return nil, err
	}
	e.changed.wake()
	m.ID = id
	return &m, ended
}
