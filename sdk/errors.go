package sdk

import (
	"errors"
	"fmt"
)

// Code says what kind of failure an error is. It is all that crosses the wire
// besides the message, and all that the engine decides by.
type Code string

const (
	// Invalid: the request or its input is wrong and stays wrong.
	Invalid Code = "invalid"
	// Denied: the input is understood and policy or permission refuses it.
	Denied Code = "denied"
	// NotFound: something that the input names does not exist.
	NotFound Code = "not_found"
	// Conflict: the input is right but something else changed meanwhile.
	Conflict Code = "conflict"
	// Unavailable: a part that is needed did not answer. The only code that
	// the engine retries.
	Unavailable Code = "unavailable"
	// Internal: a fault of the program. The code of every error that has none.
	Internal Code = "internal"
)

// Known reports whether c is one of the six codes.
func (c Code) Known() bool {
	switch c {
	case Invalid, Denied, NotFound, Conflict, Unavailable, Internal:
		return true
	}
	return false
}

// Error is an error with a code. Its message is shown to the requester as it
// stands, so it names the object, says what is wrong with it, and never
// contains a secret.
type Error struct {
	Code Code
	// Message is the whole text; the wrapped error is not appended to it.
	Message string
	// Reason is a machine-readable refinement of Code, such as ReasonMoved.
	// Usually empty.
	Reason string
	// Field names the parameter or setting at fault, where there is one.
	Field string

	wrapped error
}

// ReasonMoved marks the Conflict that Job.Publish returns when the index to be
// overwritten is no longer the one that the edit started from. The handler
// re-applies its edit to the new content and publishes again.
const ReasonMoved = "moved"

// Errorf returns an error with a code. As with fmt.Errorf, an operand of %w
// can be tested with errors.Is and errors.As on this side of the wire.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), wrapped: errors.Unwrap(err)}
}

// FieldErrorf returns an Invalid error that blames one parameter or setting.
func FieldErrorf(field, format string, args ...any) *Error {
	err := Errorf(Invalid, format, args...)
	err.Field = field
	return err
}

// Moved returns the error for a publication whose base was overtaken.
func Moved(format string, args ...any) *Error {
	err := Errorf(Conflict, format, args...)
	err.Reason = ReasonMoved
	return err
}

// ReasonNoAnswer marks the Unavailable error of a call to a plugin that got no
// answer because the connection is gone: usually, the process has ended.
const ReasonNoAnswer = "no_answer"

func (e *Error) Error() string { return e.Message }

func (e *Error) Unwrap() error { return e.wrapped }

// CodeOf returns the code of the outermost *Error in err's chain, Internal if
// there is none, and the empty Code for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return Internal
}

// ReasonOf returns the reason of the outermost *Error in err's chain, or "".
func ReasonOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return ""
}
