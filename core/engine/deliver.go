package engine

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

const (
	// lineupEvery is how often the line-up is looked at for notifiers that came
	// or went, where nobody tells of it.
	lineupEvery = 500 * time.Millisecond
	// stopGrace bounds how long calls of notifiers may go on when the engine
	// stops.
	stopGrace = 5 * time.Second
)

// Deliver tells the notifiers of the line-up of every event until ctx ends,
// each at its own pace: no request waits for them. Any number of processes may
// do so at once; the store gives each notifier to one of them at a time.
func (e *Engine) Deliver(ctx context.Context) {
	calls, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	ticker := time.NewTicker(lineupEvery)
	defer ticker.Stop()
	var wg sync.WaitGroup
	// A courier that was told to stop is kept until it has: the next one of the
	// same name begins when the last call of the former is over.
	couriers := make(map[string]*courier)
	for ctx.Err() == nil {
		changed := e.lineup.wait()
		names := e.notifiers()
		for name, c := range couriers {
			if c.over() {
				delete(couriers, name)
			} else if !slices.Contains(names, name) {
				c.stop()
			}
		}
		for _, name := range names {
			if couriers[name] == nil {
				c := newCourier(ctx, calls, e, name)
				couriers[name] = c
				wg.Go(c.run)
			}
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-ticker.C:
		}
	}
	defer time.AfterFunc(stopGrace, cut).Stop()
	wg.Wait()
}

// notifiers are the names of those in force.
func (e *Engine) notifiers() []string {
	lineup, release := e.Roster.Acquire()
	defer release()
	var names []string
	for _, n := range lineup.Notifiers() {
		names = append(names, n.Plugin)
	}
	return names
}

// LineupChanged makes Deliver look at the line-up now and not a little later.
func (e *Engine) LineupChanged() { e.lineup.wake() }

// Subscribe makes sure that notifiers hear of everything from now on, whether
// they run yet or not. Those that are known already are left alone.
func (e *Engine) Subscribe(ctx context.Context, names []string) error {
	for _, name := range names {
		turn, err := e.Store.TakeTurn(ctx, name, e.Worker, turnLease)
		if sdk.CodeOf(err) == sdk.Conflict {
			continue // somebody delivers to it, or did until just now
		}
		if err == nil {
			err = e.Store.EndTurn(ctx, turn)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Replay makes events due again for a notifier, and returns how many.
func (e *Engine) Replay(ctx context.Context, notifier string, r core.Replay) (int64, error) {
	count, err := e.Store.Replay(ctx, notifier, r)
	if err == nil {
		e.changed.wake()
	}
	return count, err
}

// Forget drops what a notifier has not heard, and that it was ever there. It
// is a Conflict for one that is in force.
func (e *Engine) Forget(ctx context.Context, notifier string) error {
	if slices.Contains(e.notifiers(), notifier) {
		return sdk.Errorf(sdk.Conflict, "notifier %s is in use: disable it in the configuration, reload, and try again", notifier)
	}
	return e.Store.Unsubscribe(ctx, notifier)
}
