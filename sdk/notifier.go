package sdk

import (
	"context"
	"encoding/json"
	"time"
)

// Notifier tells the outside that something happened.
//
// The engine delivers each event at least once, and the events of one request
// and of one batch in order; events of different batches may come at the same
// time. An error never fails or delays a request. One of code Unavailable says
// that the notifier is down: the event is offered again for as long as it
// takes. One of code Invalid says that the event will never be taken, which
// parks it at once. Any other one is retried with back-off, and the event is
// parked after as many attempts as the configuration says. ctx has a deadline.
type Notifier interface {
	Notify(ctx context.Context, event *Event) error
}

// EventKind says what an event is about.
type EventKind string

const (
	// RequestState: a request entered a state, or its reason changed.
	RequestState EventKind = "request"
	// BatchState: a batch was created, or all of its requests ended.
	BatchState EventKind = "batch"
)

// Event is something that happened. A repeated delivery has the same ID.
type Event struct {
	// ID is unique over the life of the engine's database.
	ID   string
	Kind EventKind
	Time time.Time
	// Delivery counts the attempts to deliver this event, from 1. It is a hint:
	// after a restart of the engine it may begin again. The ID tells repetitions.
	Delivery int
	// Request and State are of the request; Request is 0 for a batch event.
	Request int64
	Batch   int64
	State   string
	// User is empty when nobody was authenticated.
	User string
	// Body is the JSON document that listeners get, as the API contract's
	// section 7.1 has it.
	Body json.RawMessage
}
