package index

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/iib-engine/iib/sdk"
)

// Preview runs a handler of requests that land, up to where the image would be
// built, and returns what differs then from the index as it is.
func Preview(ctx context.Context, job *sdk.Job, handle func(context.Context, *sdk.Job) error) (*sdk.Preview, error) {
	p := new(preview)
	err := handle(context.WithValue(ctx, previewKey{}, p), job)
	switch code := sdk.CodeOf(err); {
	case errors.Is(err, errPreviewed):
	case err == nil:
		return nil, sdk.Errorf(sdk.Internal, "the request ended without an index that it would change")
	case code == sdk.Unavailable || code == sdk.Internal:
		return nil, err
	default:
		p.Problems = append(p.Problems, sentences(err)...)
	}
	return &p.Preview, nil
}

type previewKey struct{}

// preview is what Land notes for Preview.
type preview struct{ sdk.Preview }

// errPreviewed ends a handler whose request is only looked at.
var errPreviewed = errors.New("the request is a dry run")

// previewOf returns the preview that a context is for, or nil.
func previewOf(ctx context.Context) *preview {
	p, _ := ctx.Value(previewKey{}).(*preview)
	return p
}

// Tolerate notes a fault of the request and lets a dry run go on, to find what
// else is wrong. Otherwise, and for faults that are not the request's, it
// returns the error.
func Tolerate(ctx context.Context, err error) error {
	p := previewOf(ctx)
	code := sdk.CodeOf(err)
	if err == nil || p == nil || code == sdk.Unavailable || code == sdk.Internal {
		return err
	}
	p.Problems = append(p.Problems, sentences(err)...)
	return nil
}

// sentences takes mistakes that are told together apart.
func sentences(err error) []string {
	var all several
	if errors.As(err, &all) {
		return all
	}
	return []string{err.Error()}
}

// note compares the edited content with what the request would change: the
// index that decides, where the content is that of another one.
func (p *preview) note(ctx context.Context, s *Session, base *Base, plan *Plan, edited *Content) error {
	if plan.Deciding != nil {
		base = plan.Deciding
	}
	before, err := s.Load(ctx, base)
	if err != nil {
		return err
	}
	defer before.Close()
	changes, err := before.Diff(ctx, edited)
	if err != nil {
		return err
	}
	if p.Packages, err = json.Marshal(changes); err != nil {
		return sdk.Errorf(sdk.Internal, "encode the differences: %v", err)
	}
	return errPreviewed
}
