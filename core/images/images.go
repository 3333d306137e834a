// Package images is the engine's adapter for registries: it knows how each one
// is reached, where builds are pushed, and moves tags, through the image
// library.
package images

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/image"
)

// Options say how registries are reached.
type Options struct {
	// Registry is the host of the registry that builds are pushed to.
	Registry string
	// Template is the pull spec of a build, with {registry} and {request_id}.
	Template string
	// Output replaces Registry in the pull specs that readers are shown; empty
	// replaces nothing.
	Output string
	// AuthFile is a file in the form of Docker's config.json; empty for none.
	AuthFile string
	// PlainHTTP are hosts without TLS.
	PlainHTTP []string
	// CAFiles are certificates to trust, by host.
	CAFiles map[string]string
	// DeniedNetworks are CIDR ranges that no connection may reach.
	DeniedNetworks []string
	// CacheDir keeps what was read, by digest.
	CacheDir string
}

// Images is the engine's registries. It is safe for concurrent use.
type Images struct {
	options atomic.Pointer[Options]
	client  *image.Client
}

var _ core.Images = (*Images)(nil)

// New returns the registries that o describes.
func New(o Options) (*Images, error) {
	i := &Images{client: image.New(image.Options{CacheDir: o.CacheDir})}
	return i, i.Configure(o)
}

// Configure replaces the options, but for the cache directory, for sessions
// that begin from now on.
func (i *Images) Configure(o Options) error {
	if _, err := image.ParseRef(expand(&o, "1")); err != nil {
		return sdk.Errorf(sdk.Invalid, "the push template %q does not make a pull spec: %v", o.Template, err)
	}
	i.options.Store(&o)
	return nil
}

func expand(o *Options, tag string) string {
	return strings.NewReplacer("{registry}", o.Registry, "{request_id}", tag).Replace(o.Template)
}

// BuildTag returns the pull spec of a tag in the build repository.
func (i *Images) BuildTag(tag string) string { return expand(i.options.Load(), tag) }

// BuildRepository returns the repository that builds are pushed to.
func (i *Images) BuildRepository() string {
	ref, err := image.ParseRef(i.BuildTag("1"))
	if err != nil {
		return ""
	}
	return ref.Name()
}

// ReaderSpec returns a pull spec of the build registry as readers see it.
func (i *Images) ReaderSpec(spec string) string {
	o := i.options.Load()
	if o.Output == "" {
		return spec
	}
	return strings.Replace(spec, o.Registry, o.Output, 1)
}

// DeniedNetworks returns the ranges that no connection may reach.
func (i *Images) DeniedNetworks() []string { return i.options.Load().DeniedNetworks }

// Session returns registry access that prefers a request's own credentials.
func (i *Images) Session(grants []sdk.Grant) core.ImageSession { return i.open(grants) }

func (i *Images) open(grants []sdk.Grant) *session {
	s := &session{options: i.options.Load(), grants: grants}
	s.client = i.client.WithAccess(func(_ context.Context, spec string) (sdk.Access, error) { return s.Access(spec) })
	return s
}

// TryPush finds out whether builds may be pushed, with the engine's own
// credentials, and leaves nothing in the registry. The time is the registry's.
func (i *Images) TryPush(ctx context.Context) (clock time.Time, err error) {
	return i.open(nil).client.TryPush(ctx, i.BuildRepository())
}

type session struct {
	options *Options
	grants  []sdk.Grant
	client  *image.Client
}

// Access looks for credentials from the narrowest scope to the widest: the
// request's for the repository, the request's for the registry, the engine's.
func (s *session) Access(spec string) (sdk.Access, error) {
	ref, err := image.ParseRef(spec)
	if err != nil {
		return sdk.Access{}, err
	}
	o := s.options
	access := sdk.Access{
		PlainHTTP:      slices.Contains(o.PlainHTTP, ref.Registry),
		CAFile:         o.CAFiles[ref.Registry],
		DeniedNetworks: o.DeniedNetworks,
	}
	for _, scope := range []string{ref.Name(), ref.Registry} {
		for _, grant := range s.grants {
			if grant.Scope == scope {
				access.Username, access.Password = grant.Username, grant.Password
				return access, nil
			}
		}
	}
	if o.AuthFile != "" {
		access.Username, access.Password, err = image.Credentials(o.AuthFile, spec)
	}
	return access, err
}

func (s *session) Digest(ctx context.Context, spec string) (string, error) {
	digest, err := s.client.Digest(ctx, spec)
	return string(digest), err
}

func (s *session) PushList(ctx context.Context, repository string, arches map[string]sdk.Digest, oci bool) (string, error) {
	list, err := s.client.PutList(ctx, repository, arches, oci)
	if err != nil {
		return "", err
	}
	return string(list.Digest), nil
}

func (s *session) Move(ctx context.Context, pinned, spec string, when core.MoveCondition) (string, error) {
	condition := image.Condition{Ready: when.Ready}
	if when.Was != nil {
		was := sdk.Digest(*when.Was)
		condition.Was = &was
	}
	copied, err := s.client.CopyWhen(ctx, pinned, spec, condition)
	if err != nil {
		return "", err
	}
	return string(copied.Digest), nil
}

func (s *session) Delete(ctx context.Context, spec string) error {
	return s.client.DeleteTag(ctx, spec)
}
