package engine

import (
	"context"
	"time"
)

// Reconcile keeps the queues true to the store until ctx ends: for requests that
// were stored while the queue was away, whose worker died, whose pause after a
// fault is over, whose turn in their lane has come, or whose queue was lost,
// workers are told again. Any number of processes may do so at once.
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

// reconcile has each queue hold a hint for every request that could be started.
// Which request a hint was meant for does not matter, so that their number tells
// all that there is to repair.
func (e *Engine) reconcile(ctx context.Context) error {
	if err := e.Store.Recover(ctx); err != nil {
		return err
	}
	queues, err := e.Store.Queues(ctx)
	if err != nil {
		return err
	}
	for _, q := range queues {
		if q.Ready == 0 {
			continue
		}
		if err := e.Queue.Fill(ctx, q.Name, q.Ready); err != nil {
			return err
		}
	}
	return nil
}
