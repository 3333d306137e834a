package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	emptyimage "github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/iib-engine/iib/sdk/catalog/catalogtest"
	"github.com/iib-engine/iib/sdk/image/imagetest"
)

// pushArchive pushes a bundle's image of which the layer also has entries that
// no honest tool writes.
func (r *releases) pushArchive(spec string, b catalogtest.Bundle, entries ...tar.Header) string {
	r.t.Helper()
	var archive bytes.Buffer
	compressed := gzip.NewWriter(&archive)
	w := tar.NewWriter(compressed)
	files := b.Files()
	for _, path := range slices.Sorted(maps.Keys(files)) {
		r.write(w, tar.Header{Name: path, Mode: 0o644, Size: int64(len(files[path]))}, bytes.NewReader(files[path]))
	}
	for _, header := range entries {
		r.write(w, header, io.LimitReader(zeros{}, header.Size))
	}
	if err := w.Close(); err != nil {
		r.t.Fatal(err)
	}
	if err := compressed.Close(); err != nil {
		r.t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(archive.Bytes())), nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	image, err := mutate.AppendLayers(emptyimage.Image, layer)
	if err != nil {
		r.t.Fatal(err)
	}
	image, err = mutate.Config(image, v1.Config{Labels: b.Labels()})
	if err != nil {
		r.t.Fatal(err)
	}
	reference, err := name.ParseReference(r.registry()+"/release/"+spec, name.Insecure)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := remote.Write(reference, image); err != nil {
		r.t.Fatal(err)
	}
	return reference.Name()
}

func (r *releases) write(w *tar.Writer, header tar.Header, content io.Reader) {
	r.t.Helper()
	if err := w.WriteHeader(&header); err != nil {
		r.t.Fatal(err)
	}
	if _, err := io.Copy(w, content); err != nil {
		r.t.Fatal(err)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

func TestHostileBundlesAreRefused(t *testing.T) {
	r := newReleases(t, startServer(t, ""))
	index := r.emptyIndex("index:v4.14", fileBased, false)
	b := catalogtest.Operator(11, 1, 1)[0]
	for _, c := range []struct {
		name  string
		entry tar.Header
		says  []string
	}{
		{"a file that leads out", tar.Header{Name: "manifests/../../../etc/cron.d/x", Mode: 0o644, Size: 1}, []string{"leads out of the image"}},
		{"a link that leads out", tar.Header{Name: "manifests/x.yaml", Typeflag: tar.TypeSymlink, Linkname: "../../../etc/passwd"}, []string{"/manifests/x.yaml", "leads out of the image"}},
		{"a link to a file of the host", tar.Header{Name: "manifests/x.yaml", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}, []string{"/manifests/x.yaml", "/etc/passwd"}},
		{"a device", tar.Header{Name: "manifests/x.yaml", Typeflag: tar.TypeChar}, []string{"/manifests/x.yaml", "device"}},
		{"a bomb of 1:1000", tar.Header{Name: "manifests/x.yaml", Mode: 0o644, Size: 24 << 20}, []string{"unpacks to more than"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			spec := r.pushArchive(strings.ReplaceAll(c.name, " ", "-")[:6]+fmt.Sprint(len(c.name))+":v1", b, c.entry)
			build := r.attempt("add", map[string]any{"bundles": []string{spec}, "from_index": index})
			reason := fmt.Sprint(build["state_reason"])
			if build["state"] != "failed" || build["index_image"] != nil {
				t.Fatalf("%v, %v: %s", build["state"], build["index_image"], reason)
			}
			for _, word := range append(c.says, strings.Split(spec, ":v1")[0]) {
				if !strings.Contains(reason, word) {
					t.Errorf("%q does not tell %q", reason, word)
				}
			}
		})
	}
}

// faulty is a registry in front of another one that answers some paths its
// own way, and counts how often they were asked for.
type faulty struct {
	host string

	mu    sync.Mutex
	asked int
}

func newFaulty(t *testing.T, real, path string, answer http.HandlerFunc) *faulty {
	t.Helper()
	f := new(faulty)
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: real})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if !strings.Contains(request.URL.Path, path) {
			proxy.ServeHTTP(w, request)
			return
		}
		f.mu.Lock()
		f.asked++
		f.mu.Unlock()
		answer(w, request)
	}))
	t.Cleanup(server.Close)
	f.host = strings.TrimPrefix(server.URL, "http://")
	return f
}

func (f *faulty) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

func TestFaultyRegistries(t *testing.T) {
	t.Parallel()
	// A transient fault is tried again by the image library, which this test
	// is about, and then by the queue, which would make it slow.
	r := newReleases(t, startWith(t, shippedWithout(t, "queue \"default\" {\n  concurrency = 4\n  timeout     = \"2h\"\n}\n")+"queue \"default\" { attempts = 1 }\n", t.TempDir()))
	index := r.emptyIndex("index:v4.14", fileBased, false)
	b := catalogtest.Operator(11, 1, 1)[0]
	r.push("bundle:v1", imagetest.Image{Files: b.Files(), Labels: b.Labels(), Single: true})
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	truncated := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write([]byte("half of it"))
	}
	for _, c := range []struct {
		name, path string
		answer     http.HandlerFunc
		says       string
		most       int
	}{
		{"the manifest is not found", "/manifests/", status(http.StatusNotFound), "not found", 2},
		{"the manifest is denied", "/manifests/", status(http.StatusUnauthorized), "denied", 2},
		{"the manifest is no manifest", "/manifests/", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }, "manifest", 2},
		{"the registry is out of order", "/manifests/", status(http.StatusInternalServerError), "500", 10},
		{"the manifest ends in the middle", "/manifests/", truncated, "tried", 10},
		{"a blob is not found", "/blobs/", status(http.StatusNotFound), "not found", 4},
		{"a blob ends in the middle", "/blobs/", truncated, "tried", 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFaulty(t, r.registry(), c.path, c.answer)
			spec := f.host + "/release/bundle:v1"
			build := r.attempt("add", map[string]any{"bundles": []string{spec}, "from_index": index})
			reason := fmt.Sprint(build["state_reason"])
			if build["state"] != "failed" || build["index_image"] != nil {
				t.Fatalf("%v, %v: %s", build["state"], build["index_image"], reason)
			}
			for _, word := range []string{f.host + "/release/bundle", c.says} {
				if !strings.Contains(reason, word) {
					t.Errorf("%q does not tell %q", reason, word)
				}
			}
			if n := f.count(); n == 0 || n > c.most {
				t.Errorf("asked %d times, at most %d are right: %s", n, c.most, reason)
			}
		})
	}
}
