package engine

import (
	"context"
	"time"
)

// awayPause is how often a worker asks for a store that did not answer.
const awayPause = 250 * time.Millisecond

// Reachable reports whether the store answers before others would take over
// what this process runs. A worker that is cut off from it must take nothing
// from the queue: the hint would be lost with it, and repeated only after a
// while, perhaps to the same worker. While one caller waits in AwaitStore, all
// are told at once.
func (e *Engine) Reachable(ctx context.Context) bool {
	if e.away.Load() {
		return false
	}
	err := e.ping(ctx)
	if err != nil && ctx.Err() == nil {
		e.away.Store(true)
	}
	return err == nil
}

// AwaitStore returns when the store answers again, or ctx ends.
func (e *Engine) AwaitStore(ctx context.Context) {
	for e.ping(ctx) != nil {
		select {
		case <-ctx.Done():
			return
		case <-time.After(awayPause):
		}
	}
	e.away.Store(false)
}

func (e *Engine) ping(ctx context.Context) error {
	call, stop := context.WithTimeout(ctx, e.Lease/2)
	defer stop()
	return e.Store.Ping(call)
}
