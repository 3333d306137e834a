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
	// calming lets what works come to its end, then one at a time begin, until one
	// of them wants to be alone; alone is that it is.
	calming, alone bool
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

// seclude tells whether whoever holds the caller's slot is the only one that works,
// and keeps others out until it calls leave. Where it is not, the process calms
// down: until the next that asks can have it.
func (s *slots) seclude() (leave func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.alone || s.used > 1 {
		s.calming = true
		return nil, false
	}
	s.calming, s.alone = false, true
	return s.mix, true
}

// mix ends what seclude has begun.
func (s *slots) mix() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calming, s.alone = false, false
	s.give()
}

// settle tells that whoever could begin does not want to be alone.
func (s *slots) settle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calming && s.used <= 1 {
		s.calming = false
		s.give()
	}
}

// setLimit changes how many slots there are; 0 is no limit. What runs goes on.
func (s *slots) setLimit(limit int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limit = limit
	s.give()
}

func (s *slots) full() bool {
	return s.alone || s.calming && s.used > 0 || s.limit > 0 && s.used >= s.limit
}

// give gives what is free to those who wait.
func (s *slots) give() {
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
