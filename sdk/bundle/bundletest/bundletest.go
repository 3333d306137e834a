// Package bundletest is a registry with bundle images for tests.
package bundletest

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/iib-engine/iib/sdk"
)

// Created is the creation time of the first architecture's images; those of
// each further one are a day older.
var Created = time.Date(2024, time.May, 6, 7, 8, 9, 0, time.UTC)

// Registry is a registry in memory that speaks HTTP without TLS.
type Registry struct {
	// Host is its address.
	Host string

	t testing.TB
}

// New starts a registry that ends with the test.
func New(t testing.TB) *Registry {
	t.Helper()
	return Behind(t, func(next http.Handler) http.Handler { return next })
}

// Behind is New with a handler in front of the registry, to deny or to count.
func Behind(t testing.TB, front func(next http.Handler) http.Handler) *Registry {
	t.Helper()
	server := httptest.NewServer(front(registry.New(registry.Logger(log.New(io.Discard, "", 0)))))
	t.Cleanup(server.Close)
	return &Registry{Host: strings.TrimPrefix(server.URL, "http://"), t: t}
}

// Access is how to reach every image of the registry.
func Access(context.Context, string) (sdk.Access, error) { return sdk.Access{PlainHTTP: true}, nil }

// Files are those of a small bundle of a package, whose CSV names images as
// related ones.
func Files(packageName string, images ...string) map[string]string {
	var csv strings.Builder
	csv.WriteString("kind: ClusterServiceVersion # a comment\nmetadata:\n  name: " + packageName + ".v1\nspec:\n  version: 1.0.0\n")
	if len(images) > 0 {
		csv.WriteString("  relatedImages:\n")
	}
	for _, image := range images {
		csv.WriteString("  - name: \"" + image + "\"\n    image: " + image + "\n")
	}
	return map[string]string{
		"manifests/" + packageName + ".clusterserviceversion.yaml": csv.String(),
		"manifests/" + packageName + ".crd.yaml":                   "kind: CustomResourceDefinition\n",
		"metadata/annotations.yaml":                                "annotations:\n  operators.operatorframework.io.bundle.package.v1: " + packageName + "\n",
		"tests/scorecard/config.yaml":                              "a: b\n",
	}
}

// Push stores an image with files and labels under a name such as "ns/repo:v1",
// and returns its pull spec and the spec by digest. With several architectures
// it is a list; without any it is an image for amd64.
func (r *Registry) Push(repository string, files, labels map[string]string, arches ...string) (spec, pinned string) {
	r.t.Helper()
	spec = r.Host + "/" + repository
	ref, err := name.ParseReference(spec, name.Insecure)
	if err != nil {
		r.t.Fatal(err)
	}
	layer := r.layer(files)
	if len(arches) == 0 {
		image := r.image("amd64", Created, labels, layer)
		if err := remote.Write(ref, image); err != nil {
			r.t.Fatal(err)
		}
		return spec, r.pinned(ref, image)
	}
	var list v1.ImageIndex = empty.Index
	for i, arch := range arches {
		list = mutate.AppendManifests(list, mutate.IndexAddendum{
			Add:        r.image(arch, Created.AddDate(0, 0, -i), labels, layer),
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}},
		})
	}
	if err := remote.WriteIndex(ref, list); err != nil {
		r.t.Fatal(err)
	}
	return spec, r.pinned(ref, list)
}

func (r *Registry) pinned(ref name.Reference, content interface{ Digest() (v1.Hash, error) }) string {
	r.t.Helper()
	digest, err := content.Digest()
	if err != nil {
		r.t.Fatal(err)
	}
	return ref.Context().Name() + "@" + digest.String()
}

func (r *Registry) image(arch string, created time.Time, labels map[string]string, layer v1.Layer) v1.Image {
	r.t.Helper()
	image, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{
		Architecture: arch, OS: "linux", Created: v1.Time{Time: created},
		RootFS: v1.RootFS{Type: "layers"}, Config: v1.Config{Labels: labels},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	if image, err = mutate.AppendLayers(image, layer); err != nil {
		r.t.Fatal(err)
	}
	return image
}

func (r *Registry) layer(files map[string]string) v1.Layer {
	r.t.Helper()
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, path := range slices.Sorted(maps.Keys(files)) {
		if err := w.WriteHeader(&tar.Header{Name: path, Mode: 0o644, Size: int64(len(files[path]))}); err != nil {
			r.t.Fatal(err)
		}
		if _, err := io.WriteString(w, files[path]); err != nil {
			r.t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		r.t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(archive.Bytes())), nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return layer
}
