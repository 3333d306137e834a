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
	// TagEvent: a tag was restored or deleted through the engine. Notifiers are
	// not told: the messages that they carry are about requests and batches.
	TagEvent EventKind = "tag"
)

// Event is something that listeners hear of. The store writes it in the
// transaction of the change that it tells about, so none is lost or invented.
type Event struct {
	// Sequence is positive and grows with every event of the store.
	Sequence int64
	Kind     EventKind
	Time     time.Time
	// Request is 0 for a batch event, and both are for one about a tag.
	Request int64
	Batch   int64
	State   State
	User    string
	// Snapshot is the request as it was after the change: what the body of the
	// message is made from. Its history has the newest entry only, and who runs
	// the request is left out. Nil for other events.
	Snapshot *Request
	// Members are the batch's requests, by ascending ID. Nil for other events.
	Members []BatchMember
	// Annotations are the batch's, for a batch event.
	Annotations json.RawMessage
	// Move is what a tag event is about, else nil.
	Move *TagMove
}

// BatchMember is what a batch event tells of one request.
type BatchMember struct {
	ID           int64
	Type         string
	Organization *string
}
