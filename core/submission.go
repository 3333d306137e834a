package core

import (
	"encoding/json"
	"fmt"

	"github.com/iib-engine/iib/sdk"
)

// Submission is what a caller asks the engine to accept: one request, or
// several that are accepted together or not at all.
type Submission struct {
	// User is the authenticated caller, empty for nobody.
	User  string
	Items []SubmissionItem
	// Annotations are the batch's: null, or a JSON object.
	Annotations json.RawMessage
	// IdempotencyKey and Digest are as in NewBatch.
	IdempotencyKey string
	Digest         string
}

// SubmissionItem is one request of a submission.
type SubmissionItem struct {
	Type string
	// Body is a JSON object.
	Body json.RawMessage
	// Fault, if not nil, tells why the item cannot be judged by a handler. It
	// counts when the items before it are accepted.
	Fault error
}

// ItemError is a fault in one item of a submission.
type ItemError struct {
	// Index counts from zero.
	Index int
	Err   error
}

func (e *ItemError) Error() string { return fmt.Sprintf("item %d: %v", e.Index, e.Err) }
func (e *ItemError) Unwrap() error { return e.Err }

// HandlerType is a request type that the roster offers.
type HandlerType struct {
	Type   string
	Plugin string
	Doc    sdk.HandlerDoc
	// Accepts tells that the plugin judges submissions itself; those of others
	// are judged by the description.
	Accepts bool
	// Previews tells that the plugin can tell what a request would change.
	Previews bool
}

// Field returns the documentation of a representation key.
func (h *HandlerType) Field(name string) (sdk.FieldDoc, bool) {
	for _, f := range h.Doc.Fields {
		if f.Name == name {
			return f, true
		}
	}
	return sdk.FieldDoc{}, false
}

// Artifact returns the documentation of an artifact by the last part of its path.
func (h *HandlerType) Artifact(path string) (sdk.ArtifactDoc, bool) {
	for _, a := range h.Doc.Artifacts {
		if a.Path == path {
			return a, true
		}
	}
	return sdk.ArtifactDoc{}, false
}
