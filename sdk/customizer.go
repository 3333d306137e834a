package sdk

import (
	"context"
	"fmt"
)

// Customizer edits an unpacked bundle for an organization. Steps are called in
// the order of the organization's customize blocks, each on what the one
// before left.
type Customizer interface {
	Customize(ctx context.Context, bundle *Bundle) error
}

// Bundle is an unpacked bundle image. A customizer edits the files below Dir
// in place and changes Package and Labels; everything else is information.
type Bundle struct {
	// Dir has the directories manifests and metadata. It holds what came out
	// of an image that somebody else made: do not follow links out of it.
	Dir string
	// Image is the bundle's pull spec by digest.
	Image string
	// Organization is the one whose steps are run; empty for the default steps.
	Organization string
	// Package is the package name at this point of the list.
	Package string
	// Pinned tells that the image was regenerated and pinned before.
	Pinned bool
	// Labels are set on the new image.
	Labels map[string]string
	// Replacements map bundle pull specs to others, as the request asks.
	Replacements map[string]string
	// Until ends the list before the first step of this name; empty runs all.
	// Job.Customize reads it, steps have no use for it.
	Until string

	host BundleHost
}

// BundleHost is the engine as a customizer sees it.
type BundleHost interface {
	Log(ctx context.Context, line LogLine) error
	Artifact(ctx context.Context, name, path string) error
	Access(ctx context.Context, image string) (Access, error)
}

// WithHost returns the bundle, with its calls going to host.
func (b *Bundle) WithHost(host BundleHost) *Bundle {
	b.host = host
	return b
}

// Host returns what WithHost was given, or nil. Customizers use the other
// methods; the wire carries a bundle to its plugin by it.
func (b *Bundle) Host() BundleHost { return b.host }

// SetLabel sets a label on the new image.
func (b *Bundle) SetLabel(name, value string) {
	if b.Labels == nil {
		b.Labels = make(map[string]string)
	}
	b.Labels[name] = value
}

// Logf writes a line to the request's log.
func (b *Bundle) Logf(ctx context.Context, format string, args ...any) {
	_ = b.host.Log(ctx, LogLine{Level: LevelInfo, Text: fmt.Sprintf(format, args...)})
}

// Artifact stores the file at path, below Dir's parent, as the request's
// artifact of that name.
func (b *Bundle) Artifact(ctx context.Context, name, path string) error {
	return b.host.Artifact(ctx, name, path)
}

// Access returns how to reach the registry of one image.
func (b *Bundle) Access(ctx context.Context, image string) (Access, error) {
	return b.host.Access(ctx, image)
}
