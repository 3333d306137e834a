package sdk

import (
	"context"
	"encoding/json"
	"io"
	"time"
)

// Host is the engine as a plugin sees it outside a job: given to Start, valid
// until the plugin is closed, safe for concurrent use.
type Host interface {
	// Submit accepts a request on behalf of user, as if it had come through
	// the API. The body is the type's JSON object.
	Submit(ctx context.Context, user, requestType string, body json.RawMessage) (*RequestView, error)
	// Request returns a request, or a NotFound error.
	Request(ctx context.Context, id int64) (*RequestView, error)
	// Requests returns the requests of a type, newest first, at most limit,
	// with IDs below before unless before is 0.
	Requests(ctx context.Context, requestType string, before int64, limit int) ([]*RequestView, error)
	// Cancel ends a request that is in progress; it is a Conflict for one that
	// has ended.
	Cancel(ctx context.Context, id int64, reason string) error
	// Artifact opens a file that a request left behind, or is NotFound.
	Artifact(ctx context.Context, id int64, name string) (io.ReadCloser, error)
	// Log opens a request's log, as far as it is written, or is NotFound.
	Log(ctx context.Context, id int64) (io.ReadCloser, error)
	// Forget removes the log and the artifacts of a request that has ended,
	// before they expire; the request itself stays. It is a Conflict for one
	// that is in progress.
	Forget(ctx context.Context, id int64) error
	// Dirs returns directories that belong to this plugin alone and outlive
	// it: one to keep data in, one that may be emptied at any time.
	Dirs() (data, cache string)
	// Address returns the base URL under which the engine itself answers.
	Address() string
	// Access tells how to reach the registry of an image with the engine's
	// own credentials.
	Access(ctx context.Context, image string) (Access, error)
	// DeniedNetworks returns the CIDR ranges that no connection may reach which
	// somebody else than the administrator has chosen the place of. They may
	// change at any time; sdk/denied dials by them. An engine that is older than
	// this call has an Internal error for it, and then nothing may be reached.
	DeniedNetworks(ctx context.Context) ([]string, error)
}

// RequestView is a request as others see it.
type RequestView struct {
	Request
	// State is "in_progress", "complete" or "failed".
	State  string
	Reason string
	// Updated is the time of the latest state.
	Updated time.Time
	Arches  []string
	// Fields are the type's representation keys.
	Fields map[string]json.RawMessage
}
