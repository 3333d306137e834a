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
	seen := make(map[Package]bool)
	var packages []Package
	collect := func(authorization string, only func(Package) bool) error {
		repositories, err := s.repositories(ctx, authorization)
		if err != nil {
			return err
		}
		for _, repository := range repositories {
			p, ok := s.packageAt(repository)
			if ok && !seen[p] && (namespace == "" || p.Namespace == namespace) && only(p) {
				seen[p] = true
				packages = append(packages, p)
			}
		}
		return nil
	}
	err := collect(authorization, func(Package) bool { return true })
	if err != nil && !errors.Is(err, ErrForbidden) && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	// Public packages are listed for everybody, whatever the registry thinks.
	if s.Own != nil {
		list := s.registry.Repo(strings.TrimPrefix(s.Prefix+"/list", "/"))
		own, err := s.ownAuthorization(ctx, list)
		if err == nil && own != "" {
			_ = collect(own, func(p Package) bool {
				repo, err := s.repository(p)
				if err != nil {
					return false
				}
				public, err := s.isPublic(repo, s.options(ctx, own))
				return err == nil && public
			})
		}
	}
	return packages, nil
}

// Public tells whether everybody may read a package.
func (s *Store) Public(ctx context.Context, authorization string, p Package) (bool, error) {
	var result bool
	err := s.reading(ctx, authorization, p, func(repo name.Repository, options []remote.Option) error {
		var err error
		result, err = s.isPublic(repo, options)
		return err
	})
	return result, err
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
