package image

import (
	"crypto/sha256"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/sdktest/distribution"
)

func TestDockerRegistry(t *testing.T) {
	host := distribution.Start(t)
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
