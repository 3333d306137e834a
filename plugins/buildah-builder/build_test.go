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
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/klauspost/compress/gzip"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/image"
	"github.com/iib-engine/iib/sdk/sdktest"
	"github.com/iib-engine/iib/sdk/sdktest/real"
)

// newTool returns a builder whose buildah works here, and skips the test where
// none does, unless IIB_REQUIRE_REAL is 1.
func newTool(t *testing.T) *builder {
	t.Helper()
	b := newBuilder()
	b.StorageDriver = "vfs"
	b.StorageDir = t.TempDir()
	real.Need(t, b.Program)
	tool, err := b.tool(&sdk.BuildSpec{}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := tool.run(t.Context(), local, "from", "--quiet", "--name", "trial", "scratch"); err != nil {
		real.Missing(t, "buildah does not work for this user: %v", err)
	}
	if err := tool.run(t.Context(), local, "rm", "trial"); err != nil {
		t.Fatal(err)
	}
	return b
}

// store is an in-memory registry that may ask for a login.
type store struct {
	host string
	mu   sync.Mutex
	user string
}

func newStore(t *testing.T) *store {
	t.Helper()
	s := new(store)
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
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

type entry struct {
	name, body string
	uid        int
	mode       int64
}

func archive(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Uid: e.uid, Mode: e.mode, Size: int64(len(e.body)), Typeflag: tar.TypeReg}
		if strings.HasSuffix(e.name, "/") {
			h.Typeflag = tar.TypeDir
		}
		if h.Mode == 0 {
			h.Mode = 0o755
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

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func layer(t *testing.T, entries ...entry) sdk.Layer {
	t.Helper()
	unpacked := archive(t, entries...)
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(unpacked); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "layer.tar.gz")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return sdk.Layer{Path: path, Digest: digest(b.Bytes()), DiffID: digest(unpacked), Size: int64(b.Len()), CreatedBy: "add the catalog"}
}

func newSpec(t *testing.T, base, arch, repository string, layers ...sdk.Layer) *sdk.BuildSpec {
	t.Helper()
	return &sdk.BuildSpec{
		ImageSpec: sdk.ImageSpec{
			Base: base, Arches: []string{arch}, Layers: layers, Repository: repository,
			Config: sdk.ImageConfig{Created: time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC)},
		},
		Arch: arch, CacheDir: t.TempDir(), Workspace: t.TempDir(),
	}
}

// pushBase makes a base with the library, for an architecture that this machine
// need not have.
func pushBase(t *testing.T, repository, arch string) string {
	t.Helper()
	client := image.New(image.Options{})
	built, err := image.Assemble(image.Assembly{
		Arch: arch,
		Layers: []sdk.Layer{layer(t, entry{name: "bin/"}, entry{name: "bin/opm", body: "program"}, entry{name: "configs/"},
			entry{name: "configs/old.json", body: "old"}, entry{name: "configs/kept.json", body: "kept"}, entry{name: "cache/"}, entry{name: "cache/old", body: "old"})},
		Config: sdk.ImageConfig{Labels: map[string]string{"base": "yes"}, Cmd: []string{"from", "the base"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Push(t.Context(), repository, built); err != nil {
		t.Fatal(err)
	}
	list, err := client.PutList(t.Context(), repository, map[string]sdk.Digest{arch: built.Digest}, false)
	if err != nil {
		t.Fatal(err)
	}
	return list.Pinned()
}

func TestBuildOnABase(t *testing.T) {
	b := newTool(t)
	from, to := newStore(t), newStore(t)
	base := pushBase(t, from.host+"/tools/base", "s390x")
	from.user, to.user = "reader", "writer"
	spec := newSpec(t, base, "s390x", to.host+"/build/index", layer(t,
		entry{name: "configs/"}, entry{name: "configs/.wh.old.json"}, entry{name: "configs/new.json", body: "new"},
		entry{name: "cache/"}, entry{name: "cache/.wh..wh..opq"}, entry{name: "cache/new", body: "n", uid: 1001, mode: 0o640},
	), layer(t, entry{name: "database/"}, entry{name: "database/index.db", body: "db"}))
	spec.Config.Labels = map[string]string{"index": "yes", "odd": `a,b="c" $HOME`}
	spec.Config.Entrypoint = []string{"/bin/opm", "with space"}
	spec.Config.ExposedPorts = []string{"50051"}
	spec.BaseAccess = sdk.Access{Username: "reader", Password: "password of reader"}
	spec.PushAccess = sdk.Access{Username: "writer", Password: "password of writer"}

	digest, err := sdktest.Builder(t, b).Build(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	client := image.New(image.Options{CacheDir: t.TempDir(), Access: func(context.Context, string) (sdk.Access, error) { return spec.PushAccess, nil }})
	info, err := client.Inspect(ctx, spec.Repository+"@"+string(digest), "s390x")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"base": "yes", "index": "yes", "odd": `a,b="c" $HOME`}, info.Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	c := info.Config.Config
	if diff := cmp.Diff([][]string{{"/bin/opm", "with space"}, {"from", "the base"}}, [][]string{c.Entrypoint, c.Cmd}); diff != "" {
		t.Errorf("entrypoint and command (-want +got):\n%s", diff)
	}
	if _, ok := c.ExposedPorts["50051/tcp"]; !ok || !info.Created.Equal(spec.Config.Created) {
		t.Errorf("ports %v, created %v", c.ExposedPorts, info.Created)
	}
	if info.MediaType != "application/vnd.docker.distribution.manifest.v2+json" {
		t.Errorf("media type %s", info.MediaType)
	}
	dst := t.TempDir()
	files := client.Files(info)
	if err := files.Extract(ctx, dst, "configs", "cache", "database", "bin"); err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	for _, pattern := range []string{"configs/*", "cache/*", "database/*", "bin/*"} {
		paths, _ := filepath.Glob(filepath.Join(dst, pattern))
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got[strings.TrimPrefix(path, dst+"/")] = string(data)
		}
	}
	want := map[string]string{"bin/opm": "program", "configs/kept.json": "kept", "configs/new.json": "new", "cache/new": "n", "database/index.db": "db"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if f, err := files.Stat(ctx, "cache/new"); err != nil || f.Mode != 0o640 {
		t.Errorf("mode %o, %v", f.Mode, err)
	}
	if left, _ := os.ReadDir(spec.Workspace); len(left) != 0 {
		t.Errorf("left in the workspace: %v", left)
	}
	if tags, err := client.Tags(ctx, spec.Repository); err != nil || len(tags) != 0 {
		t.Errorf("left in the repository: %v, %v", tags, err)
	}
}

func TestBuildFromScratch(t *testing.T) {
	b := newTool(t)
	s := newStore(t)
	for name, oci := range map[string]bool{"with Docker media types": false, "with OCI media types": true} {
		t.Run(name, func(t *testing.T) {
			spec := newSpec(t, sdk.Scratch, "arm64", s.host+"/build/index", layer(t, entry{name: "configs/"}, entry{name: "configs/a", body: "1"}))
			spec.OCI = oci
			digest, err := sdktest.Builder(t, b).Build(t.Context(), spec)
			if err != nil {
				t.Fatal(err)
			}
			info, err := image.New(image.Options{}).Inspect(t.Context(), spec.Repository+"@"+string(digest), "arm64")
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Contains(info.MediaType, "oci"); got != oci {
				t.Errorf("media type %s", info.MediaType)
			}
		})
	}
}

func TestBuildsThatCannotSucceed(t *testing.T) {
	s, locked := newStore(t), newStore(t)
	base := pushBase(t, s.host+"/tools/base", "s390x")
	locked.user = "writer"
	for name, tt := range map[string]struct {
		change func(*sdk.BuildSpec)
		code   sdk.Code
		word   string
	}{
		"an architecture that the base does not have": {func(s *sdk.BuildSpec) { s.Arch = "amd64" }, sdk.NotFound, "only for s390x"},
		"a base that does not exist":                  {func(s *sdk.BuildSpec) { s.Base = strings.Replace(base, "base@", "none@", 1) }, sdk.NotFound, "/tools/none"},
		"a target that refuses":                       {func(s *sdk.BuildSpec) { s.Repository = locked.host + "/a/b" }, sdk.Denied, locked.host},
		"a target in a denied network":                {func(s *sdk.BuildSpec) { s.PushAccess.DeniedNetworks = []string{"127.0.0.0/8"} }, sdk.Denied, "denied network"},
		"no buildah":                                  {func(*sdk.BuildSpec) {}, sdk.Internal, "set program"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBuilder()
			b.Program = filepath.Join(t.TempDir(), "none")
			spec := newSpec(t, base, "s390x", s.host+"/build/index")
			tt.change(spec)
			_, err := b.Build(t.Context(), spec)
			if sdk.CodeOf(err) != tt.code || !strings.Contains(err.Error(), tt.word) {
				t.Errorf("got %v, want code %s and %q", err, tt.code, tt.word)
			}
		})
	}
}

func TestACancelledBuildEndsAtOnceAndLeavesNothing(t *testing.T) {
	program := filepath.Join(t.TempDir(), "buildah")
	started := filepath.Join(t.TempDir(), "started")
	// It hangs, together with a child, the way that buildah does in a namespace
	// of its own.
	script := "#!/bin/sh\ncase \"$*\" in *' from '*) : > '" + started + "'; sleep 600 & wait;; esac\n"
	if err := os.WriteFile(program, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	b := newBuilder()
	b.Program = program
	spec := newSpec(t, sdk.Scratch, "amd64", newStore(t).host+"/build/index")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := b.Build(ctx, spec)
		done <- err
	}()
	for {
		if _, err := os.Stat(started); err == nil {
			break
		}
		select {
		case err := <-done:
			t.Fatal(err)
		case <-time.After(5 * time.Millisecond):
		}
	}
	cancel()
	if err := <-done; err != context.Canceled {
		t.Errorf("got %v", err)
	}
	if left, _ := os.ReadDir(spec.Workspace); len(left) != 0 {
		t.Errorf("left in the workspace: %v", left)
	}
}

func TestValidate(t *testing.T) {
	if err := newBuilder().Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	for field, b := range map[string]*builder{
		"program":        {Program: "buildah"},
		"storage_dir":    {Program: "/usr/bin/buildah", StorageDir: "here"},
		"storage_driver": {Program: "/usr/bin/buildah", StorageDriver: "btrfs"},
	} {
		err, _ := b.Validate().(*sdk.Error)
		if err == nil || err.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestFailure(t *testing.T) {
	for stderr, want := range map[string]struct {
		where place
		code  sdk.Code
		text  string
	}{
		"Trying to pull...\nError: writing blob: unauthorized: access to the requested resource is not authorized\n": {remote, sdk.Denied, "buildah push: writing blob: unauthorized: access to the requested resource is not authorized"},
		"Error: reading manifest x in quay.io/a/b: manifest unknown":                                                 {remote, sdk.NotFound, "buildah push: reading manifest x in quay.io/a/b: manifest unknown"},
		"Error: read tcp: connection reset by peer":                                                                  {remote, sdk.Unavailable, "buildah push: read tcp: connection reset by peer"},
		"write /x: no space left on device":                                                                          {local, sdk.Unavailable, "buildah push: write /x: no space left on device"},
		"something\x1b[31m odd":                                                                                      {local, sdk.Internal, "buildah push: something [31m odd"},
		"":                                                                                                           {local, sdk.Internal, "buildah push: exit status 125"},
	} {
		err := failure("push", stderr, errExit{}, want.where)
		if sdk.CodeOf(err) != want.code || err.Error() != want.text {
			t.Errorf("%q: %s %q", stderr, sdk.CodeOf(err), err)
		}
	}
	long := failure("push", strings.Repeat("x", 5000), errExit{}, local)
	if n := len(long.Error()); n > 600 {
		t.Errorf("the message has %d characters", n)
	}
}

type errExit struct{}

func (errExit) Error() string { return "exit status 125" }

func TestDeletions(t *testing.T) {
	for name, want := range map[string]struct {
		target string
		empty  bool
		is     bool
	}{
		"a/b":              {"", false, false},
		"a/.wh.b":          {"a/b", false, true},
		"./.wh.b":          {"b", false, true},
		"/a/.wh..wh..opq":  {"a", true, true},
		".wh..wh..opq":     {".", true, true},
		"a/.wh.":           {"", false, true},
		"a/.wh...":         {"", false, true},
		"a/.wh..":          {"", false, true},
		"../../a/.wh.b":    {"a/b", false, true},
		"a/.wherever":      {"", false, false},
		"a/.wh.b/c":        {"", false, false},
		"a/.wh..b":         {"a/.b", false, true},
		"a/b/../.wh.gone/": {"a/gone", false, true},
	} {
		target, empties, is := deletion(name)
		if target != want.target || empties != want.empty || is != want.is {
			t.Errorf("%q: %q, %t, %t", name, target, empties, is)
		}
	}
}

func TestDeletionsStayInTheContainer(t *testing.T) {
	outside := t.TempDir()
	kept := filepath.Join(outside, "kept")
	if err := os.WriteFile(kept, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	container := t.TempDir()
	if err := os.Symlink(outside, filepath.Join(container, "link")); err != nil {
		t.Fatal(err)
	}
	for _, d := range []*deletions{{gone: []string{"link/kept"}}, {emptied: []string{"link"}}} {
		if err := d.apply(container); err == nil {
			t.Errorf("%+v was followed out of the container", d)
		}
	}
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
	if err := (&deletions{emptied: []string{"none"}, gone: []string{"none/x", "link"}}).apply(container); err != nil {
		t.Errorf("what is not there, and a link itself: %v", err)
	}
}

func TestCredentialsAreInAFileThatOnlyWeCanRead(t *testing.T) {
	spec := newSpec(t, "quay.io/base/image@sha256:"+strings.Repeat("0", 64), "amd64", "quay.io/build/index")
	spec.BaseAccess = sdk.Access{Username: "reader", Password: "one"}
	spec.PushAccess = sdk.Access{Username: "writer", Password: "two"}
	tool, err := newBuilder().tool(spec, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(tool.auth)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	for repository, want := range map[string]string{"quay.io/base/image": "reader one", "quay.io/build/index": "writer two", "quay.io/other": " "} {
		user, password, err := image.Credentials(tool.auth, repository+":v1")
		if got := user + " " + password.Reveal(); err != nil || got != want {
			t.Errorf("%s: %q, %v", repository, got, err)
		}
	}
	ref, err := image.ParseRef(spec.Repository)
	if err != nil {
		t.Fatal(err)
	}
	spec.PushAccess.CAFile = "/etc/ca.pem"
	flags, err := tool.reach(ref, spec.PushAccess)
	if err != nil || strings.Contains(strings.Join(flags, " "), "two") {
		t.Errorf("flags %v, %v", flags, err)
	}
}
