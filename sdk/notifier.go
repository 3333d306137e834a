package sdk

import (
	"context"
	"encoding/json"
	"time"
)

// Notifier tells the outside that something happened.
//
// The engine delivers each event at least once, and the events of one request
// and of one batch in order. An error is retried with back-off; it never fails
// or delays a request.
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
	// Delivery counts the attempts to deliver this event, from 1.
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
