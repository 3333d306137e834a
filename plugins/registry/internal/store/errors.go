package store

import (
	"errors"
	"fmt"
)

// What an operation may find wrong. Returned errors wrap one of these and say
// which object is concerned; any other error is a fault of the store.
var (
	ErrRepository = errors.New("there is no such repository")
	ErrName       = errors.New("invalid repository name")
	ErrTagName    = errors.New("invalid tag")
	ErrDigest     = errors.New("invalid digest")
	ErrMismatch   = errors.New("the content does not have that digest")
	ErrBlob       = errors.New("there is no such blob")
	ErrManifest   = errors.New("there is no such manifest")
	ErrTag        = errors.New("there is no such tag")
	ErrTagExpired = errors.New("the tag is gone")
	ErrUpload     = errors.New("there is no such upload")
	ErrRange      = errors.New("the chunk does not begin where the upload ends")
	ErrTooLarge   = errors.New("too large")
	ErrInvalid    = errors.New("invalid manifest")
	ErrAbsent     = errors.New("the manifest names content that is not there")
	ErrInUse      = errors.New("in use")
	ErrImmutable  = errors.New("the tag is immutable")
	ErrMoved      = errors.New("the tag is not what it should be before it is moved")
	ErrTime       = errors.New("invalid time")
	ErrDenied     = errors.New("not allowed")
)

// ImmutableError is the ErrImmutable that a change of a tag ran into.
type ImmutableError struct {
	Tag string
	// Operation is what cannot be done to it, such as "delete".
	Operation string
}

func (e *ImmutableError) Error() string {
	return fmt.Sprintf("cannot %s immutable tag '%s'", e.Operation, e.Tag)
}

// Is tells errors.Is that this is an ErrImmutable.
func (e *ImmutableError) Is(target error) bool { return target == ErrImmutable }
