package wire

import (
	"context"
	"sync"

	"github.com/iib-engine/iib/sdk"
)

type phase int

const (
	fresh phase = iota
	configured
	starting
	running
	closed
)

// lifecycle orders the calls of a plugin: configure once, start once, then the
// kinds' own calls, then close after the last of them.
type lifecycle struct {
	mu    sync.Mutex
	now   phase
	calls int
	idle  chan struct{} // closed when closing and calls is 0
}

// advance moves from one of several phases to the next, or refuses.
func (l *lifecycle) advance(call string, to phase, from ...phase) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range from {
		if l.now == f {
			l.now = to
			return nil
		}
	}
	return refusal(call, l.now)
}

// enter admits a call in a phase, to be ended by leave. close waits for it.
func (l *lifecycle) enter(call string, in phase) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.now != in {
		return refusal(call, l.now)
	}
	l.calls++
	return nil
}

func (l *lifecycle) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls--
	if l.calls == 0 && l.idle != nil {
		close(l.idle)
	}
}

// close refuses new calls and waits for the running ones.
func (l *lifecycle) close(ctx context.Context) error {
	l.mu.Lock()
	if l.now == closed {
		l.mu.Unlock()
		return refusal("Close", closed)
	}
	l.now = closed
	if l.calls == 0 {
		l.mu.Unlock()
		return nil
	}
	l.idle = make(chan struct{})
	idle := l.idle
	l.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func refusal(call string, now phase) error {
	what := "closed"
	switch now {
	case fresh:
		what = "not configured yet"
	case configured:
		what = "not started yet"
		if call == "Configure" {
			what = "configured already"
		}
	case starting:
		what = "starting, or could not be started"
	case running:
		what = "running already"
	case closed:
		return sdk.Errorf(sdk.Unavailable, "%s: the plugin is closed", call)
	}
	return sdk.Errorf(sdk.Conflict, "%s: the plugin is %s", call, what)
}
