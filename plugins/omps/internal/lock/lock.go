// Package lock lets those take turns who change the same thing, by its name.
package lock

import (
	"context"
	"sync"
)

// Names are locks by name. The zero value is ready; a lock that nobody wants any
// longer is forgotten, so that strangers' names take no memory.
type Names struct {
	mu   sync.Mutex
	held map[string]*waited
}

type waited struct {
	turn    chan struct{}
	waiters int
}

// Lock waits until nobody else holds the name, or the context ends.
func (l *Names) Lock(ctx context.Context, name string) (unlock func(), err error) {
	l.mu.Lock()
	if l.held == nil {
		l.held = make(map[string]*waited)
	}
	w := l.held[name]
	if w == nil {
		w = &waited{turn: make(chan struct{}, 1)}
		l.held[name] = w
	}
	w.waiters++
	l.mu.Unlock()
	leave := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if w.waiters--; w.waiters == 0 {
			delete(l.held, name)
		}
	}
	select {
	case w.turn <- struct{}{}:
		return func() { <-w.turn; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}
