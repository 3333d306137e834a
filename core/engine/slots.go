package engine

import (
	"context"
	"slices"
	"sync"
)

// slots bound what runs in this process, over all queues. The zero value bounds
// nothing.
type slots struct {
	mu sync.Mutex
	// limit is 0 for none; lowered, it may be less than used for a while.
	limit, used int
	// waiting are by descending priority, of equal ones the first first.
	waiting []*waiter
	// lonely hold a slot and wait until no other works; alone tells that one of
	// them works.
	lonely []*waiter
	alone  bool
}

type waiter struct {
	priority int
	// given is closed when the slot is the waiter's.
	given chan struct{}
}

// take takes a slot that is free. It never goes before those who wait.
func (s *slots) take() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting) > 0 || s.full() {
		return false
	}
	s.used++
	return true
}

// await takes a slot when it is there, and reports false if ctx ended before.
func (s *slots) await(ctx context.Context, priority int) bool {
	w := &waiter{priority: priority, given: make(chan struct{})}
	s.mu.Lock()
	at := len(s.waiting)
	for at > 0 && s.waiting[at-1].priority < priority {
		at--
	}
	s.waiting = slices.Insert(s.waiting, at, w)
	s.give()
	s.mu.Unlock()
	select {
	case <-w.given:
		return true
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.waiting, w); i >= 0 {
		s.waiting = slices.Delete(s.waiting, i, i+1)
		return false
	}
	return true
}

// free gives a slot back.
func (s *slots) free() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used--
	s.give()
}

// isolate waits until whoever holds the caller's slot is the only one that works,
// and keeps the others waiting from now on until the slot is given back. It reports
// false if ctx ended before.
func (s *slots) isolate(ctx context.Context) (join func(), ok bool) {
	w := &waiter{given: make(chan struct{})}
	s.mu.Lock()
	s.lonely = append(s.lonely, w)
	s.give()
	s.mu.Unlock()
	select {
	case <-w.given:
		return s.join, true
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.lonely, w); i >= 0 {
		s.lonely = slices.Delete(s.lonely, i, i+1)
		s.give()
		return nil, false
	}
	return s.join, true
}

// join ends what isolate has begun.
func (s *slots) join() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.alone = false
	s.give()
}

// setLimit changes how many slots there are; 0 is no limit. What runs goes on.
func (s *slots) setLimit(limit int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limit = limit
	s.give()
}

func (s *slots) full() bool {
	return s.alone || len(s.lonely) > 0 || s.limit > 0 && s.used >= s.limit
}

// give gives what is free to those who wait.
func (s *slots) give() {
	if !s.alone && len(s.lonely) > 0 && s.used <= len(s.lonely) {
		s.alone = true
		close(s.lonely[0].given)
		s.lonely = s.lonely[1:]
	}
	for len(s.waiting) > 0 && !s.full() {
		close(s.waiting[0].given)
		s.waiting = s.waiting[1:]
		s.used++
	}
}

// Slot takes one of the process's slots for a request of a queue. If none is free
// it calls pass, so that another process may take the request meanwhile, and waits:
// queues of a higher priority go first, then whoever came first. Whoever got one
// gives it back by release. It reports false if ctx ended before.
func (e *Engine) Slot(ctx context.Context, queue string, pass func()) (release func(), ok bool) {
	if !e.slots.take() {
		pass()
		if !e.slots.await(ctx, e.settings.Load().Queue(queue).Priority) {
			return nil, false
		}
	}
	return e.slots.free, true
}
