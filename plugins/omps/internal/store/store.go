// Package store keeps the releases of packages as artifacts in an image
// registry: one repository per package, one tag per release. The registry's
// rights, history and collection of garbage are thereby those of packages too.
//
// A release is an OCI manifest whose config is the application registry's own
// manifest, so that its digest is the release's, and whose one layer is the
// archive. What is said of a package as a whole is an artifact under the tag
// packageTag. Calls are made with the caller's credentials.
package store

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"regexp"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/iib-engine/iib/plugins/omps/internal/lock"
	"github.com/iib-engine/iib/sdk"
)

var (
	// ErrNotFound tells that a package, a release or its bytes do not exist.
	ErrNotFound = errors.New("doesn't exist")
	// ErrForbidden tells that the registry refuses the caller.
	ErrForbidden = errors.New("the registry refuses access")
	// ErrExists tells that a release is there already.
	ErrExists = errors.New("exists already")
	// ErrImage tells that a repository holds images, and is no package's.
	ErrImage = errors.New("is a repository of images")
	// ErrName tells that a name cannot be a package's.
	ErrName = errors.New("is not a name that a repository can have")
)

// Options are what a Store is made of.
type Options struct {
	// URL is the registry's address.
	URL string
	// Prefix is put before every package's name; empty means none.
	Prefix string
	// Transport reaches the registry.
	Transport http.RoundTripper
	// Own returns the engine's credentials for a repository: public packages
	// are read with them.
	Own func(ctx context.Context, repository string) (sdk.Access, error)
}

// Store is safe for concurrent use.
type Store struct {
	Options
	registry name.Registry
	changing lock.Names // packages
}

// New returns a store of packages in a registry.
func New(o Options) (*Store, error) {
	host, insecure := strings.CutPrefix(o.URL, "http://")
	host = strings.TrimSuffix(strings.TrimPrefix(host, "https://"), "/")
	var options []name.Option
	if insecure {
		options = append(options, name.Insecure)
	}
	registry, err := name.NewRegistry(host, options...)
	if err != nil {
		return nil, err
	}
	o.Prefix = strings.Trim(o.Prefix, "/")
	return &Store{Options: o, registry: registry}, nil
}

// Package names a package.
type Package struct{ Namespace, Name string }

func (p Package) String() string { return p.Namespace + "/" + p.Name }

var (
	component = regexp.MustCompile(`\A[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*\z`)
	namePart  = regexp.MustCompile(`\A[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}\z`)
)

// escaped begins the components that stand for names which a registry's
// repositories cannot have.
const escaped = "x--"

func encodePart(part string) (string, error) {
	switch {
	case component.MatchString(part) && !strings.HasPrefix(part, escaped):
		return part, nil
	case namePart.MatchString(part):
		return escaped + hex.EncodeToString([]byte(part)), nil
	}
	return "", ErrName
}

func decodePart(part string) string {
	if encoded, ok := strings.CutPrefix(part, escaped); ok {
		if decoded, err := hex.DecodeString(encoded); err == nil {
			return string(decoded)
		}
	}
	return part
}

// path is where a package is in the registry.
func (s *Store) path(p Package) (string, error) {
	namespace, err := encodePart(p.Namespace)
	if err != nil {
		return "", err
	}
	base, err := encodePart(p.Name)
	if err != nil {
		return "", err
	}
	full := strings.TrimPrefix(s.Prefix+"/"+namespace+"/"+base, "/")
	if len(full) > 255 {
		return "", ErrName
	}
	return full, nil
}

func (s *Store) repository(p Package) (name.Repository, error) {
	full, err := s.path(p)
	if err != nil {
		return name.Repository{}, err
	}
	return s.registry.Repo(full), nil
}

// packageAt is the inverse of path.
func (s *Store) packageAt(repository string) (Package, bool) {
	rest := repository
	if s.Prefix != "" {
		var ok bool
		if rest, ok = strings.CutPrefix(repository, s.Prefix+"/"); !ok {
			return Package{}, false
		}
	}
	namespace, base, ok := strings.Cut(rest, "/")
	if !ok || strings.Contains(base, "/") {
		return Package{}, false
	}
	return Package{decodePart(namespace), decodePart(base)}, true
}

// options are those of a call for a caller, given as the Authorization header.
func (s *Store) options(ctx context.Context, authorization string) []remote.Option {
	var auth authn.Authenticator = authn.Anonymous
	scheme, credentials, _ := strings.Cut(authorization, " ")
	credentials = strings.TrimSpace(credentials)
	switch {
	case strings.EqualFold(scheme, "basic"):
		if decoded, err := base64.StdEncoding.DecodeString(credentials); err == nil {
			user, password, _ := strings.Cut(string(decoded), ":")
			auth = authn.FromConfig(authn.AuthConfig{Username: user, Password: password})
		}
	case strings.EqualFold(scheme, "bearer"):
		auth = authn.FromConfig(authn.AuthConfig{RegistryToken: credentials})
	}
	options := []remote.Option{
		remote.WithContext(ctx), remote.WithAuth(auth),
		remote.WithTransport(&always{next: s.Transport, host: s.registry.RegistryStr(), authorization: authorization}),
	}
	// Without a puller, each read begins with a greeting, and with a token if
	// the registry has those.
	if puller, err := remote.NewPuller(options...); err == nil {
		options = append(options, remote.Reuse(puller))
	}
	return options
}

// always shows the credentials also to a registry that lets everybody in at
// first: it may ask for more only at a push. The first call of all goes without,
// so that a registry with tokens says so.
type always struct {
	next                http.RoundTripper
	host, authorization string
}

func (a *always) RoundTrip(r *http.Request) (*http.Response, error) {
	if a.authorization != "" && r.Header.Get("Authorization") == "" && r.URL.Host == a.host &&
		strings.HasPrefix(r.URL.Path, "/v2/") && r.URL.Path != "/v2/" {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", a.authorization)
	}
	return a.next.RoundTrip(r)
}

// translate gives the registry's answers this package's words.
func translate(err error) error {
	var answer *transport.Error
	if !errors.As(err, &answer) {
		return err
	}
	switch answer.StatusCode {
	case http.StatusNotFound:
		return ErrNotFound
	case http.StatusUnauthorized, http.StatusForbidden:
		return ErrForbidden
	}
	return err
}

// reading calls read as the caller, and once more as the engine if the registry
// refuses the caller and the package is public.
func (s *Store) reading(ctx context.Context, authorization string, p Package, read func(repo name.Repository, options []remote.Option) error) error {
	repo, err := s.repository(p)
	if err != nil {
		return err
	}
	err = translate(read(repo, s.options(ctx, authorization)))
	if !errors.Is(err, ErrForbidden) {
		return err
	}
	authorization, ownErr := s.ownAuthorization(ctx, repo)
	if ownErr != nil {
		return err
	}
	own := s.options(ctx, authorization)
	if public, ownErr := s.isPublic(repo, own); ownErr != nil || !public {
		return err
	}
	return translate(read(repo, own))
}

// ownAuthorization is the engine's own; "" if it has none.
func (s *Store) ownAuthorization(ctx context.Context, repo name.Repository) (string, error) {
	if s.Own == nil {
		return "", ErrForbidden
	}
	access, err := s.Own(ctx, repo.Name())
	if err != nil || access.Username == "" {
		return "", err
	}
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(access.Username+":"+access.Password.Reveal())), nil
}

// Login tells whether the registry takes a caller's credentials.
func (s *Store) Login(ctx context.Context, authorization string) error {
	_, credentials, _ := strings.Cut(authorization, " ")
	decoded, err := base64.StdEncoding.DecodeString(credentials)
	if err != nil {
		return ErrForbidden
	}
	user, password, _ := strings.Cut(string(decoded), ":")
	auth := authn.FromConfig(authn.AuthConfig{Username: user, Password: password})
	through, err := transport.NewWithContext(ctx, s.registry, auth, s.Transport, nil)
	if err != nil {
		return translate(err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.registry.Scheme()+"://"+s.registry.RegistryStr()+"/v2/", nil)
	if err != nil {
		return err
	}
	// A registry that lets everybody in does not ask for credentials. One that
	// has users says whether these are one's.
	request.SetBasicAuth(user, password)
	response, err := through.RoundTrip(request)
	if err != nil {
		return translate(err)
	}
	defer response.Body.Close()
	return translate(transport.CheckError(response, http.StatusOK))
}

// Ping tells whether the registry answers.
func (s *Store) Ping(ctx context.Context) error {
	_, err := transport.Ping(ctx, s.registry, s.Transport)
	return err
}
