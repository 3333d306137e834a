package engine

import (
	"context"

	"github.com/iib-engine/iib/core"
)

// maxUntold bounds the dispatches that wait for a slow queue. The reconciler
// repeats what does not fit.
const maxUntold = 4096

// tell leaves a stored request to Dispatch.
func (e *Engine) tell(d core.Dispatch) {
	select {
	case e.untold <- d:
	default:
	}
}

// Dispatch tells the queue of each request that was accepted here, until ctx
// ends. It stands beside Submit, whose caller has an answer as soon as the
// request is stored, however long the queue takes.
func (e *Engine) Dispatch(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case d := <-e.untold:
			if err := e.Queue.Enqueue(ctx, d); err != nil && ctx.Err() == nil {
				e.Logger.Warn("queue did not take a request", "request", d.Request, "queue", d.Queue, "err", err)
				e.forgetUntold()
			}
		}
	}
}

// forgetUntold leaves everything that waits to the reconciler: a queue that is
// away takes long to say so each time.
func (e *Engine) forgetUntold() {
	for {
		select {
		case <-e.untold:
		default:
			return
		}
	}
}
