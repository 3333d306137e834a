package image

import (
	"context"
	"sync"
)

// flights runs one function per key at a time and gives its outcome to all who
// asked meanwhile. The function's context ends when the last of them has lost
// interest, so that one caller's cancellation does not fail the others.
type flights[K comparable, V any] struct {
	mu      sync.Mutex
	running map[K]*flight[V]
}

type flight[V any] struct {
	waiting int
	cancel  context.CancelFunc
	done    chan struct{}
	value   V
	err     error
}

// do returns fn's outcome. leader tells that this call started fn, so that
// exactly one caller counts what fn did.
func (f *flights[K, V]) do(ctx context.Context, key K, fn func(context.Context) (V, error)) (value V, leader bool, err error) {
	f.mu.Lock()
	fl, ok := f.running[key]
	if !ok {
		leader = true
		runCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		fl = &flight[V]{cancel: cancel, done: make(chan struct{})}
		if f.running == nil {
			f.running = make(map[K]*flight[V])
		}
		f.running[key] = fl
		go func() {
			fl.value, fl.err = fn(runCtx)
			f.forget(key, fl)
			cancel()
			close(fl.done)
		}()
	}
	fl.waiting++
	f.mu.Unlock()

	select {
	case <-fl.done:
		return fl.value, leader, fl.err
	case <-ctx.Done():
		if f.leave(key, fl) {
			fl.cancel()
			// Nobody else will see the outcome, and the caller may remove what
			// fn reads as soon as this returns.
			<-fl.done
		}
		return value, leader, context.Cause(ctx)
	}
}

// leave reports whether nobody waits any more; then nobody can join either.
func (f *flights[K, V]) leave(key K, fl *flight[V]) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	fl.waiting--
	if fl.waiting > 0 {
		return false
	}
	if f.running[key] == fl {
		delete(f.running, key)
	}
	return true
}

func (f *flights[K, V]) forget(key K, fl *flight[V]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.running[key] == fl {
		delete(f.running, key)
	}
}
