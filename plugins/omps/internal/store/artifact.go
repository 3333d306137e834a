package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// artifact is a release on its way to the registry.
type artifact struct {
	manifest, config []byte
	layer            *layer
}

var _ partial.CompressedImageCore = (*artifact)(nil)

// layer is the archive. Stored is the release that has it already, or nil.
type layer struct {
	blob      []byte
	mediaType string
	stored    *Release
}

func newArtifact(put *Put, l *layer, content string) (v1.Image, *Release, error) {
	digest, size, err := v1.SHA256(bytes.NewReader(l.blob))
	if err != nil {
		return nil, nil, err
	}
	if l.stored != nil {
		digest, size = l.stored.layer, l.stored.Size
	}
	config := manifestText(put.MediaType, content, size)
	created := put.Now.UTC().Truncate(time.Second)
	image, configDigest, err := assemble(config, types.MediaType(ManifestType(put.MediaType)), l, v1.Descriptor{
		MediaType: types.MediaType(l.mediaType), Digest: digest, Size: size,
	}, map[string]string{
		annotationContent: content, annotationVersion: put.Version, annotationCreated: created.Format(time.RFC3339),
	})
	return image, &Release{
		Version: put.Version, MediaType: put.MediaType, Created: created,
		Digest: configDigest.String(), Content: content, Size: size, layer: digest,
	}, err
}

func assemble(config []byte, configType types.MediaType, l *layer, descriptor v1.Descriptor, annotations map[string]string) (v1.Image, v1.Hash, error) {
	configDigest, configSize, err := v1.SHA256(bytes.NewReader(config))
	if err != nil {
		return nil, configDigest, err
	}
	manifest, err := json.Marshal(v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1,
		Config:      v1.Descriptor{MediaType: configType, Digest: configDigest, Size: configSize},
		Layers:      []v1.Descriptor{descriptor},
		Annotations: annotations,
	})
	if err != nil {
		return nil, configDigest, err
	}
	image, err := partial.CompressedToImage(&artifact{manifest: manifest, config: config, layer: l})
	return image, configDigest, err
}

func (a *artifact) RawConfigFile() ([]byte, error)      { return a.config, nil }
func (a *artifact) RawManifest() ([]byte, error)        { return a.manifest, nil }
func (a *artifact) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }

// LayerByDigest implements partial.CompressedImageCore.
func (a *artifact) LayerByDigest(digest v1.Hash) (partial.CompressedLayer, error) {
	if configDigest, _, err := v1.SHA256(bytes.NewReader(a.config)); err != nil || digest == configDigest {
		return &layer{blob: a.config, mediaType: "application/json"}, err
	}
	return a.layer, nil
}

func (l *layer) Digest() (v1.Hash, error) {
	if l.stored != nil {
		return l.stored.layer, nil
	}
	digest, _, err := v1.SHA256(bytes.NewReader(l.blob))
	return digest, err
}

// DiffID implements v1.Layer, for uploads of a layer alone.
func (l *layer) DiffID() (v1.Hash, error) { return l.Digest() }

func (l *layer) Size() (int64, error) {
	if l.stored != nil {
		return l.stored.Size, nil
	}
	return int64(len(l.blob)), nil
}

func (l *layer) MediaType() (types.MediaType, error) { return types.MediaType(l.mediaType), nil }

// Uncompressed implements v1.Layer; nobody asks for it.
func (l *layer) Uncompressed() (io.ReadCloser, error) { return l.Compressed() }

func (l *layer) Compressed() (io.ReadCloser, error) {
	if l.stored != nil {
		return nil, fmt.Errorf("the archive %s was there a moment ago, and is not any longer; push again", l.stored.layer)
	}
	return io.NopCloser(bytes.NewReader(l.blob)), nil
}
