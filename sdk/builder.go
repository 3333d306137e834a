package sdk

import "context"

// Builder makes and pushes the image of one architecture. The engine calls it
// for all architectures of an image at once, then assembles and pushes the
// list.
type Builder interface {
	Build(ctx context.Context, spec *BuildSpec) (Digest, error)
}

// Digest is a content address in the form "sha256:" + 64 lower-case hex digits.
type Digest string

// BuildSpec is one architecture's image.
type BuildSpec struct {
	ImageSpec
	// Arch is the one of ImageSpec.Arches to build.
	Arch string
	// Repository of ImageSpec is set; the image is pushed there by digest.

	// BaseAccess and PushAccess tell how to reach the two registries.
	BaseAccess Access
	PushAccess Access
	// CacheDir is a directory shared by all builds, keyed by digest.
	CacheDir string
	// Workspace is a directory private to the request, with the layers in it.
	Workspace string
}
