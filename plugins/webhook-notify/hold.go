package main

import (
	"net/http"
	"strconv"
	"sync"
	"time"
)

// longestHold bounds how long a receiver can ask not to be called.
const longestHold = time.Hour

// hold is until when the receiver asked not to be called.
type hold struct {
	mu    sync.Mutex
	until time.Time
}

// ask notes a Retry-After header, which has seconds or a date. Anything else is
// no wish.
func (h *hold) ask(now time.Time, header string) {
	var wait time.Duration
	if seconds, err := strconv.Atoi(header); err == nil {
		wait = time.Duration(min(max(seconds, 0), int(longestHold.Seconds()))) * time.Second
	} else if date, err := http.ParseTime(header); err == nil {
		wait = date.Sub(now)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if until := now.Add(min(wait, longestHold)); until.After(h.until) {
		h.until = until
	}
}

// left is how long the receiver is not to be called yet.
func (h *hold) left(now time.Time) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return max(0, h.until.Sub(now))
}
