package core

import (
	"context"
	"io"
)

// Logs keeps a log per request: plain text that grows while the request runs.
// It can be read from any process while another writes.
type Logs interface {
	// Append opens a request's log for writing at its end. Each Write is
	// visible to readers when it returns.
	Append(ctx context.Context, request int64) (io.WriteCloser, error)
	// Open reads a log from its beginning; reading on after io.EOF gives what
	// was appended since. NotFound if there is none.
	Open(ctx context.Context, request int64) (io.ReadCloser, error)
}

// Artifacts keeps the files that requests leave behind.
type Artifacts interface {
	// Put stores or replaces an artifact, whole or not at all.
	Put(ctx context.Context, request int64, name string, content io.Reader) error
	// Open reads an artifact. NotFound if there is none.
	Open(ctx context.Context, request int64, name string) (io.ReadCloser, error)
}
