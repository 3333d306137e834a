// Package bundletest is a registry with bundle images for tests.
package bundletest

import (
	"context"
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/image"
	"github.com/iib-engine/iib/sdk/image/imagetest"
)

// Registry is a registry in memory that speaks HTTP without TLS. It is for one
// goroutine.
type Registry struct {
	// Host is its address.
	Host string
	// Pusher is what Push uses.
	Pusher *imagetest.Pusher

	t testing.TB
}

// New starts a registry that ends with the test.
func New(t testing.TB) *Registry {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	pusher, err := imagetest.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return &Registry{Host: strings.TrimPrefix(server.URL, "http://"), Pusher: pusher, t: t}
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
// and returns its pull spec and the spec by digest. With architectures it is a
// list; without any it is an image for amd64.
func (r *Registry) Push(name string, files, labels map[string]string, arches ...string) (spec, pinned string) {
	r.t.Helper()
	i := imagetest.Image{Labels: labels, Files: make(map[string][]byte), Arches: arches, Single: len(arches) == 0}
	for path, content := range files {
		i.Files[path] = []byte(content)
	}
	spec = r.Host + "/" + name
	digest, err := r.Pusher.Push(context.Background(), spec, i)
	if err != nil {
		r.t.Fatal(err)
	}
	ref, err := image.ParseRef(spec)
	if err != nil {
		r.t.Fatal(err)
	}
	return spec, ref.WithDigest(digest).String()
}
