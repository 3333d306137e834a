package sdk

import (
	"context"
	"encoding/json"
)

// Previewer is a Handler that can tell what a request would change. Preview is
// called for submissions with ?dry_run=true: nothing of them is stored, their
// job has the ID 0, and it can neither build nor publish, lock or leave files
// behind. Denials of gates become problems and do not end it.
//
// An error that is the request's fault is a problem like those in the result;
// Unavailable and Internal ones are not, and end the call.
type Previewer interface {
	Preview(ctx context.Context, job *Job) (*Preview, error)
}

// Preview is what a request would do.
type Preview struct {
	// Problems are sentences for the requester: each would end the request.
	Problems []string `json:"problems"`
	// Packages is a JSON array of what would change, by package; empty is none.
	Packages json.RawMessage `json:"packages"`
}
