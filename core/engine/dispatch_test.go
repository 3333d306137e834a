package engine_test

import (
	"context"
	"errors"
	"testing"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// dispatching runs Dispatch on a queue until the test ends.
func dispatching(t *testing.T, enqueue queueFunc) *world {
	w := newWorld(t, func(context.Context, *sdk.Job) error { return nil })
	w.Queue = enqueue
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); w.Dispatch(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	return w
}

func TestTheQueueIsToldOfWhatWasAccepted(t *testing.T) {
	told := make(chan core.Dispatch, 3)
	w := dispatching(t, func(d core.Dispatch) error { told <- d; return nil })
	for range 3 {
		r := w.submit(`{}`)
		if d := <-told; d.Request != r.ID || d.Queue != "default" || d.Epoch != r.Epoch {
			t.Errorf("the queue was told %+v of request %d", d, r.ID)
		}
	}
}

func TestNobodyWaitsForTheQueue(t *testing.T) {
	asked, away := make(chan int64, 1), make(chan struct{})
	w := dispatching(t, func(d core.Dispatch) error {
		asked <- d.Request
		<-away
		return errors.New("the queue is away")
	})
	first := w.submit(`{}`)
	if id := <-asked; id != first.ID {
		t.Fatalf("the queue was told of request %d, not %d", id, first.ID)
	}
	// These are accepted while it does not answer, and left to the reconciler
	// when it says that it is away.
	var before int64
	for range 5000 {
		before = w.submit(`{}`).ID
	}
	close(away)
	for {
		w.submit(`{}`)
		select {
		case id := <-asked:
			if id <= before {
				t.Fatalf("the queue was told of request %d, which waited when it was away", id)
			}
			return
		default:
		}
	}
}
