package engine_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iib-engine/iib/sdk"
)

// gauge notes what the queues are to be filled up to.
type gauge struct {
	queueFunc
	mu   sync.Mutex
	last map[string]int64
}

func (g *gauge) Fill(_ context.Context, queue string, ready int64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last[queue] = ready
	return nil
}

// take returns what was noted since the last call.
func (g *gauge) take() map[string]int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	last := g.last
	g.last = make(map[string]int64)
	return last
}

func TestQueuesAreFilledUpToWhatIsReady(t *testing.T) {
	w := newWorld(t, func(context.Context, *sdk.Job) error { return sdk.Errorf(sdk.Unavailable, "registry is away") })
	for range 3 {
		w.submit(`{}`)
	}
	synctest.Test(t, func(t *testing.T) {
		g := &gauge{last: make(map[string]int64)}
		e := w.engine("worker-2")
		e.Queue = g
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); e.Reconcile(ctx) }()
		want := func(what string, ready int64) {
			t.Helper()
			g.take()
			time.Sleep(600 * time.Millisecond)
			synctest.Wait()
			if got := g.take()["default"]; got != ready {
				t.Errorf("%s: filled up to %d, want %d", what, got, ready)
			}
		}
		want("three wait", 3)
		e.Run(ctx, "default")
		want("one pauses after a fault", 2)
		time.Sleep(time.Second)
		want("the pause is over", 3)
		if _, _, err := w.store.ClaimNext(ctx, "default", "doomed", 2*time.Second); err != nil {
			t.Fatal(err)
		}
		want("one has a worker", 2)
		time.Sleep(2 * time.Second)
		want("the worker is dead", 3)
		stop()
		<-done
	})
}
