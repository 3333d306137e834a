package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"
)

const (
	// packageTag cannot be a version's tag: those begin with a digit.
	packageTag       = "_package"
	annotationPublic = "io.cnr.package.visibility"
	packageType      = types.MediaType("application/vnd.cnr.package.v0+json")
	public           = "public"
	private          = "private"
)

// Packages returns the packages of a namespace that the caller may see, or
// those of all namespaces for "".
func (s *Store) Packages(ctx context.Context, authorization, namespace string) ([]Package, error) {
	packages, err := s.listed(ctx, authorization, namespace)
	if err != nil && !errors.Is(err, ErrForbidden) && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	return append(packages, s.publicOnes(ctx, namespace, packages)...), nil
}

// listed are the packages that the registry lists for a caller.
func (s *Store) listed(ctx context.Context, authorization, namespace string) ([]Package, error) {
	repositories, err := s.repositories(ctx, authorization)
	if err != nil {
		return nil, err
	}
	var packages []Package
	for _, repository := range repositories {
		if p, ok := s.packageAt(repository); ok && (namespace == "" || p.Namespace == namespace) {
			packages = append(packages, p)
		}
	}
	return packages, nil
}

// publicOnes are the packages that are listed for everybody, whatever the
// registry thinks, besides those that are known. The engine looks for them with
// its own credentials; without those, there are none.
func (s *Store) publicOnes(ctx context.Context, namespace string, known []Package) []Package {
	if s.Own == nil {
		return nil
	}
	list := s.registry.Repo(strings.TrimPrefix(s.Prefix+"/list", "/"))
	own, err := s.ownAuthorization(ctx, list)
	if err != nil || own == "" {
		return nil
	}
	all, err := s.listed(ctx, own, namespace)
	if err != nil {
		return nil
	}
	seen := make(map[Package]bool)
	for _, p := range known {
		seen[p] = true
	}
	options := s.options(ctx, own)
	public := make([]bool, len(all))
	var group errgroup.Group
	group.SetLimit(parallel)
	for i, p := range all {
		repo, err := s.repository(p)
		if err != nil || seen[p] {
			continue
		}
		seen[p] = true
		group.Go(func() error {
			is, err := s.isPublic(repo, options)
			public[i] = err == nil && is
			return nil
		})
	}
	_ = group.Wait()
	var found []Package
	for i, p := range all {
		if public[i] {
			found = append(found, p)
		}
	}
	return found
}

// SetPublic makes a package readable by everybody, or not, with the caller's
// right to change it.
func (s *Store) SetPublic(ctx context.Context, authorization string, p Package, public bool) error {
	repo, err := s.repository(p)
	if err != nil {
		return err
	}
	unlock, err := s.changing.Lock(ctx, p.String())
	if err != nil {
		return err
	}
	defer unlock()
	options := s.options(ctx, authorization)
	if now, err := s.isPublic(repo, options); err == nil && now == public {
		return nil
	}
	return translate(s.setPublic(repo, options, public))
}

func (s *Store) isPublic(repo name.Repository, options []remote.Option) (bool, error) {
	descriptor, err := remote.Get(repo.Tag(packageTag), options...)
	if errors.Is(translate(err), ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	manifest, err := v1.ParseManifest(bytes.NewReader(descriptor.Manifest))
	return err == nil && manifest.Annotations[annotationPublic] == public, err
}

func (s *Store) setPublic(repo name.Repository, options []remote.Option, isPublic bool) error {
	visibility := private
	if isPublic {
		visibility = public
	}
	config, err := json.Marshal(map[string]string{"visibility": visibility})
	if err != nil {
		return err
	}
	l := &layer{blob: config, mediaType: "application/json"}
	digest, err := l.Digest()
	if err != nil {
		return err
	}
	image, _, err := assemble(config, packageType, l,
		v1.Descriptor{MediaType: types.MediaType(l.mediaType), Digest: digest, Size: int64(len(config))},
		map[string]string{annotationPublic: visibility})
	if err != nil {
		return err
	}
	return remote.Write(repo.Tag(packageTag), image, options...)
}
