package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/iib-engine/iib/sdk"
)

// Manifest is an image's manifest, or a list of those of several architectures,
// verified and well-formed. It must not be changed.
type Manifest struct {
	// Ref names it by digest.
	Ref       Ref
	Digest    sdk.Digest
	MediaType string
	// Raw are the bytes that the digest is over.
	Raw []byte

	list  *v1.IndexManifest
	image *v1.Manifest
}

// Pinned returns the pull spec by digest.
func (m *Manifest) Pinned() string { return m.Ref.String() }

// IsList tells whether this is a Docker manifest list or an OCI index.
func (m *Manifest) IsList() bool { return m.list != nil }

// maxDescriptors bounds the images of a list and the layers of an image; what
// runtimes can mount is far below it.
const maxDescriptors = 1000

// maxDescribedSize keeps sums of sizes from overflowing; what is read is held
// against the limits.
const maxDescribedSize = 1 << 40

var acceptManifests = http.Header{"Accept": {
	string(types.DockerManifestList),
	string(types.DockerManifestSchema2),
	string(types.OCIImageIndex),
	string(types.OCIManifestSchema1),
}}

// Resolve returns what a pull spec points to at this moment. A spec by digest
// is looked up too: content that its registry no longer has is NotFound.
func (c *Client) Resolve(ctx context.Context, spec string) (*Manifest, error) {
	ref, err := ParseRef(spec)
	if err != nil {
		return nil, err
	}
	return c.manifest(ctx, ref)
}

// ResolveBundle returns the image that a bundle's pull spec points to. Of a
// list it is the first entry: bundles have no executable code, so that all
// entries hold the same files, and clients know a bundle by this digest.
func (c *Client) ResolveBundle(ctx context.Context, spec string) (*Manifest, error) {
	m, err := c.Resolve(ctx, spec)
	if err != nil || !m.IsList() {
		return m, err
	}
	if len(m.list.Manifests) == 0 {
		return nil, sdk.Errorf(sdk.Invalid, "image %s: the list has no images", m.Ref)
	}
	return c.child(ctx, m, m.list.Manifests[0])
}

// child returns an image of a list.
func (c *Client) child(ctx context.Context, m *Manifest, d v1.Descriptor) (*Manifest, error) {
	child, err := c.manifest(ctx, m.Ref.WithDigest(digestOf(d.Digest)))
	if err != nil {
		return nil, err
	}
	if child.IsList() {
		return nil, sdk.Errorf(sdk.Invalid, "image %s: the entry %s is a list in a list; make it an image", m.Ref, d.Digest)
	}
	return child, nil
}

func (c *Client) manifest(ctx context.Context, ref Ref) (*Manifest, error) {
	access, err := c.access(ctx, ref.String())
	if err != nil {
		return nil, err
	}
	if ref.Digest != "" {
		if raw, ok := c.cache.read(ref.Digest, c.limits.Manifest); ok && c.allowed(ctx, ref, access) {
			return c.known(ref, access, raw)
		}
	}
	var raw []byte
	err = c.attempt(ctx, "image "+ref.String(), func(ctx context.Context) error {
		raw, err = c.readManifest(ctx, ref, access)
		return err
	})
	if err != nil {
		return nil, err
	}
	m, err := c.known(ref, access, raw)
	if err == nil {
		c.cache.write(m.Digest, raw)
	}
	return m, err
}

// known parses a manifest that the registry has shown to the holder of access.
func (c *Client) known(ref Ref, access sdk.Access, raw []byte) (*Manifest, error) {
	m, err := parseManifest(ref.WithDigest(sum(raw)), raw)
	if err != nil {
		return nil, err
	}
	c.saw(ref, access, m)
	return m, nil
}

// allowed asks the registry whether content that is in the cache may be read
// with these credentials and is still there. When it does not say yes, the
// content is asked for as if it were not cached, which gives the right error.
func (c *Client) allowed(ctx context.Context, ref Ref, access sdk.Access) bool {
	if c.hasSeen(ref, access, ref.Digest) {
		return true
	}
	s, err := c.session(ctx, ref, access, scope(ref.Repository, pull))
	if err != nil {
		return false
	}
	resp, err := c.do(ctx, s, call{
		method: http.MethodHead,
		path:   "/v2/" + ref.Repository + "/manifests/" + ref.identifier(),
		header: acceptManifests,
		want:   []int{http.StatusOK},
	})
	if err != nil {
		return false
	}
	resp.Body.Close()
	return true
}

func (c *Client) readManifest(ctx context.Context, ref Ref, access sdk.Access) ([]byte, error) {
	s, err := c.session(ctx, ref, access, scope(ref.Repository, pull))
	if err != nil {
		return nil, err
	}
	resp, err := c.do(ctx, s, call{
		method: http.MethodGet,
		path:   "/v2/" + ref.Repository + "/manifests/" + ref.identifier(),
		header: acceptManifests,
		want:   []int{http.StatusOK},
	})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, fits, err := readBounded(resp.Body, c.limits.Manifest)
	if err != nil {
		return nil, err
	}
	if !fits {
		return nil, sdk.Errorf(sdk.Invalid, "image %s: the manifest has more than %d bytes", ref, c.limits.Manifest)
	}
	want := ref.Digest
	if want == "" {
		want = sdk.Digest(resp.Header.Get("Docker-Content-Digest"))
	}
	if validDigest(want) && sum(raw) != want {
		return nil, errCorrupt
	}
	return raw, nil
}

// Digest returns the digest that a tag points to, without reading what it
// points to. A tag that does not exist is NotFound.
func (c *Client) Digest(ctx context.Context, spec string) (sdk.Digest, error) {
	ref, err := ParseRef(spec)
	if err != nil {
		return "", err
	}
	access, err := c.access(ctx, ref.String())
	if err != nil {
		return "", err
	}
	var digest sdk.Digest
	err = c.attempt(ctx, "image "+ref.String(), func(ctx context.Context) error {
		digest, err = c.headManifest(ctx, ref, access)
		return err
	})
	if err != nil {
		return "", err
	}
	if validDigest(digest) {
		return digest, nil
	}
	// A registry that does not tell the digest, or tells one of another kind.
	m, err := c.manifest(ctx, ref)
	if err != nil {
		return "", err
	}
	return m.Digest, nil
}

func (c *Client) headManifest(ctx context.Context, ref Ref, access sdk.Access) (sdk.Digest, error) {
	s, err := c.session(ctx, ref, access, scope(ref.Repository, pull))
	if err != nil {
		return "", err
	}
	resp, err := c.do(ctx, s, call{
		method: http.MethodHead,
		path:   "/v2/" + ref.Repository + "/manifests/" + ref.identifier(),
		header: acceptManifests,
		want:   []int{http.StatusOK},
	})
	if err != nil {
		return "", err
	}
	resp.Body.Close()
	return sdk.Digest(resp.Header.Get("Docker-Content-Digest")), nil
}

// parseManifest checks everything that later code relies on.
func parseManifest(ref Ref, raw []byte) (*Manifest, error) {
	invalid := func(format string, args ...any) error {
		return sdk.Errorf(sdk.Invalid, "image %s: %s", ref, fmt.Sprintf(format, args...))
	}
	var head struct {
		SchemaVersion int             `json:"schemaVersion"`
		MediaType     types.MediaType `json:"mediaType"`
		Manifests     json.RawMessage `json:"manifests"`
		Layers        json.RawMessage `json:"layers"`
		FSLayers      json.RawMessage `json:"fsLayers"`
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return nil, invalid("the manifest is not valid JSON (%s)", printable(err.Error(), 200))
	}
	switch {
	case head.SchemaVersion == 1, head.FSLayers != nil:
		return nil, invalid("the manifest has the withdrawn schema version 1; push the image again with a current tool")
	case head.SchemaVersion != 2:
		return nil, invalid("the manifest has schema version %d; only 2 is supported", head.SchemaVersion)
	case head.Manifests != nil && head.Layers != nil:
		// One digest must not mean two images, depending on the reader.
		return nil, invalid("the manifest has both images and layers")
	}
	m := &Manifest{Ref: ref, Digest: ref.Digest, Raw: raw}
	if head.Manifests != nil || head.MediaType.IsIndex() {
		if head.MediaType != "" && !head.MediaType.IsIndex() {
			return nil, invalid("the manifest has images but the media type %q", printable(string(head.MediaType), 100))
		}
		if err := json.Unmarshal(raw, &m.list); err != nil {
			return nil, invalid("the list is malformed (%s)", printable(err.Error(), 200))
		}
		if err := checkDescriptors(m.list.Manifests, "image"); err != nil {
			return nil, invalid("%s", err)
		}
		m.MediaType = string(head.MediaType)
		if m.MediaType == "" {
			m.MediaType = string(types.OCIImageIndex)
		}
		return m, nil
	}
	if head.MediaType != "" && !head.MediaType.IsImage() {
		return nil, invalid("the media type %q is not that of a container image", printable(string(head.MediaType), 100))
	}
	if err := json.Unmarshal(raw, &m.image); err != nil {
		return nil, invalid("the manifest is malformed (%s)", printable(err.Error(), 200))
	}
	if err := checkDescriptors([]v1.Descriptor{m.image.Config}, "config"); err != nil {
		return nil, invalid("%s", err)
	}
	if err := checkDescriptors(m.image.Layers, "layer"); err != nil {
		return nil, invalid("%s", err)
	}
	m.MediaType = string(head.MediaType)
	if m.MediaType == "" {
		m.MediaType = string(types.OCIManifestSchema1)
		if m.image.Config.MediaType == types.DockerConfigJSON {
			m.MediaType = string(types.DockerManifestSchema2)
		}
	}
	return m, nil
}

func checkDescriptors(ds []v1.Descriptor, what string) error {
	if len(ds) > maxDescriptors {
		return fmt.Errorf("it has %d %ss; at most %d are allowed", len(ds), what, maxDescriptors)
	}
	for _, d := range ds {
		if !validDigest(digestOf(d.Digest)) {
			return fmt.Errorf("a %s has no sha256 digest", what)
		}
		if d.Size < 0 || d.Size > maxDescribedSize {
			return fmt.Errorf("%s %s has the impossible size %d", what, d.Digest, d.Size)
		}
	}
	return nil
}

func digestOf(h v1.Hash) sdk.Digest { return sdk.Digest(h.String()) }

func hashOf(d sdk.Digest) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: string(d[len(digestPrefix):])}
}

func sum(data []byte) sdk.Digest {
	h := sha256.Sum256(data)
	return digestPrefix + sdk.Digest(hex.EncodeToString(h[:]))
}

// contentKey is content of a repository as the holder of credentials sees it.
type contentKey struct {
	access accessKey
	name   string
	digest sdk.Digest
}

func (c *Client) hasSeen(ref Ref, access sdk.Access, digest sdk.Digest) bool {
	_, ok := c.seen.get(contentKey{keyOf(access), ref.Name(), digest})
	return ok
}

// saw remembers a manifest and what it refers to.
func (c *Client) saw(ref Ref, access sdk.Access, m *Manifest) {
	key := contentKey{access: keyOf(access), name: ref.Name(), digest: m.Digest}
	c.seen.put(key, struct{}{}, 1)
	var ds []v1.Descriptor
	if m.list != nil {
		ds = m.list.Manifests
	} else {
		ds = append(ds, m.image.Config)
		ds = append(ds, m.image.Layers...)
	}
	for _, d := range ds {
		key.digest = digestOf(d.Digest)
		c.seen.put(key, struct{}{}, 1)
	}
}
