package wire

import (
	"context"
	"errors"
	"testing"

	"github.com/iib-engine/iib/sdk"
)

// locker is an sdk.JobHost with one real lock.
type locker struct {
	sdk.JobHost
	held    chan struct{} // capacity 1
	waiting chan struct{} // one element for each call that has begun
}

func newLocker() *locker {
	return &locker{held: make(chan struct{}, 1), waiting: make(chan struct{}, 100)}
}

func (l *locker) Lock(ctx context.Context, _ string) (func(), error) {
	l.waiting <- struct{}{}
	select {
	case l.held <- struct{}{}:
		return func() { <-l.held }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func TestLock(t *testing.T) {
	t.Run("is held until it is given back, which may be done twice", func(t *testing.T) {
		l := newLocker()
		err := handle(t, l, func(ctx context.Context, job *sdk.Job) error {
			for range 3 {
				unlock, err := job.Lock(ctx, "index")
				if err != nil {
					return err
				}
				if len(l.held) != 1 {
					t.Error("the lock is not held")
				}
				unlock()
				unlock()
				if len(l.held) != 0 {
					t.Error("the lock is held after it was given back")
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})

	t.Run("outlives the context that it was waited for with", func(t *testing.T) {
		l := newLocker()
		err := handle(t, l, func(ctx context.Context, job *sdk.Job) error {
			waiting, cancel := context.WithCancel(ctx)
			defer cancel()
			unlock, err := job.Lock(waiting, "index")
			if err != nil {
				return err
			}
			cancel()
			if err := job.Host().Log(ctx, sdk.LogLine{}); err == nil { // a round trip on the same connection
				t.Error("no error from a host that cannot log")
			}
			if len(l.held) != 1 {
				t.Error("the lock was lost")
			}
			unlock()
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})

	t.Run("is given back when the run ends", func(t *testing.T) {
		l := newLocker()
		err := handle(t, l, func(ctx context.Context, job *sdk.Job) error {
			_, err := job.Lock(ctx, "index")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		l.held <- struct{}{} // blocks for as long as it is not
	})

	t.Run("is not waited for beyond the context", func(t *testing.T) {
		l := newLocker()
		l.held <- struct{}{}
		err := handle(t, l, func(ctx context.Context, job *sdk.Job) error {
			ctx, cancel := context.WithCancel(ctx)
			go func() {
				<-l.waiting
				cancel()
			}()
			_, err := job.Lock(ctx, "index")
			if !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want a cancelled context", err)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})

	t.Run("that is refused says why", func(t *testing.T) {
		want := sdk.Errorf(sdk.Unavailable, "redis is down")
		err := handle(t, &jobRecorder{err: want}, func(ctx context.Context, job *sdk.Job) error {
			_, err := job.Lock(ctx, "index")
			return err
		})
		diffError(t, want, err)
	})
}
