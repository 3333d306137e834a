package store

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/blang/semver/v4"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/sync/errgroup"
)

// Release is one release of a package in one media type.
type Release struct {
	Version   string
	MediaType string // short: helm
	Created   time.Time
	// Digest is of the application registry's manifest, with sha256: before it.
	Digest string
	// Content is the digest of the uncompressed archive, in hex without prefix.
	Content string
	// Size is of the compressed archive.
	Size int64

	layer v1.Hash
}

// ManifestType is the media type of a release, ContentType of its archive.
func ManifestType(short string) string {
	return "application/vnd.cnr.package-manifest." + short + ".v0.json"
}

// ContentType is the media type of a release's archive.
func ContentType(short string) string {
	return "application/vnd.cnr.package." + short + ".v0.tar+gzip"
}

const (
	defaultType       = "helm"
	annotationContent = "io.cnr.content.digest"
	annotationCreated = "org.opencontainers.image.created"
	annotationVersion = "org.opencontainers.image.version"
	// maxTag is how long a registry's tag may be.
	maxTag = 128
	// parallel bounds how many manifests are asked for at once.
	parallel = 8
)

var shortType = regexp.MustCompile(`\A[a-z0-9][a-z0-9-]{0,30}\z`)

// tagOf is the tag of a release: + cannot be in one, and _ not in a version.
func tagOf(version, mediaType string) (string, error) {
	if _, err := semver.Parse(version); err != nil || !shortType.MatchString(mediaType) {
		return "", ErrNotFound
	}
	tag := strings.ReplaceAll(version, "+", "_")
	if mediaType != defaultType {
		tag += "__" + mediaType
	}
	if len(tag) > maxTag {
		return "", fmt.Errorf("release %s: %w", version, ErrName)
	}
	return tag, nil
}

func parseTag(tag string) (version, mediaType string, ok bool) {
	version, mediaType, found := strings.Cut(tag, "__")
	if !found {
		mediaType = defaultType
	}
	version = strings.Replace(version, "_", "+", 1)
	_, err := semver.Parse(version)
	return version, mediaType, err == nil && shortType.MatchString(mediaType)
}

// Releases returns a package's releases, the newest version first. A package
// that is not there is ErrNotFound; one without releases has none.
func (s *Store) Releases(ctx context.Context, authorization string, p Package) ([]Release, error) {
	var releases []Release
	err := s.reading(ctx, authorization, p, func(repo name.Repository, options []remote.Option) error {
		var err error
		releases, err = s.releases(ctx, repo, options)
		return err
	})
	return releases, err
}

// Summary returns a package's releases as Releases does, and whether everybody
// may read it.
func (s *Store) Summary(ctx context.Context, authorization string, p Package) (releases []Release, public bool, err error) {
	err = s.reading(ctx, authorization, p, func(repo name.Repository, options []remote.Option) error {
		var err error
		if releases, err = s.releases(ctx, repo, options); err != nil || len(releases) == 0 {
			return err
		}
		public, err = s.isPublic(repo, options)
		return err
	})
	return releases, public, err
}

func (s *Store) releases(ctx context.Context, repo name.Repository, options []remote.Option) ([]Release, error) {
	tags, err := remote.List(repo, options...)
	if err != nil {
		return nil, err
	}
	if len(tags) == 0 {
		return nil, ErrNotFound
	}
	found := make([]*Release, len(tags))
	group, _ := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i, tag := range tags {
		version, mediaType, ok := parseTag(tag)
		if !ok {
			continue
		}
		group.Go(func() error {
			release, err := read(repo.Tag(tag), options)
			if errors.Is(translate(err), ErrNotFound) {
				return nil // deleted meanwhile, or no package's release
			}
			if err == nil {
				release.Version, release.MediaType = version, mediaType
				found[i] = release
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	releases := []Release{}
	for _, r := range found {
		if r != nil {
			releases = append(releases, *r)
		}
	}
	slices.SortFunc(releases, func(a, b Release) int {
		return cmp.Or(semver.MustParse(b.Version).Compare(semver.MustParse(a.Version)), strings.Compare(a.Version, b.Version), strings.Compare(a.MediaType, b.MediaType))
	})
	return releases, nil
}

// read reads what a tag says of its release.
func read(tag name.Tag, options []remote.Option) (*Release, error) {
	descriptor, err := remote.Get(tag, options...)
	if err != nil {
		return nil, err
	}
	manifest, err := v1.ParseManifest(bytes.NewReader(descriptor.Manifest))
	if err != nil {
		return nil, ErrNotFound
	}
	content := manifest.Annotations[annotationContent]
	created, err := time.Parse(time.RFC3339, manifest.Annotations[annotationCreated])
	if err != nil || len(manifest.Layers) != 1 || len(content) != 2*sha256.Size {
		return nil, ErrNotFound
	}
	return &Release{
		Created: created, Digest: manifest.Config.Digest.String(), Content: content,
		Size: manifest.Layers[0].Size, layer: manifest.Layers[0].Digest,
	}, nil
}

// Blob returns a release's archive, as it was pushed.
func (s *Store) Blob(ctx context.Context, authorization string, p Package, r *Release) ([]byte, error) {
	var blob []byte
	err := s.reading(ctx, authorization, p, func(repo name.Repository, options []remote.Option) error {
		layer, err := remote.Layer(repo.Digest(r.layer.String()), options...)
		if err != nil {
			return err
		}
		reader, err := layer.Compressed()
		if err != nil {
			return err
		}
		defer reader.Close()
		blob, err = io.ReadAll(io.LimitReader(reader, r.Size+1))
		if err == nil && int64(len(blob)) != r.Size {
			err = fmt.Errorf("the archive of %s %s has not the size that its manifest says", p, r.Version)
		}
		return err
	})
	return blob, err
}

// Put is what is pushed.
type Put struct {
	Version, MediaType string
	Blob               []byte
	// Force replaces a release that is there.
	Force bool
	// Public makes a package readable by everybody; only a package's first
	// release says so.
	Public bool
	// MaxContent bounds the uncompressed archive.
	MaxContent int64
	Now        time.Time
}

// ErrBlob tells that what was pushed is no compressed archive.
var ErrBlob = errors.New("the blob is not compressed by gzip, or its content is too large")

// Put stores a release. With the same content as a release of the package, it
// keeps the bytes that are there.
func (s *Store) Put(ctx context.Context, authorization string, p Package, put *Put) (*Release, error) {
	repo, err := s.repository(p)
	if err != nil {
		return nil, err
	}
	tag, err := tagOf(put.Version, put.MediaType)
	if err != nil {
		return nil, err
	}
	content, err := contentDigest(put.Blob, put.MaxContent)
	if err != nil {
		// Who may not push learns that first, and that images are there.
		if permit := s.Permit(ctx, authorization, p); permit != nil {
			return nil, permit
		}
		return nil, err
	}
	unlock, err := s.changing.Lock(ctx, p.String())
	if err != nil {
		return nil, err
	}
	defer unlock()
	options := s.options(ctx, authorization)
	present, isNew, err := s.present(ctx, repo, options)
	if err != nil {
		return nil, err
	}
	layer := &layer{blob: put.Blob, mediaType: ContentType(put.MediaType)}
	for _, r := range present {
		if r.Version == put.Version && r.MediaType == put.MediaType && !put.Force {
			return nil, ErrExists
		}
		if r.Content == content && layer.stored == nil {
			layer.stored = &r
		}
	}
	artifact, release, err := newArtifact(put, layer, content)
	if err != nil {
		return nil, err
	}
	if isNew {
		if err := s.setPublic(repo, options, put.Public); err != nil {
			return nil, translate(err)
		}
	}
	return release, translate(remote.Write(repo.Tag(tag), artifact, options...))
}

// present are the releases of a package that is to be changed. Without any, it
// is new, or known as a package whose releases are all deleted; or else the
// repository holds images.
func (s *Store) present(ctx context.Context, repo name.Repository, options []remote.Option) (releases []Release, isNew bool, err error) {
	releases, err = s.releases(ctx, repo, options)
	if errors.Is(translate(err), ErrNotFound) {
		return nil, true, nil
	}
	if err != nil || len(releases) > 0 {
		return releases, false, translate(err)
	}
	_, err = remote.Get(repo.Tag(packageTag), options...)
	if errors.Is(translate(err), ErrNotFound) {
		return nil, false, ErrImage
	}
	return nil, false, translate(err)
}

// Permit tells whether the caller may push to a package, without doing so.
func (s *Store) Permit(ctx context.Context, authorization string, p Package) error {
	repo, err := s.repository(p)
	if err != nil {
		return err
	}
	options := s.options(ctx, authorization)
	if _, _, err := s.present(ctx, repo, options); err != nil {
		return err
	}
	layer := &layer{blob: []byte("{}"), mediaType: "application/json"}
	return translate(remote.WriteLayer(repo, layer, options...))
}

// Delete ends a release; the registry's history keeps it for its time.
func (s *Store) Delete(ctx context.Context, authorization string, p Package, version, mediaType string) error {
	repo, err := s.repository(p)
	if err != nil {
		return err
	}
	tag, err := tagOf(version, mediaType)
	if err != nil {
		return err
	}
	unlock, err := s.changing.Lock(ctx, p.String())
	if err != nil {
		return err
	}
	defer unlock()
	options := s.options(ctx, authorization)
	descriptor, err := remote.Get(repo.Tag(tag), options...)
	if err != nil {
		return translate(err)
	}
	err = remote.Delete(repo.Tag(tag), options...)
	var answer *transport.Error
	if errors.As(err, &answer) && (answer.StatusCode == http.StatusBadRequest || answer.StatusCode == http.StatusMethodNotAllowed) {
		// Some registries delete by digest only. No other tag has this one:
		// the version is in the manifest.
		err = remote.Delete(repo.Digest(descriptor.Digest.String()), options...)
	}
	return translate(err)
}

func contentDigest(blob []byte, limit int64) (string, error) {
	reader, err := gzip.NewReader(bytes.NewReader(blob))
	if err != nil {
		return "", ErrBlob
	}
	sum := sha256.New()
	n, err := io.Copy(sum, io.LimitReader(reader, limit+1))
	if err != nil || n > limit {
		return "", ErrBlob
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// manifestText is the application registry's manifest as its digest is made
// of: sorted keys, one space after colons and commas.
func manifestText(mediaType, content string, size int64) []byte {
	quote := func(s string) string { b, _ := json.Marshal(s); return string(b) }
	return fmt.Appendf(nil, `{"content": {"digest": %s, "mediaType": %s, "size": %d, "urls": []}, "mediaType": %s}`,
		quote(content), quote(ContentType(mediaType)), size, quote(ManifestType(mediaType)))
}
