package store

import (
	"sync"
	"time"
)

// watch is what this process has seen of claims, or of other rights that are
// lent for a time, by what they are lent for. With a clock it is ready for use.
//
// A worker renews its claim by changing the beat in its row. Whoever has seen
// the same beat for as long as the lease knows that the worker is dead or cut
// off, without comparing clocks with it.
type watch[K comparable] struct {
	now func() time.Time

	mu   sync.Mutex
	seen map[K]sighting
}

// beat identifies a renewal of a claim.
type beat struct {
	epoch, count int64
}

type sighting struct {
	beat beat
	// since is when the beat was first seen, last when it was last asked about.
	since, last time.Time
}

// forgetAfter is how long a sighting is kept that nobody asks about. It only
// bounds the memory: too early merely starts a lease again.
const forgetAfter = time.Hour

// saw records a beat and reports whether it has stood still for the lease.
func (w *watch[K]) saw(key K, b beat, lease time.Duration) (dead bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	s, ok := w.seen[key]
	if !ok || s.beat != b {
		s = sighting{beat: b, since: now}
	}
	s.last = now
	if w.seen == nil {
		w.seen = make(map[K]sighting)
	}
	w.seen[key] = s
	return now.Sub(s.since) >= lease
}

// forget drops a claim that has ended.
func (w *watch[K]) forget(key K) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.seen, key)
}

// prune drops what nobody has asked about for long.
func (w *watch[K]) prune() {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	for key, s := range w.seen {
		if now.Sub(s.last) > forgetAfter {
			delete(w.seen, key)
		}
	}
}

// reset starts every lease again.
func (w *watch[K]) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.seen)
}
