package engine

import (
	"context"
	"time"

	"github.com/iib-engine/iib/core"
)

// Reconcile keeps the queues true to the store until ctx ends: requests that
// were stored while the queue was away, whose worker died, whose pause after a
// fault is over, whose turn in their lane has come, or whose queue was lost are
// enqueued. Any number of processes
// may do so at once; a request enqueued twice runs once.
func (e *Engine) Reconcile(ctx context.Context) {
	for {
		if err := e.reconcile(ctx); err != nil && ctx.Err() == nil {
			e.Logger.Warn("reconcile the queues", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(reconcileEvery):
		case <-e.moved:
		}
	}
}

const reconcileBatch = 1000

func (e *Engine) reconcile(ctx context.Context) error {
	var after int64
	for {
		waiting, err := e.Store.Runnable(ctx, after, reconcileBatch)
		if err != nil {
			return err
		}
		for _, d := range waiting {
			after = d.Request
			if d.Wait > 0 {
				continue
			}
			if err := e.Queue.Enqueue(ctx, core.Dispatch{Request: d.Request, Queue: d.Queue, Epoch: d.Epoch}); err != nil {
				return err
			}
		}
		if len(waiting) < reconcileBatch {
			return nil
		}
	}
}
