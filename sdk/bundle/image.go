package bundle

import (
	"context"
	"slices"
	"time"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/image"
)

// Image is a bundle image in a registry.
type Image struct {
	// Spec is as it was asked for, Pinned by digest: that of the list, if the
	// image is one.
	Spec   string
	Pinned string
	Digest sdk.Digest
	// Labels are those of the list's first image.
	Labels map[string]string
	// Arches are sorted, and at least one.
	Arches []string

	client   *image.Client
	manifest *image.Manifest
	info     *image.Info
}

// limits bound what a bundle image unpacks to. A bundle is text, but it may
// lie on top of an ordinary base image.
var limits = image.Limits{Blob: 1 << 30, File: 256 << 20, Total: 4 << 30, Entries: 200_000}

// ReadImage looks up a bundle image. It reads no layer.
func ReadImage(ctx context.Context, client *image.Client, spec string) (*Image, error) {
	client = client.WithLimits(limits)
	manifest, err := client.Resolve(ctx, spec)
	if err != nil {
		return nil, err
	}
	arches, err := client.ArchesOf(ctx, manifest)
	if err != nil {
		return nil, err
	}
	if len(arches) == 0 || slices.Contains(arches, "") {
		return nil, sdk.Errorf(sdk.Invalid, "image %s does not tell which architectures it is for", spec)
	}
	info, err := client.InspectManifest(ctx, manifest, "")
	if err != nil {
		return nil, err
	}
	return &Image{
		Spec: spec, Pinned: manifest.Pinned(), Digest: manifest.Digest, Labels: info.Labels, Arches: arches,
		client: client, manifest: manifest, info: info,
	}, nil
}

// Created returns the creation time of the youngest architecture's image.
func (i *Image) Created(ctx context.Context) (time.Time, error) {
	newest := i.info.Created
	for _, arch := range i.Arches {
		info, err := i.client.InspectManifest(ctx, i.manifest, arch)
		if err != nil {
			return time.Time{}, err
		}
		if info.Created.After(newest) {
			newest = info.Created
		}
	}
	return newest, nil
}

// Unpack writes the bundle's manifests and metadata below dir, which is
// created. Of a list it takes the first image: all have the same files.
func (i *Image) Unpack(ctx context.Context, dir string) error {
	err := i.client.Files(i.info).Extract(ctx, dir, "/"+manifestsDir, "/"+metadataDir)
	if sdk.CodeOf(err) == sdk.NotFound {
		return sdk.Errorf(sdk.Invalid, "%s is no bundle image, which has the directories /%s and /%s: %w",
			i.Spec, manifestsDir, metadataDir, err)
	}
	return err
}

// Digests asks registries for what pull specs stand for.
func Digests(client *image.Client) DigestFunc {
	return func(ctx context.Context, spec string) (string, error) {
		digest, err := client.Digest(ctx, spec)
		return string(digest), err
	}
}

// Labels asks registries for the labels of images; of a list it is the first
// image that counts.
func Labels(client *image.Client) LabelsFunc {
	return func(ctx context.Context, spec string) (map[string]string, error) {
		info, err := client.Inspect(ctx, spec, "")
		if err != nil {
			return nil, err
		}
		return info.Labels, nil
	}
}
