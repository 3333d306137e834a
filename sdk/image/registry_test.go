package image

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"

	ggcr "github.com/google/go-containerregistry/pkg/name"

	"github.com/iib-engine/iib/sdk"
)

// testRegistry is a real in-memory registry that remembers what it was asked,
// and behind which a test can put faults.
type testRegistry struct {
	*httptest.Server
	host  string
	inner http.Handler

	mu  sync.Mutex
	log []string
	// fault, if it returns true, has answered in the registry's place.
	fault func(w http.ResponseWriter, r *http.Request) bool
}

func newTestRegistry(t testing.TB) *testRegistry {
	t.Helper()
	r := &testRegistry{inner: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		r.log = append(r.log, req.Method+" "+req.URL.Path)
		fault := r.fault
		r.mu.Unlock()
		if fault != nil && fault(w, req) {
			return
		}
		r.inner.ServeHTTP(w, req)
	}))
	t.Cleanup(r.Close)
	r.host = strings.TrimPrefix(r.URL, "http://")
	return r
}

func (r *testRegistry) setFault(fault func(http.ResponseWriter, *http.Request) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fault = fault
}

// requests returns those since the last call that contain all of the words.
func (r *testRegistry) requests(words ...string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var hits []string
next:
	for _, line := range r.log {
		for _, w := range words {
			if !strings.Contains(line, w) {
				continue next
			}
		}
		hits = append(hits, line)
	}
	return hits
}

func (r *testRegistry) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = nil
}

// put pushes an image with go-containerregistry's own client.
func (r *testRegistry) put(t testing.TB, name string, what remote.Taggable) string {
	t.Helper()
	spec := r.host + "/" + name
	ref, err := ggcr.ParseReference(spec)
	if err != nil {
		t.Fatal(err)
	}
	switch what := what.(type) {
	case v1.ImageIndex:
		err = remote.WriteIndex(ref, what)
	case v1.Image:
		err = remote.Write(ref, what)
	default:
		err = remote.Put(ref, what)
	}
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

// newTestClient returns a client that does not wait long.
func newTestClient(t testing.TB, change ...func(*Options)) *Client {
	t.Helper()
	o := Options{
		CacheDir:   t.TempDir(),
		Attempts:   3,
		Backoff:    time.Millisecond,
		MaxBackoff: 5 * time.Millisecond,
		Timeout:    10 * time.Second,
	}
	for _, f := range change {
		f(&o)
	}
	c := New(o)
	t.Cleanup(c.Close)
	return c
}

// entry is a file of a layer in a test.
type entry struct {
	name string
	body string
	link string
	kind byte // tar.TypeReg if 0
	mode int64
}

func dir(name string) entry { return entry{name: name, kind: tar.TypeDir, mode: 0o755} }

func tarOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Linkname: e.link, Typeflag: e.kind, Mode: e.mode, Size: int64(len(e.body)), Format: tar.FormatPAX}
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipped(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func layerOf(t testing.TB, entries ...entry) v1.Layer {
	t.Helper()
	return layerOfTar(t, tarOf(t, entries...))
}

func layerOfTar(t testing.TB, data []byte) v1.Layer {
	t.Helper()
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data)), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// imageOf makes a Docker image for an architecture.
func imageOf(t testing.TB, arch string, labels map[string]string, layers ...v1.Layer) v1.Image {
	t.Helper()
	img := mutate.MediaType(empty.Image, types.DockerManifestSchema2)
	img = mutate.ConfigMediaType(img, types.DockerConfigJSON)
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", arch
	config.Config.Labels = labels
	config.Created = v1.Time{Time: time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)}
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	for i, l := range layers {
		if img, err = mutate.Append(img, mutate.Addendum{Layer: l, History: v1.History{CreatedBy: "layer " + string(rune('a'+i))}}); err != nil {
			t.Fatal(err)
		}
	}
	return img
}

// listOf makes a Docker manifest list.
func listOf(t testing.TB, images map[string]v1.Image, arches ...string) v1.ImageIndex {
	t.Helper()
	list := mutate.IndexMediaType(empty.Index, types.DockerManifestList)
	for _, arch := range arches {
		list = mutate.AppendManifests(list, mutate.IndexAddendum{
			Add:        images[arch],
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}},
		})
	}
	return list
}

// layerFile writes a layer as the builders get it.
func layerFile(t testing.TB, entries ...entry) sdk.Layer {
	t.Helper()
	unpacked := tarOf(t, entries...)
	packed := gzipped(t, unpacked)
	path := filepath.Join(t.TempDir(), "layer.tar.gz")
	if err := os.WriteFile(path, packed, 0o600); err != nil {
		t.Fatal(err)
	}
	return sdk.Layer{
		Path:      path,
		Digest:    string(sum(packed)),
		DiffID:    string(sum(unpacked)),
		Size:      int64(len(packed)),
		CreatedBy: "test layer",
	}
}

// noise is content that does not compress.
func noise(n int) string {
	var b strings.Builder
	h := sha256.Sum256([]byte("seed"))
	for b.Len() < n {
		h = sha256.Sum256(h[:])
		b.Write(h[:])
	}
	return b.String()[:n]
}

func wantCode(t testing.TB, err error, code sdk.Code, words ...string) {
	t.Helper()
	if sdk.CodeOf(err) != code {
		t.Fatalf("error is %q (%v), want code %s", sdk.CodeOf(err), err, code)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

func digestOfImage(t testing.TB, what interface{ Digest() (v1.Hash, error) }) sdk.Digest {
	t.Helper()
	h, err := what.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return sdk.Digest(h.String())
}

// hashAll reads to the end.
func hashAll(r io.Reader) (sdk.Digest, error) {
	h := sha256.New()
	_, err := io.Copy(h, r)
	return hashed(h), err
}

func background(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}
