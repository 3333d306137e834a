package engine

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

const (
	// turnLease bounds how long a notifier waits when the process that delivers
	// to it has died.
	turnLease = 6 * time.Second
	// turnEvery is how often a turn that another process has is asked for.
	turnEvery = time.Second
	// storeTimeout bounds a call of the store that must not be lost when the
	// engine stops.
	storeTimeout = 5 * time.Second
)

var (
	errTurnLost = errors.New("another process delivers to the notifier")
	errDown     = errors.New("the notifier is down")
)

// courier delivers to one notifier, whenever this process has the turn.
type courier struct {
	engine *Engine
	name   string
	log    *slog.Logger
	// ctx ends when the courier is to stop, calls when it may not even wait
	// for the calls that are made.
	ctx, calls context.Context
	stop       context.CancelFunc
	done       chan struct{}

	// taken counts the events that the notifier took.
	taken int
	// down counts the rounds in a row in which nothing got through.
	down int
	// tries counts the attempts at events that were not counted otherwise.
	tries map[int64]int
	// suspects were on their way when the plugin ended. They are delivered
	// alone, to find out which one it was.
	suspects map[int64]bool
}

func newCourier(ctx, calls context.Context, e *Engine, name string) *courier {
	c := &courier{
		engine: e, name: name, log: e.Logger.With("plugin", name), calls: calls,
		done: make(chan struct{}), tries: make(map[int64]int), suspects: make(map[int64]bool),
	}
	c.ctx, c.stop = context.WithCancel(ctx)
	return c
}

// over reports whether the courier was stopped and has ended.
func (c *courier) over() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// run takes turn after turn until the courier is to stop.
func (c *courier) run() {
	defer close(c.done)
	defer c.stop()
	for c.ctx.Err() == nil {
		turn, err := c.engine.Store.TakeTurn(c.ctx, c.name, c.engine.Worker, turnLease)
		if err != nil {
			if sdk.CodeOf(err) != sdk.Conflict && c.ctx.Err() == nil {
				c.log.Warn("deliver events", "err", err)
			}
			c.pause(turnEvery)
			continue
		}
		switch err := c.round(turn); {
		case errors.Is(err, errTurnLost):
			c.log.Warn("deliver events", "err", err)
		case errors.Is(err, errDown):
			// Without the turn meanwhile: another process may get through.
			c.endTurn(turn)
			c.down++
			c.pause(backOff(c.down, longestDown))
		default:
			c.endTurn(turn)
		}
	}
}

func (c *courier) endTurn(turn core.Turn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), storeTimeout)
	defer cancel()
	if err := c.engine.Store.EndTurn(ctx, turn); err != nil && sdk.CodeOf(err) != sdk.Conflict {
		c.log.Warn("end the turn at a notifier", "err", err)
	}
}

func (c *courier) pause(d time.Duration) {
	select {
	case <-c.ctx.Done():
	case <-time.After(d):
	}
}

// keep extends the turn until ctx ends, and says so when it is lost: at the
// latest when the lease has run out by this process's own clock.
func (c *courier) keep(ctx context.Context, turn core.Turn, lose context.CancelCauseFunc) {
	held := time.Now()
	ticker := time.NewTicker(turnLease / 3)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		began := time.Now()
		call, stop := context.WithTimeout(ctx, turnLease/3)
		err := c.engine.Store.KeepTurn(call, turn, turnLease)
		stop()
		switch {
		case err == nil:
			held = began
		case sdk.CodeOf(err) == sdk.Conflict, time.Since(held) > turnLease:
			lose(errTurnLost)
			return
		}
	}
}

const (
	// longestDown bounds the pause between two attempts to reach a notifier
	// that is down: so long after it came back, at most, it hears the rest.
	longestDown = 30 * time.Second
	// longestRetry bounds the pause before an event is offered again that the
	// notifier did not take.
	longestRetry = 5 * time.Minute
)

// backOff is the pause after so many failures in a row.
func backOff(failures int, most time.Duration) time.Duration {
	return min(time.Second<<min(max(failures-1, 0), 20), most)
}

// judge makes an outcome of an attempt, and reports whether the notifier seems
// to be down.
//
// An attempt counts only if the fault is the event's. What the notifier calls
// unavailable never is. That it took too long is, if others got through at the
// same time; that its process ended is, if no other event was on its way.
func (c *courier) judge(o *offer) (outcome core.Outcome, down bool) {
	sequence := o.Event.Sequence
	outcome.Sequence = sequence
	if o.err == nil || errors.Is(o.err, errNotIt) {
		if o.err == nil {
			c.up()
		}
		delete(c.tries, sequence)
		delete(c.suspects, sequence)
		return outcome, false
	}
	var slow *noTime
	othersGetThrough := c.taken > o.taken
	counted := true
	switch {
	case errors.As(o.err, &slow):
		counted = othersGetThrough
		down = !counted
	case sdk.ReasonOf(o.err) == core.ReasonEnded:
		counted = o.alone
		c.suspects[sequence] = true
		down = true
	case sdk.CodeOf(o.err) == sdk.Unavailable:
		counted = false
		down = !othersGetThrough
	}
	outcome.Error = o.err.Error()
	if !counted {
		outcome.Uncounted = true
		c.tries[sequence]++
		outcome.Retry = backOff(c.tries[sequence], longestDown)
		return outcome, down
	}
	outcome.Retry = backOff(o.Attempt, longestRetry)
	if o.Attempt >= o.attempts || sdk.CodeOf(o.err) == sdk.Invalid {
		outcome.Park = true
		delete(c.tries, sequence)
		delete(c.suspects, sequence)
		c.log.Error("an event is parked", "event", sequence, "request", o.Event.Request, "attempts", o.Attempt, "err", o.err)
	}
	return outcome, down
}

// up notes that the notifier took an event.
func (c *courier) up() {
	c.taken++
	if c.down > 0 {
		c.log.Info("the notifier takes events again")
	}
	c.down = 0
}
