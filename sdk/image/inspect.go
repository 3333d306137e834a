package image

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/iib-engine/iib/sdk"
)

// Info is one architecture's image. It must not be changed.
type Info struct {
	// Ref names the image itself, not the list it was found in, by digest.
	Ref       Ref
	Digest    sdk.Digest
	MediaType string
	Arch      string
	Labels    map[string]string
	// Created is zero when the image does not tell.
	Created time.Time
	// Layers are ordered from the bottom to the top.
	Layers []Layer
	// Config is the whole configuration, with the history.
	Config *v1.ConfigFile
}

// Pinned returns the pull spec by digest.
func (i *Info) Pinned() string { return i.Ref.String() }

// Layer is a layer of an image in a registry.
type Layer struct {
	Digest    sdk.Digest
	DiffID    sdk.Digest
	Size      int64
	MediaType string
}

// Inspect reads an image's manifest and configuration. Of a list it takes the
// image for arch, or the first one if arch is empty. An arch that the image
// does not have is NotFound.
func (c *Client) Inspect(ctx context.Context, spec, arch string) (*Info, error) {
	m, err := c.Resolve(ctx, spec)
	if err != nil {
		return nil, err
	}
	return c.InspectManifest(ctx, m, arch)
}

// InspectManifest is Inspect of what Resolve returned.
func (c *Client) InspectManifest(ctx context.Context, m *Manifest, arch string) (*Info, error) {
	if !m.IsList() {
		info, err := c.info(ctx, m)
		if err != nil {
			return nil, err
		}
		if arch != "" && info.Arch != arch {
			return nil, missingArch(m.Ref, arch, []string{info.Arch})
		}
		return info, nil
	}
	entry, err := c.pick(ctx, m, arch)
	if err != nil {
		return nil, err
	}
	child, err := c.child(ctx, m, entry)
	if err != nil {
		return nil, err
	}
	info, err := c.info(ctx, child)
	if err != nil {
		return nil, err
	}
	if arch != "" && info.Arch != arch {
		return nil, sdk.Errorf(sdk.Invalid, "image %s: the list names %s as the image for %s, but it is one for %s", m.Ref, entry.Digest, arch, info.Arch)
	}
	return info, nil
}

// Arches returns the Go architecture names that an image has, sorted.
func (c *Client) Arches(ctx context.Context, spec string) ([]string, error) {
	m, err := c.Resolve(ctx, spec)
	if err != nil {
		return nil, err
	}
	return c.ArchesOf(ctx, m)
}

// ArchesOf is Arches of what Resolve returned.
func (c *Client) ArchesOf(ctx context.Context, m *Manifest) ([]string, error) {
	if !m.IsList() {
		info, err := c.info(ctx, m)
		if err != nil {
			return nil, err
		}
		return []string{info.Arch}, nil
	}
	entries, err := c.runnable(ctx, m)
	if err != nil {
		return nil, err
	}
	var arches []string
	for _, e := range entries {
		arches = append(arches, e.Platform.Architecture)
	}
	slices.Sort(arches)
	return slices.Compact(arches), nil
}

// pick chooses a list's entry for an architecture.
func (c *Client) pick(ctx context.Context, m *Manifest, arch string) (v1.Descriptor, error) {
	if len(m.list.Manifests) == 0 {
		return v1.Descriptor{}, sdk.Errorf(sdk.Invalid, "image %s: the list has no images", m.Ref)
	}
	if arch == "" {
		return m.list.Manifests[0], nil
	}
	entries, err := c.runnable(ctx, m)
	if err != nil {
		return v1.Descriptor{}, err
	}
	var found *v1.Descriptor
	var have []string
	for i, e := range entries {
		have = append(have, e.Platform.Architecture)
		if e.Platform.Architecture != arch {
			continue
		}
		// The entry without a variant runs on every machine of the architecture.
		if found == nil || (found.Platform.Variant != "" && e.Platform.Variant == "") {
			found = &entries[i]
		}
	}
	if found == nil {
		return v1.Descriptor{}, missingArch(m.Ref, arch, have)
	}
	return *found, nil
}

// runnable returns the entries of a list that are Linux images, each with its
// platform: builders put attestations in lists too.
func (c *Client) runnable(ctx context.Context, m *Manifest) ([]v1.Descriptor, error) {
	var entries []v1.Descriptor
	for _, d := range m.list.Manifests {
		if d.Annotations["vnd.docker.reference.type"] != "" {
			continue
		}
		if d.Platform == nil || d.Platform.Architecture == "" {
			child, err := c.child(ctx, m, d)
			if err != nil {
				return nil, err
			}
			info, err := c.info(ctx, child)
			if err != nil {
				return nil, err
			}
			d.Platform = &v1.Platform{OS: info.Config.OS, Architecture: info.Arch, Variant: info.Config.Variant}
		}
		if d.Platform.Architecture == "unknown" || (d.Platform.OS != "" && d.Platform.OS != "linux") {
			continue
		}
		entries = append(entries, d)
	}
	return entries, nil
}

func missingArch(ref Ref, arch string, have []string) error {
	slices.Sort(have)
	have = slices.Compact(have)
	if len(have) == 0 {
		return sdk.Errorf(sdk.NotFound, "image %s: it has no image for %s, nor for any other architecture", ref, arch)
	}
	return sdk.Errorf(sdk.NotFound, "image %s: it has no image for %s, only for %s", ref, arch, strings.Join(have, ", "))
}

// info reads the configuration of an image that is not a list.
func (c *Client) info(ctx context.Context, m *Manifest) (*Info, error) {
	switch m.image.Config.MediaType {
	case types.DockerConfigJSON, types.OCIConfigJSON:
	default:
		return nil, sdk.Errorf(sdk.Invalid, "image %s: it is not a container image, its configuration has the media type %q", m.Ref, printable(string(m.image.Config.MediaType), 100))
	}
	raw, err := c.readBlob(ctx, m.Ref, digestOf(m.image.Config.Digest), m.image.Config.Size, c.limits.Config, "configuration")
	if err != nil {
		return nil, err
	}
	config := new(v1.ConfigFile)
	if err := json.Unmarshal(raw, config); err != nil {
		return nil, sdk.Errorf(sdk.Invalid, "image %s: the configuration is malformed (%s)", m.Ref, printable(err.Error(), 200))
	}
	if have, want := len(config.RootFS.DiffIDs), len(m.image.Layers); have != want {
		return nil, sdk.Errorf(sdk.Invalid, "image %s: the configuration tells of %d layers, the manifest of %d", m.Ref, have, want)
	}
	info := &Info{
		Ref:       m.Ref,
		Digest:    m.Digest,
		MediaType: m.MediaType,
		Arch:      config.Architecture,
		Labels:    config.Config.Labels,
		Created:   config.Created.UTC(),
		Config:    config,
	}
	for i, d := range m.image.Layers {
		info.Layers = append(info.Layers, Layer{
			Digest:    digestOf(d.Digest),
			DiffID:    digestOf(config.RootFS.DiffIDs[i]),
			Size:      d.Size,
			MediaType: string(d.MediaType),
		})
	}
	return info, nil
}
