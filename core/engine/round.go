package engine

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

const (
	// offersAtOnce bounds the calls of one notifier at the same time, inHand
	// the events that are taken from the store for them.
	offersAtOnce = 8
	inHand       = 64
	// lookEvery is how often the store is asked for what other processes made
	// due, lookPause the least time between two questions without an answer.
	lookEvery = time.Second
	lookPause = 20 * time.Millisecond
	// settlePause is how long the store is left alone after a fault.
	settlePause = 500 * time.Millisecond
)

// round is what a courier does in one turn. All of it happens in one goroutine,
// except for the calls of the notifier.
type round struct {
	*courier
	turn core.Turn
	// calls ends when the turn is lost.
	calls context.Context
	// lines are the events in hand that did not set out, by batch and in
	// order; flying are those that did, by batch.
	lines  map[int64][]core.Delivery
	flying map[int64]*offer
	landed chan *offer
	// settle are the outcomes that the store does not know yet.
	settle []core.Outcome
	err    error

	look    *time.Timer
	looked  time.Time
	looking bool // whether it is time to ask what is due
	changed <-chan struct{}
}

// round delivers until the courier is to stop, the notifier is down or the turn
// is lost, and returns which. No call is on its way afterwards.
func (c *courier) round(turn core.Turn) error {
	calls, lose := context.WithCancelCause(c.calls)
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		c.keep(calls, turn, lose)
	}()
	defer func() {
		lose(nil)
		<-kept
	}()
	r := &round{
		courier: c, turn: turn, calls: calls,
		lines: make(map[int64][]core.Delivery), flying: make(map[int64]*offer), landed: make(chan *offer, offersAtOnce),
		look: time.NewTimer(lookEvery), looking: true,
	}
	defer r.look.Stop()
	for !r.over() {
		r.step()
	}
	return r.err
}

// over settles what can be settled and reports whether nothing is left to do.
func (r *round) over() bool {
	if r.err == nil && r.ctx.Err() != nil {
		r.err = r.ctx.Err()
	}
	if r.err != nil && r.err != errTurnLost {
		r.handBack()
	}
	r.report()
	return r.err != nil && len(r.flying) == 0 && (len(r.settle) == 0 || r.err == errTurnLost)
}

// handBack gives back what did not set out, without counting it as tried.
func (r *round) handBack() {
	for batch, line := range r.lines {
		for _, d := range line {
			r.settle = append(r.settle, core.Outcome{Sequence: d.Event.Sequence, Uncounted: true})
		}
		delete(r.lines, batch)
	}
}

// report tells the store what came of the offers. A fault of the store leaves
// them to be told later.
func (r *round) report() {
	if len(r.settle) == 0 || r.err == errTurnLost {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.calls), storeTimeout)
	defer cancel()
	switch err := r.engine.Store.Settle(ctx, r.turn, r.settle); {
	case err == nil:
		r.settle = nil
		r.looking = true
	case sdk.CodeOf(err) == sdk.Conflict:
		r.err = errTurnLost
	default:
		r.log.Warn("settle deliveries", "err", err)
		r.look.Reset(settlePause)
	}
}

// step makes one move and waits until another is possible.
func (r *round) step() {
	if r.err == nil {
		r.fetch()
		r.launch()
	}
	changed := r.changed
	stop := r.ctx.Done()
	if r.err != nil {
		changed, stop = nil, nil // only what flies is waited for
		if len(r.flying) == 0 && len(r.settle) == 0 {
			return
		}
	}
	select {
	case o := <-r.landed:
		r.land(o)
		for len(r.landed) > 0 {
			r.land(<-r.landed)
		}
	case <-changed:
		r.changed = nil
		r.look.Reset(max(0, lookPause-time.Since(r.looked)))
	case <-r.look.C:
		r.looking = true
	case <-stop:
	case <-r.calls.Done():
		r.lost()
	}
}

// lost waits for the calls that the end of the turn has cut short.
func (r *round) lost() {
	for len(r.flying) > 0 {
		o := <-r.landed
		delete(r.flying, o.Event.Batch)
		if o.err == nil && context.Cause(r.calls) != errTurnLost {
			r.settle = append(r.settle, core.Outcome{Sequence: o.Event.Sequence})
		} else {
			r.settle = append(r.settle, core.Outcome{Sequence: o.Event.Sequence, Uncounted: true})
		}
	}
	if context.Cause(r.calls) == errTurnLost {
		r.err = errTurnLost
		return
	}
	r.err = r.calls.Err()
	r.handBack()
	r.report()
	r.settle = nil // the engine does not wait any longer
}

// fetch takes what is due into hand, if there is room and reason to look.
func (r *round) fetch() {
	room := inHand - r.inHand()
	if r.down > 0 {
		room = 1 - r.inHand() // one is enough to find out
	}
	if !r.looking || room <= 0 || len(r.settle) > 0 || r.calls.Err() != nil {
		return
	}
	r.changed = r.engine.changed.wait()
	due, err := r.engine.Store.Due(r.calls, r.turn, room)
	r.looked = time.Now()
	r.looking = len(due) == room
	r.look.Reset(lookEvery)
	switch {
	case err == nil:
	case sdk.CodeOf(err) == sdk.Conflict:
		r.err = errTurnLost
	default:
		r.log.Warn("deliver events", "err", err)
	}
	for _, d := range due {
		r.lines[d.Event.Batch] = append(r.lines[d.Event.Batch], d)
	}
}

func (r *round) inHand() int {
	n := len(r.flying)
	for _, line := range r.lines {
		n += len(line)
	}
	return n
}

// launch sends out the first event of each batch that has none on its way,
// oldest first. A suspect flies alone.
func (r *round) launch() {
	var heads []core.Delivery
	for batch, line := range r.lines {
		if r.flying[batch] == nil {
			heads = append(heads, line[0])
		}
	}
	slices.SortFunc(heads, func(a, b core.Delivery) int { return cmp.Compare(a.Event.Sequence, b.Event.Sequence) })
	for _, d := range heads {
		if len(r.flying) >= offersAtOnce || len(r.flying) > 0 && (r.suspects[d.Event.Sequence] || r.suspected()) {
			return
		}
		o := &offer{Delivery: d, tries: r.tries[d.Event.Sequence], taken: r.taken, alone: len(r.flying) == 0}
		for _, other := range r.flying {
			other.alone = false
		}
		batch := d.Event.Batch
		r.flying[batch] = o
		if r.lines[batch] = r.lines[batch][1:]; len(r.lines[batch]) == 0 {
			delete(r.lines, batch)
		}
		go func() {
			o.err = o.make(r.calls, r.engine, r.name)
			r.landed <- o
		}()
	}
}

// suspected reports whether a suspect is on its way.
func (r *round) suspected() bool {
	for _, o := range r.flying {
		if r.suspects[o.Event.Sequence] {
			return true
		}
	}
	return false
}

// land takes in what came of an offer.
func (r *round) land(o *offer) {
	batch := o.Event.Batch
	delete(r.flying, batch)
	if r.calls.Err() != nil && o.err != nil {
		r.settle = append(r.settle, core.Outcome{Sequence: o.Event.Sequence, Uncounted: true})
		return
	}
	outcome, down := r.judge(o)
	r.settle = append(r.settle, outcome)
	if outcome.Error != "" && !outcome.Park {
		// What follows in the batch waits for it.
		for _, d := range r.lines[batch] {
			r.settle = append(r.settle, core.Outcome{Sequence: d.Event.Sequence, Uncounted: true})
		}
		delete(r.lines, batch)
	}
	if down && r.err == nil {
		r.log.Warn("a notifier is down", "event", o.Event.Sequence, "err", o.err)
		r.err = errDown
	}
}
