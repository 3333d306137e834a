package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	ggcr "github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/klauspost/compress/gzip"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/sdktest"
)

var arches = []string{"amd64", "arm64", "ppc64le", "s390x"}

// store is an in-memory registry that counts and may ask for a login.
type store struct {
	host     string
	user     string
	mu       sync.Mutex
	requests []string
}

func newStore(t *testing.T) *store {
	t.Helper()
	s := new(store)
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.requests = append(s.requests, r.Method+" "+r.URL.Path)
		user := s.user
		s.mu.Unlock()
		if name, password, _ := r.BasicAuth(); user != "" && (name != user || password != "password of "+user) {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	s.host = strings.TrimPrefix(server.URL, "http://")
	return s
}

func (s *store) lock(user string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.user = user
}

func (s *store) count(method string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, r := range s.requests {
		if strings.HasPrefix(r, method+" ") {
			n++
		}
	}
	return n
}

// base pushes a list of all architectures and returns its pull spec by digest.
func (s *store) base(t *testing.T) string {
	t.Helper()
	list := mutate.IndexMediaType(empty.Index, types.DockerManifestList)
	for _, arch := range arches {
		config := &v1.ConfigFile{OS: "linux", Architecture: arch, RootFS: v1.RootFS{Type: "layers"}}
		config.Config.Labels = map[string]string{"base": "yes"}
		img, err := mutate.ConfigFile(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.DockerManifestSchema2), types.DockerConfigJSON), config)
		if err != nil {
			t.Fatal(err)
		}
		program := archive(t, "bin/opm", "for "+arch)
		l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(program)), nil })
		if err != nil {
			t.Fatal(err)
		}
		img, err = mutate.AppendLayers(img, l)
		if err != nil {
			t.Fatal(err)
		}
		list = mutate.AppendManifests(list, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
	}
	ref, err := ggcr.ParseReference(s.host + "/tools/base:v1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(ref, list); err != nil {
		t.Fatal(err)
	}
	digest, err := list.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return s.host + "/tools/base@" + digest.String()
}

func archive(t *testing.T, name, body string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(body))}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, body); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func packed(t *testing.T, name, body string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(archive(t, name, body)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func layer(t *testing.T, name, body string) sdk.Layer {
	t.Helper()
	data := packed(t, name, body)
	path := filepath.Join(t.TempDir(), "layer.tar.gz")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return sdk.Layer{Path: path, Digest: digest(data), DiffID: digest(archive(t, name, body)), Size: int64(len(data)), CreatedBy: "add " + name}
}

// spec is a build without an architecture.
func spec(t *testing.T, base, repository string, layers ...sdk.Layer) sdk.BuildSpec {
	return sdk.BuildSpec{
		ImageSpec: sdk.ImageSpec{
			Base:       base,
			Arches:     arches,
			Layers:     layers,
			Repository: repository,
			Config: sdk.ImageConfig{
				Labels:     map[string]string{"operators.operatorframework.io.index.configs.v1": "/configs"},
				Entrypoint: []string{"/bin/opm"},
				Cmd:        []string{"serve", "/configs"},
				Created:    time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC),
			},
		},
		CacheDir:  t.TempDir(),
		Workspace: t.TempDir(),
	}
}

func pulled(t *testing.T, repository string, digest sdk.Digest, options ...remote.Option) v1.Image {
	t.Helper()
	ref, err := ggcr.ParseReference(repository + "@" + string(digest))
	if err != nil {
		t.Fatal(err)
	}
	img, err := remote.Image(ref, options...)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func TestArchitecturesBuiltAtOnceSendASharedLayerOnce(t *testing.T) {
	s := newStore(t)
	base := s.base(t)
	b := sdktest.Builder(t, new(builder))
	build := spec(t, base, s.host+"/build/index", layer(t, "configs/a.json", "{}"), layer(t, "tmp/cache/digest", "x"))
	before := s.count("PATCH")

	digests := make([]sdk.Digest, len(arches))
	var wg sync.WaitGroup
	for i, arch := range arches {
		wg.Go(func() {
			one := build
			one.Arch = arch
			var err error
			if digests[i], err = b.Build(t.Context(), &one); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	// Two layers, and a configuration for each architecture.
	if n := s.count("PATCH") - before; n != 2+len(arches) {
		t.Errorf("%d blobs were sent, want %d", n, 2+len(arches))
	}
	for i, arch := range arches {
		img := pulled(t, build.Repository, digests[i])
		if err := validate.Image(img); err != nil {
			t.Errorf("%s is not valid: %v", arch, err)
		}
		config, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		labels := map[string]string{"base": "yes", "operators.operatorframework.io.index.configs.v1": "/configs"}
		if diff := cmp.Diff(labels, config.Config.Labels); diff != "" || config.Architecture != arch || !slices.Equal(config.Config.Cmd, build.Config.Cmd) {
			t.Errorf("%s: architecture %s, command %v, labels (-want +got):\n%s", arch, config.Architecture, config.Config.Cmd, diff)
		}
		if len(config.RootFS.DiffIDs) != 3 {
			t.Errorf("%s has %d layers, want the base's and two", arch, len(config.RootFS.DiffIDs))
		}
	}

	sent := s.count("PATCH")
	build.Arch = "s390x"
	again, err := b.Build(t.Context(), &build)
	if err != nil || again != digests[3] {
		t.Errorf("a second build gave %s, %v, want %s", again, err, digests[3])
	}
	if n := s.count("PATCH") - sent; n != 0 {
		t.Errorf("a second build sent %d blobs", n)
	}
}

func TestAnImageFromScratch(t *testing.T) {
	s := newStore(t)
	b := sdktest.Builder(t, new(builder))
	for name, oci := range map[string]bool{"with Docker media types": false, "with OCI media types": true} {
		t.Run(name, func(t *testing.T) {
			build := spec(t, sdk.Scratch, s.host+"/build/index", layer(t, "configs/a.json", "{}"))
			build.Arch, build.OCI = "amd64", oci
			digest, err := b.Build(t.Context(), &build)
			if err != nil {
				t.Fatal(err)
			}
			img := pulled(t, build.Repository, digest)
			if err := validate.Image(img); err != nil {
				t.Error(err)
			}
			mediaType, err := img.MediaType()
			if err != nil || (mediaType == types.OCIManifestSchema1) != oci {
				t.Errorf("media type %s, %v", mediaType, err)
			}
		})
	}
}

func TestBaseAndTargetInRegistriesWithLoginsOfTheirOwn(t *testing.T) {
	from, to := newStore(t), newStore(t)
	base := from.base(t)
	from.lock("reader")
	to.lock("writer")
	build := spec(t, base, to.host+"/build/index", layer(t, "configs/a.json", "{}"))
	build.Arch = "arm64"
	build.BaseAccess = sdk.Access{Username: "reader", Password: "password of reader"}
	build.PushAccess = sdk.Access{Username: "writer", Password: "password of writer"}
	b := sdktest.Builder(t, new(builder))
	digest, err := b.Build(t.Context(), &build)
	if err != nil {
		t.Fatal(err)
	}
	to.lock("")
	if err := validate.Image(pulled(t, build.Repository, digest)); err != nil {
		t.Error(err)
	}

	to.lock("writer")
	for name, change := range map[string]func(*sdk.BuildSpec){
		"a wrong password for the base":   func(s *sdk.BuildSpec) { s.BaseAccess.Password = "guess" },
		"a wrong password for the target": func(s *sdk.BuildSpec) { s.PushAccess.Password = "guess" },
		"no login for the target":         func(s *sdk.BuildSpec) { s.PushAccess = sdk.Access{} },
	} {
		t.Run(name, func(t *testing.T) {
			bad := build
			change(&bad)
			_, err := b.Build(t.Context(), &bad)
			if sdk.CodeOf(err) != sdk.Denied || strings.Contains(err.Error(), "guess") || strings.Contains(err.Error(), "password of") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestBuildsThatCannotSucceed(t *testing.T) {
	s := newStore(t)
	base := s.base(t)
	good := spec(t, base, s.host+"/build/index", layer(t, "configs/a.json", "{}"))
	good.Arch = "amd64"
	changed := layer(t, "configs/a.json", "{}")
	if err := os.WriteFile(changed.Path, bytes.Repeat([]byte("x"), int(changed.Size)), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		change func(*sdk.BuildSpec)
		code   sdk.Code
		words  []string
	}{
		"an architecture that the base does not have": {
			func(s *sdk.BuildSpec) { s.Arch = "riscv64" }, sdk.NotFound, []string{"no image for riscv64", "amd64, arm64, ppc64le, s390x"},
		},
		"a base that does not exist": {
			func(s *sdk.BuildSpec) { s.Base = strings.Replace(base, "/tools/base", "/tools/none", 1) }, sdk.NotFound, []string{"/tools/none", "not found"},
		},
		"a layer file that changed": {
			func(s *sdk.BuildSpec) {
				s.Layers = []sdk.Layer{changed}
				s.Repository += "-changed"
			}, sdk.Invalid, []string{"does not match"},
		},
		"a repository that is none": {
			func(s *sdk.BuildSpec) { s.Repository = "https://quay.io/a" }, sdk.Invalid, []string{"://"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			bad := good
			tt.change(&bad)
			_, err := sdktest.Builder(t, new(builder)).Build(t.Context(), &bad)
			if sdk.CodeOf(err) != tt.code {
				t.Fatalf("got %v, want code %s", err, tt.code)
			}
			for _, word := range tt.words {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%q does not say %q", err, word)
				}
			}
		})
	}
}

func TestACancelledBuild(t *testing.T) {
	s := newStore(t)
	build := spec(t, s.base(t), s.host+"/build/index")
	build.Arch = "amd64"
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := new(builder).Build(ctx, &build); err != context.Canceled {
		t.Errorf("got %v", err)
	}
}
