package engine_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

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
	told := make(chan string, 3)
	w := dispatching(t, func(queue string) error { told <- queue; return nil })
	for range 3 {
		r := w.submit(`{}`)
		if queue := <-told; queue != r.Queue {
			t.Errorf("queue %s was told of a request of queue %s", queue, r.Queue)
		}
	}
}

func TestNobodyWaitsForTheQueue(t *testing.T) {
	asked, away := make(chan struct{}), make(chan struct{})
	var hints atomic.Int64
	w := dispatching(t, func(string) error {
		if hints.Add(1) == 1 {
			close(asked)
			<-away
			return errors.New("the queue is away")
		}
		return nil
	})
	w.submit(`{}`)
	<-asked
	// These are accepted while it does not answer, and left to the reconciler
	// when it says that it is away.
	const stored = 5000
	for range stored {
		w.submit(`{}`)
	}
	close(away)
	before := hints.Load()
	for hints.Load() == before {
		w.submit(`{}`)
	}
	if told := hints.Load(); told > 1000 {
		t.Errorf("the queue was told %d times", told)
	}
}
