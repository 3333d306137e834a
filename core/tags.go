package core

import (
	"context"
	"strings"
	"time"

	"github.com/iib-engine/iib/sdk"
)

// Tags finds out how a registry remembers what its tags meant.
type Tags interface {
	// Of returns the past of the tags of the registry of a pull spec, as a user
	// may see and change it; "" is nobody.
	Of(spec, user string) TagHistory
}

// TagHistory is the past of the tags of one registry. Every spec is a pull spec
// with a tag, as TagSpec returns it. What is not there is NotFound, what the
// registry does not let the caller do is Denied.
type TagHistory interface {
	// Kind is "embedded", "quay" or "plain".
	Kind() string
	// Trusted tells that the registry judges the caller, and not whoever asks.
	Trusted() bool
	// Points returns what a tag has been, newest first, from a page on, which
	// counts from 1; more tells that there is another page.
	Points(ctx context.Context, spec string, page int) (points []TagPoint, more bool, err error)
	// Restore makes the tag point to an image that it, or another tag of the
	// repository, pointed to before. The history tells that it was restored.
	Restore(ctx context.Context, spec, digest string) error
	// Expire sets when the tag ends; the zero time is never.
	Expire(ctx context.Context, spec string, at time.Time) error
	// Delete ends the tag now. Its past stays as long as the registry keeps it.
	Delete(ctx context.Context, spec string) error
}

// TagPoint is a time in which a tag pointed to one image.
type TagPoint struct {
	Digest string
	// Start is zero where it is not known.
	Start time.Time
	// End is zero for a tag that is there without end; it may be to come.
	End time.Time
	// Restored tells that the tag was put back to this image.
	Restored bool
	// Request is the one that published the image here, 0 if none is known.
	Request int64
	// User moved the tag here, as far as the engine knows.
	User string
}

// Alive reports whether the tag points here at a time.
func (p *TagPoint) Alive(at time.Time) bool {
	return !p.Start.After(at) && (p.End.IsZero() || p.End.After(at))
}

// TagSpec completes the pull spec of a tag: without one, it is the tag latest.
func TagSpec(spec string) (string, error) {
	registry, name, ok := strings.Cut(spec, "/")
	if !ok || registry == "" || name == "" || strings.ContainsAny(spec, " @?#%\\") || strings.Contains(spec, "..") {
		return "", sdk.FieldErrorf("tag", "tag %.200q: want registry/repository:tag, such as quay.io/ns/index:v4.20", spec)
	}
	if !strings.Contains(name, ":") {
		return spec + ":latest", nil
	}
	repository, tag, _ := strings.Cut(name, ":")
	if repository == "" || tag == "" || strings.ContainsAny(tag, "/:") {
		return "", sdk.FieldErrorf("tag", "tag %.200q: want registry/repository:tag, such as quay.io/ns/index:v4.20", spec)
	}
	return spec, nil
}

// SplitTag cuts what TagSpec has returned.
func SplitTag(spec string) (registry, repository, tag string) {
	registry, name, _ := strings.Cut(spec, "/")
	repository, tag, _ = strings.Cut(name, ":")
	return registry, repository, tag
}

// TagPage is a part of the past of a tag.
type TagPage struct {
	Spec string
	// Kind is that of the registry's TagHistory.
	Kind   string
	Points []TagPoint
	// More tells that there is another page.
	More bool
}
