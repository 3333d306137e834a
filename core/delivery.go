package core

import (
	"context"
	"time"
)

// Deliveries tells each notifier of every event, at the notifier's own pace:
// at least once, and the events of one batch, its requests' included, in order.
//
// A process takes a turn at a notifier, asks what is due, hands it over, and
// reports what came of it. What a process that dies had in hand is due again
// in the next turn: the only case in which an event is delivered twice.
type Deliveries interface {
	// TakeTurn gives a worker the sole right to deliver to a notifier, until
	// lease from now. It is a Conflict while another turn's lease runs. A
	// notifier that was never known before hears of what happens from then on.
	TakeTurn(ctx context.Context, notifier, worker string, lease time.Duration) (Turn, error)
	// KeepTurn extends the lease. A Conflict means that the turn is lost.
	KeepTurn(ctx context.Context, turn Turn, lease time.Duration) error
	// EndTurn gives the turn back, and what is in hand with it.
	EndTurn(ctx context.Context, turn Turn) error
	// Due hands out at most so many deliveries, ordered by event, and counts
	// an attempt for each. The events of one batch among them are to be
	// delivered one after the other, and no further one of that batch is
	// handed out until these are settled.
	Due(ctx context.Context, turn Turn, limit int) ([]Delivery, error)
	// Settle reports what came of deliveries that are in hand. Others that
	// were handed out stay in hand.
	Settle(ctx context.Context, turn Turn, outcomes []Outcome) error
	// Subscriptions returns how the notifiers stand, by name.
	Subscriptions(ctx context.Context) ([]Subscription, error)
	// Undelivered returns a notifier's events that were tried without success,
	// or are parked, after a sequence.
	Undelivered(ctx context.Context, notifier string, after int64, limit int) ([]Undelivered, error)
	// Replay makes events due again, delivered or parked, with no attempts
	// counted, and returns how many. More than MaxReplay are Invalid; an
	// unknown notifier is NotFound.
	Replay(ctx context.Context, notifier string, r Replay) (int64, error)
	// Unsubscribe forgets a notifier and all that it has not heard. Unknown
	// ones are no error.
	Unsubscribe(ctx context.Context, notifier string) error
}

// Turn is a worker's right to deliver to a notifier.
type Turn struct {
	Notifier string
	Worker   string
	Epoch    int64
}

// Delivery is an event in hand.
type Delivery struct {
	Event Event
	// Attempt counts how often the event was handed out for this notifier,
	// from 1.
	Attempt int
}

// Outcome is what came of a delivery.
type Outcome struct {
	Sequence int64
	// Error is empty if the notifier took the event.
	Error string
	// Retry is how long to wait before the next attempt. Later events of the
	// same batch wait too; all others do not.
	Retry time.Duration
	// Park gives the event up: it is kept with its error until it is replayed,
	// and holds up nothing.
	Park bool
	// Uncounted takes the attempt back: the event was not tried, or the fault
	// was not the event's.
	Uncounted bool
}

// Subscription is how a notifier stands.
type Subscription struct {
	Notifier string
	// Worker has the turn until Lease; both are zero when nobody has it.
	Worker string
	Lease  time.Time
	// Behind is how many events at most were not looked at yet; Waiting are
	// those that were and are not delivered; Parked were given up.
	Behind  int64
	Waiting int64
	Parked  int64
	// Delivered is when an event was last taken, Failed when one last was not,
	// with its Error. Zero if that never happened.
	Delivered time.Time
	Failed    time.Time
	Error     string
}

// Undelivered is an event that a notifier has not taken.
type Undelivered struct {
	Sequence int64
	Kind     EventKind
	Request  int64
	Batch    int64
	State    State
	Attempts int
	// Error is that of the last attempt.
	Error  string
	Parked bool
	// NotBefore is when it is tried again, zero for a parked one.
	NotBefore time.Time
}

// MaxReplay bounds one Replay.
const MaxReplay = 100_000

// Replay chooses events that a notifier has been told of, or has not taken; its
// set fields combine with AND.
type Replay struct {
	// From and To are sequences, both included; a To of 0 is no bound.
	From, To int64
	Request  int64
	Batch    int64
	// Parked chooses parked events only.
	Parked bool
}
