package core

import (
	"context"
	"io"
	"time"
)

// Files keeps what requests write besides the store: their logs and artifacts.
type Files interface {
	Artifacts
	Leftovers
	// Logs returns the logs that are kept in the same place.
	Logs() Logs
}

// Logs keeps a log per request: plain text that grows while the request runs.
// It can be read from any process while another writes.
type Logs interface {
	// Append opens a request's log for writing at its end. What is written is
	// visible to readers within a second, and all of it when Close returns.
	// Two may write to a log at once; what each writes stays in its order. A
	// log that has grown too long takes no more: what comes then is dropped
	// without an error.
	Append(ctx context.Context, request int64) (io.WriteCloser, error)
	// Open reads a log from its beginning; reading on after io.EOF gives what
	// was appended since. NotFound if there is none.
	Open(ctx context.Context, request int64) (io.ReadCloser, error)
}

// Artifacts keeps the files that requests leave behind.
type Artifacts interface {
	// Put stores or replaces an artifact, whole or not at all. A name that
	// could not be a file's, or a content that is too long, is Invalid.
	Put(ctx context.Context, request int64, name string, content io.Reader) error
	// Open reads an artifact. NotFound if there is none.
	Open(ctx context.Context, request int64, name string) (io.ReadCloser, error)
}

// Leftovers are the files of all requests, for whoever clears them away.
type Leftovers interface {
	// Each calls yield with every request that has files, in no order, and
	// stops at its first error.
	Each(ctx context.Context, yield func(Footprint) error) error
	// Remove deletes a request's log and artifacts. Nothing left is no error.
	Remove(ctx context.Context, request int64) error
}

// Footprint is what a request has left behind.
type Footprint struct {
	Request int64
	Bytes   int64
	// Changed is when the newest of the files was written to.
	Changed time.Time
}
