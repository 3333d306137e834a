package engine

import "context"

// maxUntold bounds the hints that wait for a slow queue. The reconciler makes up
// for what does not fit.
const maxUntold = 4096

// tell leaves it to Dispatch that a request was stored for a queue.
func (e *Engine) tell(queue string) {
	select {
	case e.untold <- queue:
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
		case queue := <-e.untold:
			if err := e.Queue.Tell(ctx, queue); err != nil && ctx.Err() == nil {
				e.Logger.Warn("queue did not take a request", "queue", queue, "err", err)
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
