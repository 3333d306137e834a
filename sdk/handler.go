package sdk

import (
	"context"
	"encoding/json"
)

// Handler runs requests of one type.
//
// The engine claims a request for one worker at a time and fences the claim:
// once a handler's claim is lost, every call on its Job fails. After a crash
// the same request is handled again from the start, so a handler must be
// re-runnable; what it publishes is addressed by digest and by request ID.
//
// An error of code Unavailable is retried; any other ends the request as
// failed with the error's message as its reason. A nil error ends it as
// complete with the reason of Job.Done, or a generic one.
type Handler interface {
	Handle(ctx context.Context, job *Job) error
}

// Acceptor is a Handler that judges and normalises a submission before
// anything is stored. Without it the engine applies what Describe says of the
// parameters: required ones, their schemas, and secrets, which it sets apart;
// fields of a parameter's name show its value. Without any it accepts every
// JSON object.
type Acceptor interface {
	Accept(ctx context.Context, sub *Submission) error
}

// Describer is a Handler that documents its parameters and the fields that its
// requests show. The engine makes the endpoint's documentation from it, and
// refuses write-backs of fields that are not described.
type Describer interface {
	Describe() HandlerDoc
}

// HandlerDoc describes a request type.
type HandlerDoc struct {
	// Summary tells in one sentence what a request of this type does.
	Summary string
	// Params are the parameters that a submission may have.
	Params []ParamDoc
	// Fields are the keys, besides those that every request has, that the JSON
	// representation of a request of this type shows.
	Fields []FieldDoc
	// Artifacts are the files that a request of this type may leave behind.
	Artifacts []ArtifactDoc
}

// ParamDoc describes one parameter of a submission.
type ParamDoc struct {
	Name     string
	Doc      string
	Required bool
	// Secret parameters are never stored in clear, shown or logged.
	Secret bool
	// Schema is a JSON Schema. Example is a value that satisfies it. The
	// documented example of a request has all parameters with an Example, and
	// must be one that is accepted.
	Schema  json.RawMessage
	Example json.RawMessage
}

// FieldDoc describes one key of a request's JSON representation.
type FieldDoc struct {
	Name string
	Doc  string
	// Schema is a JSON Schema for the value.
	Schema json.RawMessage
	// Shape is the rule for a write-back of this field; ShapeNone refuses it.
	Shape Shape
	// Image tells that the value is one or more pull specs, found by the image
	// filters of the list endpoint.
	Image bool
	// Hidden fields are stored but not shown.
	Hidden bool
}

// ArtifactDoc describes a file that a request may leave behind.
type ArtifactDoc struct {
	// Name is the artifact's name for Job.Artifact, such as "related_bundles".
	Name string
	// Path is the last part of the endpoint that serves it.
	Path string
	// Field is the key under which the representation shows the artifact's
	// address and expiration; empty shows none.
	Field string
	// ContentType is what the endpoint answers with.
	ContentType string
	// Parameter tells that the artifact is not a file but the field of the
	// same name, a string: it is served verbatim from the beginning, never
	// expires, and Field shows its address alone.
	Parameter bool
}

// Shape is the form that a written-back value must have.
type Shape string

const (
	// ShapeNone refuses a write-back.
	ShapeNone Shape = ""
	// ShapeText is a non-empty string.
	ShapeText Shape = "text"
	// ShapeImage is a pull specification. If there is a field with an "s" more,
	// a list, this one is its older form: an outside worker that reports it
	// empties the list.
	ShapeImage Shape = "image"
	// ShapeImages is an array of pull specifications; it replaces the former.
	ShapeImages Shape = "images"
	// ShapeMapping is an object of string to array of strings. What an outside
	// worker reports adds to what is there, as far as the field bundles has it.
	ShapeMapping Shape = "mapping"
	// ShapeTextMap is an object of string to string.
	ShapeTextMap Shape = "text_map"
	// ShapeJSONText is a string that holds a JSON object; it is shown parsed.
	ShapeJSONText Shape = "json_text"
	// ShapeIgnored accepts an array or object and changes nothing: a
	// write-back that old workers send and nothing depends on.
	ShapeIgnored Shape = "ignored"
	// ShapeNumber is a JSON number.
	ShapeNumber Shape = "number"
)

// Submission is a request on its way in. Accept reads the upper half and fills
// the lower.
type Submission struct {
	// Type is the request type of the endpoint that was called.
	Type string
	// User is the authenticated caller; empty when there is none.
	User string
	// Privileged tells that the user may overwrite an index without a token.
	Privileged bool
	// Body is the JSON object that was sent.
	Body json.RawMessage

	// Params are what Handle will see: no secrets. Nil means Body.
	Params json.RawMessage
	// Fields are the first values of the type's representation keys.
	Fields map[string]json.RawMessage
	// Secrets are sealed at rest, given only to Job.Secret, and wiped when the
	// request ends.
	Secrets map[string]Secret
	// Grants are registry credentials that came with the request; the engine
	// seals them like Secrets and uses them for this request only.
	Grants []Grant
	// Target and Overwrite choose the queue and name the index to lock.
	Target    string
	Overwrite bool
}

// Grant is a credential for one registry, or for one repository in it.
type Grant struct {
	// Scope is "registry" or "registry/repository".
	Scope    string
	Username string
	Password Secret
}

// SetField encodes v as the first value of a representation key.
func (s *Submission) SetField(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return Errorf(Internal, "encode field %s: %v", name, err)
	}
	if s.Fields == nil {
		s.Fields = make(map[string]json.RawMessage)
	}
	s.Fields[name] = data
	return nil
}
