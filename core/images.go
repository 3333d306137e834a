package core

import (
	"context"

	"github.com/iib-engine/iib/sdk"
)

// Images is the engine's view of registries.
type Images interface {
	// Session returns registry access that prefers a request's own credentials.
	Session(grants []sdk.Grant) ImageSession
	// BuildTag returns the pull spec of a tag in the build repository: a
	// request's ID, or one of its build tags.
	BuildTag(tag string) string
	// BuildRepository returns the repository that builds are pushed to.
	BuildRepository() string
	// ReaderSpec returns a pull spec of the build repository as readers see it.
	ReaderSpec(spec string) string
	// DeniedNetworks returns the CIDR ranges that no connection may reach.
	DeniedNetworks() []string
}

// MoveCondition is what must hold for a tag to be moved; the zero value is
// nothing.
type MoveCondition struct {
	// Was is what the tag must be, if it is not nil: a digest, or empty if it
	// must not be there. Only some registries can check that.
	Was *string
	// Ready is called when nothing is left to do but to move the tag, if it is
	// not nil. Its error ends the move.
	Ready func(context.Context) error
}

// ImageSession is registry access for one request.
type ImageSession interface {
	// Access returns how to reach the registry of an image.
	Access(image string) (sdk.Access, error)
	// Digest returns what a pull spec points to, or NotFound.
	Digest(ctx context.Context, spec string) (string, error)
	// PushList assembles and pushes the list of one manifest per architecture
	// in a repository, by digest.
	PushList(ctx context.Context, repository string, arches map[string]sdk.Digest, oci bool) (digest string, err error)
	// Move makes the tag of spec point to the image that pinned names, copying
	// it first where it is not there yet, and returns the digest it has there.
	// It is a Conflict if the registry finds that the condition does not hold.
	Move(ctx context.Context, pinned, spec string, when MoveCondition) (digest string, err error)
	// Delete removes the tag of spec and leaves the image. A tag that is not
	// there is NotFound, a registry that deletes no tags Denied.
	Delete(ctx context.Context, spec string) error
}
