package image

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"

	"github.com/iib-engine/iib/sdk"
)

// Assembly says what an image of one architecture is made of.
type Assembly struct {
	// Base is what Inspect returned for the image below, nil for scratch.
	Base *Info
	// Arch is the Go architecture name; it must be Base's where there is one.
	Arch string
	// Layers lie on top of Base's, in this order. Each is a file, compressed
	// with gzip, or with zstd if OCI is set.
	Layers []sdk.Layer
	Config sdk.ImageConfig
	// OCI asks for OCI media types instead of Docker v2 schema 2.
	OCI bool
}

// Built is an assembled image that has not been pushed. It must not be changed.
type Built struct {
	Digest    sdk.Digest
	MediaType string
	Manifest  []byte
	Config    []byte

	base   *Info
	layers []sdk.Layer
}

// Assemble makes the configuration and the manifest of an image. Nothing of the
// base is read, whatever its size, and equal assemblies give equal bytes.
//
// The configuration is the base's with a's on top: labels are merged, ports are
// added, and the fields that are set replace those of the base. The error is
// Invalid, or Internal if a layer's file cannot be read.
func Assemble(a Assembly) (*Built, error) {
	if a.Arch == "" {
		return nil, sdk.Errorf(sdk.Invalid, "assemble image: no architecture is given")
	}
	if a.Base != nil && a.Base.Arch != a.Arch {
		return nil, sdk.Errorf(sdk.Invalid, "assemble image for %s: the base %s is one for %s", a.Arch, a.Base.Ref, a.Base.Arch)
	}
	media := dockerTypes
	if a.OCI {
		media = ociTypes
	}
	layers, err := describeLayers(a, media)
	if err != nil {
		return nil, err
	}
	config, err := json.Marshal(configure(a))
	if err != nil {
		return nil, sdk.Errorf(sdk.Internal, "assemble image for %s: %v", a.Arch, err)
	}
	manifest, err := json.Marshal(v1.Manifest{
		SchemaVersion: 2,
		MediaType:     media.manifest,
		Config:        v1.Descriptor{MediaType: media.config, Size: int64(len(config)), Digest: hashOf(sum(config))},
		Layers:        layers,
	})
	if err != nil {
		return nil, sdk.Errorf(sdk.Internal, "assemble image for %s: %v", a.Arch, err)
	}
	return &Built{
		Digest:    sum(manifest),
		MediaType: string(media.manifest),
		Manifest:  manifest,
		Config:    config,
		base:      a.Base,
		layers:    a.Layers,
	}, nil
}

// mediaTypes are those of one of the two families. zstd is empty where there
// is none.
type mediaTypes struct {
	name                          string
	list, manifest, config        types.MediaType
	uncompressed, gzipped, zstded types.MediaType
}

var dockerTypes = mediaTypes{
	name:         "Docker",
	list:         types.DockerManifestList,
	manifest:     types.DockerManifestSchema2,
	config:       types.DockerConfigJSON,
	uncompressed: types.DockerUncompressedLayer,
	gzipped:      types.DockerLayer,
}

var ociTypes = mediaTypes{
	name:         "OCI",
	list:         types.OCIImageIndex,
	manifest:     types.OCIManifestSchema1,
	config:       types.OCIConfigJSON,
	uncompressed: types.OCIUncompressedLayer,
	gzipped:      types.OCILayer,
	zstded:       types.OCILayerZStd,
}

// layer returns the family's name for a layer of any of the families.
func (m mediaTypes) layer(t types.MediaType) (types.MediaType, bool) {
	var mine types.MediaType
	switch t {
	case types.DockerLayer, types.OCILayer:
		mine = m.gzipped
	case types.DockerUncompressedLayer, types.OCIUncompressedLayer:
		mine = m.uncompressed
	case types.OCILayerZStd:
		mine = m.zstded
	}
	return mine, mine != ""
}

func describeLayers(a Assembly, media mediaTypes) ([]v1.Descriptor, error) {
	ds := []v1.Descriptor{}
	if a.Base != nil {
		for _, l := range a.Base.Layers {
			t, ok := media.layer(types.MediaType(l.MediaType))
			if !ok {
				return nil, sdk.Errorf(sdk.Invalid, "assemble image for %s: the layer %s of the base %s has the media type %q, which %s images cannot have; build with OCI media types, or use another base",
					a.Arch, l.Digest, a.Base.Ref, printable(l.MediaType, 100), media.name)
			}
			ds = append(ds, v1.Descriptor{MediaType: t, Size: l.Size, Digest: hashOf(l.Digest)})
		}
	}
	for _, l := range a.Layers {
		if !validDigest(sdk.Digest(l.Digest)) || !validDigest(sdk.Digest(l.DiffID)) || l.Size <= 0 {
			return nil, sdk.Errorf(sdk.Invalid, "assemble image for %s: the layer %s has no valid digest, diff ID or size", a.Arch, l.Path)
		}
		sniffed, err := sniff(l.Path)
		if err != nil {
			return nil, err
		}
		t, ok := media.layer(sniffed)
		if !ok {
			return nil, sdk.Errorf(sdk.Invalid, "assemble image for %s: the layer %s is compressed with zstd, which %s images cannot have; build with OCI media types", a.Arch, l.Path, media.name)
		}
		ds = append(ds, v1.Descriptor{MediaType: t, Size: l.Size, Digest: hashOf(sdk.Digest(l.Digest))})
	}
	if len(ds) > maxDescriptors {
		return nil, sdk.Errorf(sdk.Invalid, "assemble image for %s: it would have %d layers; at most %d are allowed", a.Arch, len(ds), maxDescriptors)
	}
	return ds, nil
}

var (
	gzipMagic = []byte{0x1f, 0x8b}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
)

// sniff tells a layer's media type, in OCI's words, from how its file begins.
func sniff(path string) (types.MediaType, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", sdk.Errorf(sdk.Internal, "layer file: %v", err)
	}
	defer f.Close()
	magic := make([]byte, 4)
	n, err := io.ReadFull(f, magic)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return "", sdk.Errorf(sdk.Internal, "layer file: %v", err)
	}
	switch magic = magic[:n]; {
	case bytes.HasPrefix(magic, gzipMagic):
		return types.OCILayer, nil
	case bytes.HasPrefix(magic, zstdMagic):
		return types.OCILayerZStd, nil
	}
	return types.OCIUncompressedLayer, nil
}

func configure(a Assembly) *v1.ConfigFile {
	config := &v1.ConfigFile{OS: "linux", Architecture: a.Arch, RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{}}}
	if a.Base != nil {
		config = a.Base.Config.DeepCopy()
		// These tell of the container that the base was made in.
		config.Container, config.DockerVersion, config.Config.Image = "", "", ""
	}
	created := v1.Time{Time: a.Config.Created.UTC().Truncate(time.Second)}
	if a.Config.Created.IsZero() {
		created = config.Created
	}
	config.Created = created

	keepHistory := len(config.RootFS.DiffIDs) == layersInHistory(config.History)
	for _, l := range a.Layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, hashOf(sdk.Digest(l.DiffID)))
		config.History = append(config.History, v1.History{Created: created, CreatedBy: l.CreatedBy})
	}
	if !keepHistory {
		// The base's history does not tell of all its layers. None is valid,
		// one that attributes layers to the wrong commands is not.
		config.History = nil
	}

	if len(a.Config.Labels) > 0 {
		labels := maps.Clone(config.Config.Labels)
		if labels == nil {
			labels = make(map[string]string)
		}
		maps.Copy(labels, a.Config.Labels)
		config.Config.Labels = labels
	}
	if len(a.Config.Entrypoint) > 0 {
		config.Config.Entrypoint = slices.Clone(a.Config.Entrypoint)
	}
	if len(a.Config.Cmd) > 0 {
		config.Config.Cmd = slices.Clone(a.Config.Cmd)
	}
	for _, port := range a.Config.ExposedPorts {
		if !strings.Contains(port, "/") {
			port += "/tcp"
		}
		if config.Config.ExposedPorts == nil {
			config.Config.ExposedPorts = make(map[string]struct{})
		}
		config.Config.ExposedPorts[port] = struct{}{}
	}
	return config
}

func layersInHistory(history []v1.History) int {
	n := 0
	for _, h := range history {
		if !h.EmptyLayer {
			n++
		}
	}
	return n
}

// Push brings an assembled image into a repository, which spec names: the blobs
// of its base by mounting where possible, its own layers and configuration by
// sending, the manifest by digest, last. What is there is not sent again. It
// returns the bytes of blobs that this call sent.
func (c *Client) Push(ctx context.Context, spec string, b *Built) (sent int64, err error) {
	to, err := ParseRef(spec)
	if err != nil {
		return 0, err
	}
	to = to.WithDigest(b.Digest)
	var pushes []func(context.Context) (int64, error)
	// Own layers first: they are the news, and the same for all architectures.
	for _, l := range b.layers {
		pushes = append(pushes, func(ctx context.Context) (int64, error) {
			return c.PushLayer(ctx, to.Name(), l)
		})
	}
	pushes = append(pushes, func(ctx context.Context) (int64, error) {
		_, n, err := c.PushBytes(ctx, to.Name(), b.Config)
		return n, err
	})
	if b.base != nil {
		for _, l := range b.base.Layers {
			pushes = append(pushes, func(ctx context.Context) (int64, error) {
				return c.copyBlob(ctx, b.base.Ref, to, l.Digest, l.Size)
			})
		}
	}
	counts := make([]int64, len(pushes))
	g, groupCtx := errgroup.WithContext(ctx)
	g.SetLimit(c.parallel)
	for i, push := range pushes {
		g.Go(func() (err error) {
			counts[i], err = push(groupCtx)
			return err
		})
	}
	err = g.Wait()
	sent = total(counts)
	if err != nil {
		return sent, err
	}
	_, err = c.putManifest(ctx, to, b.MediaType, b.Manifest, nil)
	return sent, err
}
