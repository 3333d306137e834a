package image

import (
	"context"
	"encoding/json"
	"maps"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

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
	media, image := dockerTypes, "Docker v2 schema 2"
	if oci {
		media, image = ociTypes, "OCI"
	}
	if len(images) == 0 {
		return nil, sdk.Errorf(sdk.Invalid, "list %s: it would have no images", ref)
	}
	list := v1.IndexManifest{SchemaVersion: 2, MediaType: media.list}
	for _, arch := range slices.Sorted(maps.Keys(images)) {
		digest := images[arch]
		if !validDigest(digest) {
			return nil, sdk.Errorf(sdk.Invalid, "list %s: %q is not the digest of an image for %s", ref, printable(string(digest), 100), arch)
		}
		m, err := c.manifest(ctx, ref.WithDigest(digest))
		if err != nil {
			return nil, err
		}
		if types.MediaType(m.MediaType) != media.manifest {
			return nil, sdk.Errorf(sdk.Invalid, "list %s: the image for %s, %s, has the media type %q; the list needs %s images", ref, arch, digest, m.MediaType, image)
		}
		info, err := c.info(ctx, m)
		if err != nil {
			return nil, err
		}
		if info.Arch != arch {
			return nil, sdk.Errorf(sdk.Invalid, "list %s: the image that was made for %s, %s, is one for %q", ref, arch, digest, info.Arch)
		}
		list.Manifests = append(list.Manifests, v1.Descriptor{
			MediaType: media.manifest,
			Size:      int64(len(m.Raw)),
			Digest:    hashOf(digest),
			Platform:  &v1.Platform{Architecture: arch, OS: info.Config.OS, Variant: info.Config.Variant},
		})
	}
	raw, err := json.Marshal(list)
	if err != nil {
		return nil, sdk.Errorf(sdk.Internal, "list %s: %v", ref, err)
	}
	digest, err := c.putManifest(ctx, ref, string(media.list), raw)
	if err != nil {
		return nil, err
	}
	return parseManifest(ref.WithDigest(digest), raw)
}
