package image

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/sdktest/loopback"
)

// dockerRegistry starts Debian's docker-registry, which checks what it is given
// and races as real ones do, and returns its host. It skips the test where the
// program is missing, unless IIB_REQUIRE_REAL is 1.
func dockerRegistry(t testing.TB) string {
	t.Helper()
	program, err := exec.LookPath("docker-registry")
	if err != nil {
		if os.Getenv("IIB_REQUIRE_REAL") == "1" {
			t.Fatal("docker-registry is not installed, and IIB_REQUIRE_REAL is 1")
		}
		t.Skip("docker-registry is not installed (Debian package docker-registry)")
	}
	dir := t.TempDir()
	for range 5 {
		if host, ok := startDockerRegistry(t, program, dir); ok {
			return host
		}
	}
	t.Fatal("docker-registry found no free port")
	return ""
}

func startDockerRegistry(t testing.TB, program, dir string) (host string, ok bool) {
	t.Helper()
	host = loopback.Address(t)
	config := filepath.Join(dir, "config.yml")
	err := os.WriteFile(config, fmt.Appendf(nil, `version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage:
  delete: {enabled: true}
  filesystem: {rootdirectory: %q}
http: {addr: %q}
`, filepath.Join(dir, "storage"), host), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "serve", config)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	stop := func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-ended
	}
	deadline := time.After(20 * time.Second)
	for {
		resp, err := http.Get("http://" + host + "/v2/")
		if err == nil {
			resp.Body.Close()
			t.Cleanup(stop)
			return host, true
		}
		select {
		case <-ended:
			return "", false
		case <-deadline:
			stop()
			t.Fatalf("docker-registry does not answer: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func TestDockerRegistry(t *testing.T) {
	host := dockerRegistry(t)
	r := &testRegistry{host: host}
	ctx := background(t)
	images := make(map[string]v1.Image)
	arches := []string{"amd64", "arm64", "ppc64le", "s390x"}
	common := layerOf(t, file("etc/release", noise(30_000)))
	for _, arch := range arches {
		images[arch] = imageOf(t, arch, nil, common, layerOf(t, file("bin/opm", arch+noise(20_000))))
	}
	base := r.put(t, "tools/base:v1", listOf(t, images, arches...))

	for round := range 3 {
		t.Run(fmt.Sprintf("a build of four architectures at once, round %d", round), func(t *testing.T) {
			c := newTestClient(t)
			repo := fmt.Sprintf("%s/build/index-%d", host, round)
			layers := []sdk.Layer{
				layerFile(t, file("configs/a.json", fmt.Sprint(round)+noise(100_000))),
				layerFile(t, file("tmp/cache/b", fmt.Sprint(round)+noise(200_000))),
			}
			var mu sync.Mutex
			var sent atomic.Int64
			built := make(map[string]sdk.Digest)
			var wg sync.WaitGroup
			for _, arch := range arches {
				wg.Go(func() {
					info, err := c.Inspect(ctx, base, arch)
					if err != nil {
						t.Error(err)
						return
					}
					b, err := Assemble(Assembly{Base: info, Arch: arch, Layers: layers, Config: sdk.ImageConfig{Created: created}})
					if err != nil {
						t.Error(err)
						return
					}
					n, err := c.Push(ctx, repo, b)
					if err != nil {
						t.Error(err)
						return
					}
					sent.Add(n - int64(len(b.Config)))
					mu.Lock()
					defer mu.Unlock()
					built[arch] = b.Digest
				})
			}
			wg.Wait()
			if t.Failed() {
				return
			}
			if want := layers[0].Size + layers[1].Size; sent.Load() != want {
				t.Errorf("sent %d bytes of layers, want %d: each new one once, the base's mounted", sent.Load(), want)
			}
			list, err := c.PutList(ctx, repo, built, false)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Tag(ctx, list.Pinned(), "v4.16"); err != nil {
				t.Fatal(err)
			}
			wantValid(t, repo+":v4.16")

			release := fmt.Sprintf("%s/release/index-%d:v4.16", host, round)
			copied, err := c.Copy(ctx, list.Pinned(), release)
			if err != nil {
				t.Fatal(err)
			}
			if copied.Sent != 0 || copied.Digest != list.Digest {
				t.Errorf("the copy %s took %d bytes", copied.Digest, copied.Sent)
			}
			wantValid(t, release)
			got, err := newTestClient(t).ReadFile(ctx, release, "s390x", "configs/a.json", 1<<20)
			if err != nil || string(got) != fmt.Sprint(round)+noise(100_000) {
				t.Errorf("read back %d bytes, %v", len(got), err)
			}
		})
	}

	c := newTestClient(t)
	t.Run("what is not there", func(t *testing.T) {
		_, err := c.Resolve(ctx, host+"/no/such:v1")
		wantCode(t, err, sdk.NotFound, host+"/no/such:v1")
		_, err = c.Resolve(ctx, host+"/tools/base:none")
		wantCode(t, err, sdk.NotFound)
		_, err = c.Resolve(ctx, host+"/tools/base@"+someDigest)
		wantCode(t, err, sdk.NotFound)
		_, err = c.Inspect(ctx, base, "riscv64")
		wantCode(t, err, sdk.NotFound, "amd64, arm64, ppc64le, s390x")
	})
	t.Run("a manifest whose blobs are not there", func(t *testing.T) {
		b := mustAssemble(t, Assembly{Arch: "amd64", Layers: []sdk.Layer{layerFile(t, file("a", "never pushed"))}})
		_, err := c.PutManifest(ctx, host+"/a/incomplete:v1", b.MediaType, b.Manifest)
		wantCode(t, err, sdk.Unavailable, "UNKNOWN")
	})
	t.Run("an OCI image", func(t *testing.T) {
		b := mustAssemble(t, Assembly{Arch: "amd64", OCI: true, Layers: []sdk.Layer{layerFile(t, file("a", "oci"))}})
		if _, err := c.Push(ctx, host+"/a/oci", b); err != nil {
			t.Fatal(err)
		}
		if _, err := c.PutList(ctx, host+"/a/oci:v1", map[string]sdk.Digest{"amd64": b.Digest}, true); err != nil {
			t.Fatal(err)
		}
		wantValid(t, host+"/a/oci:v1")
	})
	t.Run("a resumed download", func(t *testing.T) {
		info, err := c.Inspect(ctx, base, "amd64")
		if err != nil {
			t.Fatal(err)
		}
		s, err := c.session(ctx, info.Ref, sdk.Access{}, scope(info.Ref.Repository, pull))
		if err != nil {
			t.Fatal(err)
		}
		l := info.Layers[0]
		for _, size := range []int64{l.Size, -1} {
			part := &transfer{w: io.Discard, hash: sha256.New(), done: 100, limit: l.Size}
			if err := c.fetchRest(ctx, s, "/v2/"+info.Ref.Repository+"/blobs/"+string(l.Digest), size, part); err != nil || part.done != l.Size || part.whole {
				t.Errorf("fetched up to %d of %d, %v", part.done, l.Size, err)
			}
		}
	})
	t.Run("tags are not deleted by this registry", func(t *testing.T) {
		wantCode(t, c.DeleteTag(ctx, base), sdk.Denied, "does not delete tags")
	})
}
