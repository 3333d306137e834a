package engine

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

const (
	// notifyTimeout bounds a call of a notifier whose block has no timeout.
	notifyTimeout = time.Minute
	// notifyAttempts is how often an event is offered to a notifier whose block
	// does not say it.
	notifyAttempts = 10
)

// errNotIt tells that a notifier is not to hear of an event.
var errNotIt = errors.New("the notifier does not hear of such requests")

// offer is one attempt at an event.
type offer struct {
	core.Delivery
	// tries counts the earlier attempts that Delivery.Attempt does not.
	tries int
	// attempts is when the notifier gives an event up.
	attempts int
	err      error

	// taken is how many events the courier had delivered when this one set out;
	// alone tells that no other was on its way meanwhile.
	taken int
	alone bool
}

// make offers the event to the notifier of that name, as the line-up has it at
// this moment.
func (o *offer) make(ctx context.Context, e *Engine, name string) error {
	lineup, release := e.Roster.Acquire()
	defer release()
	all := lineup.Notifiers()
	i := slices.IndexFunc(all, func(n core.Notifier) bool { return n.Plugin == name })
	if i < 0 {
		return sdk.Errorf(sdk.Unavailable, "notifier %s is not in use any more", name)
	}
	notifier := all[i]
	o.attempts = notifyAttempts
	if notifier.Attempts > 0 {
		o.attempts = notifier.Attempts
	}
	if !hears(&notifier, &o.Event) {
		return errNotIt
	}
	message, err := e.message(lineup, &o.Event)
	if err != nil {
		return err
	}
	message.Delivery = o.Attempt + o.tries
	timeout := notifyTimeout
	if notifier.Timeout > 0 {
		timeout = notifier.Timeout
	}
	deadline := time.Now().Add(timeout)
	call, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	err = notifier.Notify(call, message)
	if err != nil && ctx.Err() == nil && !time.Now().Before(deadline) {
		return &noTime{name, timeout}
	}
	return err
}

// noTime is the error of a call that was ended because it took too long.
type noTime struct {
	notifier string
	timeout  time.Duration
}

func (e *noTime) Error() string {
	return "notifier " + e.notifier + " did not answer within " + e.timeout.String()
}

// hears reports whether a notifier is to be told of an event: of a request of
// its types, or of a batch that has one.
func hears(n *core.Notifier, e *core.Event) bool {
	if len(n.Requests) == 0 {
		return true
	}
	if e.Snapshot != nil {
		return slices.Contains(n.Requests, e.Snapshot.Type)
	}
	return slices.ContainsFunc(e.Members, func(m core.BatchMember) bool { return slices.Contains(n.Requests, m.Type) })
}

// eventKinds are the notifiers' words for the kinds of events.
var eventKinds = map[core.EventKind]sdk.EventKind{
	core.RequestEvent: sdk.RequestState,
	core.BatchEvent:   sdk.BatchState,
}

// message is an event as notifiers get it. Its ID is that of the outbox, so
// that all attempts, of whichever process, have the same.
func (e *Engine) message(lineup core.Lineup, event *core.Event) (*sdk.Event, error) {
	representation := e.settings.Load().Representation
	representation.Handler = func(requestType string) (*core.HandlerType, bool) {
		h, ok := lineup.Handler(requestType)
		return &h.HandlerType, ok
	}
	body, err := representation.EventBody(event)
	if err != nil {
		return nil, err
	}
	return &sdk.Event{
		ID:      strconv.FormatInt(event.Sequence, 10),
		Kind:    eventKinds[event.Kind],
		Time:    event.Time,
		Request: event.Request,
		Batch:   event.Batch,
		State:   string(event.State),
		User:    event.User,
		Body:    body,
	}, nil
}
