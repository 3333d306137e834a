package core

import (
	"encoding/json"
	"time"
)

// EventKind says what an event is about.
type EventKind string

const (
	// RequestEvent: a request entered a state, or the reason of a final one changed.
	RequestEvent EventKind = "request"
	// BatchEvent: a batch was created, or its last member ended.
	BatchEvent EventKind = "batch"
)

// Event is something that listeners hear of. The store writes it in the
// transaction of the change that it tells about, so none is lost or invented.
type Event struct {
	// Sequence is positive and grows with every event of the store.
	Sequence int64
	Kind     EventKind
	Time     time.Time
	// Request is 0 for a batch event.
	Request int64
	Batch   int64
	State   State
	User    string
	// Snapshot is the request as it was after the change: what the body of the
	// message is made from. Its history has the newest entry only, and who runs
	// the request is left out. Nil for a batch event.
	Snapshot *Request
	// Members are the batch's requests, by ascending ID. Nil for a request event.
	Members []BatchMember
	// Annotations are the batch's, for a batch event.
	Annotations json.RawMessage
}

// BatchMember is what a batch event tells of one request.
type BatchMember struct {
	ID           int64
	Type         string
	Organization *string
}
