package sdk

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"time"
)

// Request is what a user submitted and the engine accepted.
type Request struct {
	// ID is positive and never reused.
	ID int64
	// Type is the handler's request type, such as "add".
	Type string
	// User is the authenticated submitter, verbatim; empty when nobody was
	// authenticated.
	User string
	// Batch groups requests that were submitted together; every request has one.
	Batch int64
	// Queue is the name of the queue the request runs on.
	Queue string
	// Target is the pull spec of the index that the request works on, as the
	// user wrote it; empty for a type that has none.
	Target string
	// Overwrite tells that the request replaces Target.
	Overwrite bool
	// Params are the normalised parameters that the handler's Accept returned:
	// a JSON object without secrets.
	Params json.RawMessage
	// Accepted is when the request was stored.
	Accepted time.Time
	// Attempt counts the runs of this request, from 1. It grows when a worker
	// or a plugin died in the middle.
	Attempt int
}

// Decode unmarshals the parameters into v.
func (r *Request) Decode(v any) error {
	if err := json.Unmarshal(r.Params, v); err != nil {
		return Errorf(Internal, "decode the stored parameters of request %d: %v", r.ID, err)
	}
	return nil
}

// Secret is a parameter that must not be seen: a token, a password. It prints
// as asterisks in every format, and does not marshal.
type Secret string

func (Secret) String() string   { return "*****" }
func (Secret) GoString() string { return "*****" }

// Format is for the verbs that print a string's bytes without asking String.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "*****") }

// LogValue is for log/slog, whose JSON would hold the refusal of MarshalJSON.
func (Secret) LogValue() slog.Value { return slog.StringValue("*****") }

// MarshalJSON refuses: a secret that reaches an encoder is a programming error.
func (Secret) MarshalJSON() ([]byte, error) {
	return nil, Errorf(Internal, "a secret must not be encoded")
}

// Reveal returns the secret's text.
func (s Secret) Reveal() string { return string(s) }
