package image

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/iib-engine/iib/sdk"
)

// attempt runs one step until it succeeds, fails for good, or has failed for
// passing reasons too often. subject names in the error what the step was
// about. An *sdk.Error from step is final as it stands.
func (c *Client) attempt(ctx context.Context, subject string, step func(context.Context) error) error {
	wait := c.backoff
	for n := 1; ; n++ {
		err := step(ctx)
		if err == nil {
			return nil
		}
		v, final := settle(ctx, subject, err)
		if !v.passing {
			return final
		}
		if n == c.attempts {
			return sdk.Errorf(sdk.Unavailable, "%s: %s (tried %d times); try again later", subject, v.cause, n)
		}
		if err := sleep(ctx, min(max(jitter(wait), v.after), c.maxBackoff)); err != nil {
			return err
		}
		wait = min(2*wait, c.maxBackoff)
	}
}

// settle judges the error of a step, and returns what to tell of it if there is
// no other attempt.
func settle(ctx context.Context, subject string, err error) (verdict, error) {
	if ctx.Err() != nil {
		return verdict{}, context.Cause(ctx)
	}
	var known *sdk.Error
	if errors.As(err, &known) {
		return verdict{}, known
	}
	v := judge(err)
	return v, sdk.Errorf(v.code, "%s: %s", subject, v.cause)
}

// jitter keeps clients that failed together from coming back together.
func jitter(d time.Duration) time.Duration {
	return d - time.Duration(rand.Int64N(int64(d)/4+1))
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
