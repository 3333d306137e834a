// Package turn lets a few run at a time, those with the lowest numbers first.
//
// The engine offers neither to a plugin. What waits for a Job's Lock gets it in
// no order, and only one has it; a queue with serial has an order, but the
// administrator need not have made one for composes, and the Weldr API promises
// that the oldest compose is next in any case (contract section 11.1).
package turn

import (
	"context"
	"slices"
	"sync"
)

// Line is where they wait. It is safe for concurrent use.
type Line struct {
	mu      sync.Mutex
	room    int
	waiting []*waiter
}

type waiter struct {
	number int64
	ready  chan struct{}
}

// New returns a line from which so many run at a time.
func New(room int) *Line { return &Line{room: room} }

// Wait returns when it is the number's turn, or with the error of ctx. What it
// returns ends the turn, and may be called more than once.
func (l *Line) Wait(ctx context.Context, number int64) (done func(), err error) {
	w := &waiter{number, make(chan struct{})}
	l.mu.Lock()
	at, _ := slices.BinarySearchFunc(l.waiting, number, func(w *waiter, n int64) int { return int(w.number - n) })
	l.waiting = slices.Insert(l.waiting, at, w)
	l.admit()
	l.mu.Unlock()
	done = sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.room++
		l.admit()
	})
	select {
	case <-w.ready:
		return done, nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	i := slices.Index(l.waiting, w)
	if i >= 0 {
		l.waiting = slices.Delete(l.waiting, i, i+1)
	}
	l.mu.Unlock()
	if i < 0 {
		done() // its turn has come just now
	}
	return nil, ctx.Err()
}

// admit is called with the lock held.
func (l *Line) admit() {
	for l.room > 0 && len(l.waiting) > 0 {
		close(l.waiting[0].ready)
		l.waiting = l.waiting[1:]
		l.room--
	}
}
