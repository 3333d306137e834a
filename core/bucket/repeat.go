package bucket

import (
	"context"
	"net/http"
	"time"
)

// firstPause is the pause before a call is repeated, twice as long each time.
const firstPause = 200 * time.Millisecond

// repeat makes a call until it succeeds, has failed as often as it may, or fails
// for a reason that stays. All tries together have the time of limit.
func repeat(ctx context.Context, limit time.Duration, call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for try := range attempts {
		err := call(ctx)
		if err == nil || !passes(err) || try == attempts-1 {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(firstPause << try):
		}
	}
	return nil
}

// passes tells whether a call may succeed when it is repeated: the service did
// not answer, or said so.
func passes(err error) bool {
	switch code := status(err); code {
	case 0, http.StatusRequestTimeout, http.StatusTooManyRequests:
		return true
	default:
		return code >= http.StatusInternalServerError
	}
}
