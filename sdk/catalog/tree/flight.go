package tree

import (
	"context"
	"sync"
)

// flight lets one of several goroutines that want the same thing do the work,
// while the others wait for their turn and then find it done.
type flight struct {
	mu   sync.Mutex
	busy map[string]chan struct{}
}

// lock waits until nobody else holds the key, or ctx ends.
func (f *flight) lock(ctx context.Context, key string) (unlock func(), err error) {
	for {
		f.mu.Lock()
		wait, busy := f.busy[key]
		if !busy {
			done := make(chan struct{})
			if f.busy == nil {
				f.busy = make(map[string]chan struct{})
			}
			f.busy[key] = done
			f.mu.Unlock()
			return func() {
				f.mu.Lock()
				delete(f.busy, key)
				f.mu.Unlock()
				close(done)
			}, nil
		}
		f.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}
