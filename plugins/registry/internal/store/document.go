package store

import (
	"encoding/json"
	"fmt"
	"math"
	"mime"
	"strings"

	"github.com/opencontainers/go-digest"
)

// The manifests that the registry takes.
const (
	typeImage       = "application/vnd.oci.image.manifest.v1+json"
	typeIndex       = "application/vnd.oci.image.index.v1+json"
	typeDockerImage = "application/vnd.docker.distribution.manifest.v2+json"
	typeDockerList  = "application/vnd.docker.distribution.manifest.list.v2+json"

	typeImageConfig       = "application/vnd.oci.image.config.v1+json"
	typeDockerImageConfig = "application/vnd.docker.container.image.v1+json"
)

// MaxManifest is the size of the largest manifest taken. Clients are told to
// expect that 4 MiB work, and few take more.
const MaxManifest = 4 << 20

// descriptor names content from within a manifest.
type descriptor struct {
	MediaType string        `json:"mediaType"`
	Digest    digest.Digest `json:"digest"`
	Size      int64         `json:"size"`
	URLs      []string      `json:"urls"`
}

// elsewhere tells that content is not for this registry to keep: layers that
// their owner allows nobody to distribute.
func (d *descriptor) elsewhere() bool {
	return strings.Contains(d.MediaType, ".nondistributable.") || strings.Contains(d.MediaType, ".foreign.")
}

// document is a manifest, read as far as the registry is concerned.
type document struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        *descriptor       `json:"config"`
	Layers        []descriptor      `json:"layers"`
	Manifests     []descriptor      `json:"manifests"`
	Subject       *descriptor       `json:"subject"`
	Annotations   map[string]string `json:"annotations"`

	list bool
}

// parse reads a manifest that was sent with a content type. What a manifest
// means must not depend on who reads it, so one that could be taken for
// another type is refused.
func parse(content []byte, contentType string) (*document, error) {
	invalid := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
	}
	if len(content) > MaxManifest {
		return nil, fmt.Errorf("%w: a manifest has at most %d bytes", ErrTooLarge, MaxManifest)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(content, &members); err != nil {
		return nil, invalid("it is not a JSON object: %v", err)
	}
	var doc document
	if err := json.Unmarshal(content, &doc); err != nil {
		return nil, invalid("%v", err)
	}
	if doc.SchemaVersion != 2 {
		return nil, invalid("schemaVersion is %d, not 2", doc.SchemaVersion)
	}
	mediaType, err := doc.mediaType(contentType)
	if err != nil {
		return nil, err
	}
	switch mediaType {
	case typeImage, typeDockerImage:
		if _, both := members["manifests"]; both {
			return nil, invalid("an image has no manifests")
		}
		if doc.Config == nil {
			return nil, invalid("an image has a config")
		}
	case typeIndex, typeDockerList:
		doc.list = true
		for _, other := range []string{"config", "layers", "fsLayers"} {
			if _, both := members[other]; both {
				return nil, invalid("a list has no %s", other)
			}
		}
	default:
		return nil, invalid("media type %.200q is not supported", mediaType)
	}
	doc.MediaType = mediaType

	named := doc.blobs()
	named = append(named, doc.Manifests...)
	if doc.Subject != nil {
		named = append(named, *doc.Subject)
	}
	for _, d := range named {
		if _, err := ParseDigest(string(d.Digest)); err != nil {
			return nil, invalid("%v", err)
		}
		if d.Size < 0 {
			return nil, invalid("the size of %s is negative", d.Digest)
		}
	}
	return &doc, nil
}

// mediaType finds out what a manifest is from its content type and from what
// it says itself; where both speak, they agree.
func (doc *document) mediaType(contentType string) (string, error) {
	sent, _, err := mime.ParseMediaType(contentType)
	if err != nil && contentType != "" {
		return "", fmt.Errorf("%w: content type %.200q: %v", ErrInvalid, contentType, err)
	}
	switch {
	case doc.MediaType == "" && sent != "" && sent != "application/json":
		return sent, nil
	case doc.MediaType == "" && doc.Manifests != nil:
		return typeIndex, nil
	case doc.MediaType == "":
		return typeImage, nil
	case sent == "" || sent == "application/json" || sent == strings.ToLower(doc.MediaType):
		return doc.MediaType, nil
	}
	return "", fmt.Errorf("%w: it is a %.200s and was sent as %.200s", ErrInvalid, doc.MediaType, sent)
}

// blobs returns the config and the layers of an image.
func (doc *document) blobs() []descriptor {
	var all []descriptor
	if doc.Config != nil {
		all = append(all, *doc.Config)
	}
	return append(all, doc.Layers...)
}

// layersSize is the sum of the layers' sizes, or nil for a list.
func (doc *document) layersSize() *int64 {
	if doc.list {
		return nil
	}
	var sum int64
	for _, layer := range doc.Layers {
		if sum > math.MaxInt64-layer.Size {
			sum = math.MaxInt64
			break
		}
		sum += layer.Size
	}
	return &sum
}

// artifactType is the type that the manifest has as a referrer.
func (doc *document) artifactType() string {
	if doc.ArtifactType == "" && doc.Config != nil {
		return doc.Config.MediaType
	}
	return doc.ArtifactType
}
