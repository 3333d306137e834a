package image

import (
	"context"
	"encoding/json"
	"maps"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"

	"github.com/iib-engine/iib/sdk"
)

// PutList makes a list of images that are in a repository, by Go architecture
// name, and puts it under the tag of spec, or by its digest if spec has none.
// It reads each image's manifest and configuration, so that a list never
// promises an architecture that its image does not have: that is Invalid.
// Entries are sorted by architecture; the same images give the same digest.
func (c *Client) PutList(ctx context.Context, spec string, images map[string]sdk.Digest, oci bool) (*Manifest, error) {
	ref, err := ParseRef(spec)
	if err != nil {
		return nil, err
	}
	if len(images) == 0 {
		return nil, sdk.Errorf(sdk.Invalid, "list %s: it would have no images", ref)
	}
	media := dockerTypes
	if oci {
		media = ociTypes
	}
	arches := slices.Sorted(maps.Keys(images))
	list := v1.IndexManifest{SchemaVersion: 2, MediaType: media.list, Manifests: make([]v1.Descriptor, len(arches))}
	g, groupCtx := errgroup.WithContext(ctx)
	g.SetLimit(c.parallel)
	for i, arch := range arches {
		g.Go(func() (err error) {
			list.Manifests[i], err = c.listEntry(groupCtx, ref, arch, images[arch], media)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	raw, err := json.Marshal(list)
	if err != nil {
		return nil, sdk.Errorf(sdk.Internal, "list %s: %v", ref, err)
	}
	digest, err := c.putManifest(ctx, ref, string(media.list), raw, nil)
	if err != nil {
		return nil, err
	}
	return parseManifest(ref.WithDigest(digest), raw)
}

// listEntry describes an image of the repository, after making sure that it is
// one for the architecture.
func (c *Client) listEntry(ctx context.Context, ref Ref, arch string, digest sdk.Digest, media mediaTypes) (v1.Descriptor, error) {
	if !validDigest(digest) {
		return v1.Descriptor{}, sdk.Errorf(sdk.Invalid, "list %s: %q is not the digest of an image for %s", ref, printable(string(digest), 100), arch)
	}
	m, err := c.manifest(ctx, ref.WithDigest(digest))
	if err != nil {
		return v1.Descriptor{}, err
	}
	if types.MediaType(m.MediaType) != media.manifest {
		return v1.Descriptor{}, sdk.Errorf(sdk.Invalid, "list %s: the image for %s, %s, has the media type %q; a list of %s images cannot have it", ref, arch, digest, m.MediaType, media.name)
	}
	info, err := c.info(ctx, m)
	if err != nil {
		return v1.Descriptor{}, err
	}
	if info.Arch != arch {
		return v1.Descriptor{}, sdk.Errorf(sdk.Invalid, "list %s: the image that was made for %s, %s, is one for %q", ref, arch, digest, info.Arch)
	}
	return v1.Descriptor{
		MediaType: media.manifest,
		Size:      int64(len(m.Raw)),
		Digest:    hashOf(digest),
		Platform:  &v1.Platform{Architecture: arch, OS: info.Config.OS, Variant: info.Config.Variant},
	}, nil
}
