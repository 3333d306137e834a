package sdk

import (
	"context"
	"fmt"
	"strings"
)

// Gate decides whether a request may go on, before anything is built.
//
// A denial is an answer; an error means "could not decide". The engine retries
// errors of code Unavailable and then fails the request as undecided; it never
// takes an error for a denial or a pass.
type Gate interface {
	Check(ctx context.Context, req *GateRequest) (Verdict, error)
}

// GateRequest is what a gate judges.
type GateRequest struct {
	Request
	// Images are the resolved bundle images that the request would use.
	Images []Image
}

// Image is a container image that a request uses.
type Image struct {
	// Spec is the pull spec as the user wrote it.
	Spec string
	// Resolved is the same image by digest.
	Resolved string
	Labels   map[string]string
}

func (i Image) String() string {
	if i.Resolved != "" {
		return i.Resolved
	}
	return i.Spec
}

// Registry returns the host part of the pull spec, "docker.io" if it has none.
func (i Image) Registry() string {
	first, _, found := strings.Cut(i.String(), "/")
	if found && (strings.ContainsAny(first, ".:") || first == "localhost") {
		return first
	}
	return "docker.io"
}

// Verdict is a gate's answer. The zero value denies.
type Verdict struct {
	Allowed bool
	// Reason is shown to the requester: full sentences that end in what to do.
	Reason string
}

// Allow lets the request go on.
var Allow = Verdict{Allowed: true}

// Deny ends the request with a reason.
func Deny(format string, args ...any) Verdict {
	return Verdict{Reason: fmt.Sprintf(format, args...)}
}
