package artifact

import (
	"context"
	"time"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// Sweep removes the files of requests that ended more than keep ago, and those
// of requests that do not exist, if nobody has written to them for as long. It
// returns what it removed; with dryRun, what it would have. After an error it
// goes on with the next request and returns the last.
func Sweep(ctx context.Context, files core.Leftovers, requests core.Requests, keep time.Duration, now time.Time, dryRun bool) ([]core.Footprint, error) {
	var removed []core.Footprint
	var last error
	err := files.Each(ctx, func(f core.Footprint) error {
		expired, err := expired(ctx, requests, f, keep, now)
		if err == nil && expired && !dryRun {
			err = files.Remove(ctx, f.Request)
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			last = err
		case expired:
			removed = append(removed, f)
		}
		return nil
	})
	if err == nil {
		err = last
	}
	return removed, err
}

func expired(ctx context.Context, requests core.Requests, f core.Footprint, keep time.Duration, now time.Time) (bool, error) {
	r, err := requests.Request(ctx, f.Request)
	switch {
	case sdk.CodeOf(err) == sdk.NotFound:
		return f.Changed.Add(keep).Before(now), nil
	case err != nil:
		return false, err
	}
	return r.Final() && r.Expires(keep).Before(now), nil
}
