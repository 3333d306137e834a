package oci_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/iib-engine/iib/plugins/registry/internal/store"
	"github.com/iib-engine/iib/sdk/sdktest/distribution"
)

// BenchmarkPush pushes to this registry and, where that is installed, to the
// distribution project's own, both over loopback onto the same disk.
func BenchmarkPush(b *testing.B) {
	b.Run("ours", func(b *testing.B) { benchmarkPush(b, newRegistry(b, store.Options{})) })
	b.Run("distribution", func(b *testing.B) { benchmarkPush(b, &registry{t: b, url: "http://" + distribution.Start(b)}) })
}

func benchmarkPush(b *testing.B, r *registry) {
	round := 0
	b.Run("small blob", func(b *testing.B) {
		r.t = b
		for b.Loop() {
			round++
			r.pushBlob("bench/small", fmt.Appendf(nil, "small blob %d", round))
		}
	})
	b.Run("small image", func(b *testing.B) {
		r.t = b
		for b.Loop() {
			round++
			r.pushManifest("bench/image", "v1", r.image("bench/image", fmt.Sprintf("image %d", round), nil))
		}
	})
	b.Run("500 small images", func(b *testing.B) {
		r.t = b
		for b.Loop() {
			for range 500 {
				round++
				r.pushManifest("bench/image", "v1", r.image("bench/image", fmt.Sprintf("image %d", round), nil))
			}
		}
	})
	b.Run("layer of 60 MiB", func(b *testing.B) {
		r.t = b
		content := noise(60 << 20)
		b.SetBytes(int64(len(content)))
		for b.Loop() {
			b.StopTimer()
			round++
			binary.BigEndian.PutUint64(content, uint64(round))
			d := digest.FromBytes(content)
			b.StartTimer()
			start := r.want(http.StatusAccepted, "POST", "/v2/bench/large/blobs/uploads/", nil)
			r.want(http.StatusCreated, "PUT", withDigest(start.Header.Get("Location"), d), content)
		}
	})
	b.Run("pull of 60 MiB", func(b *testing.B) {
		r.t = b
		content := noise(60 << 20)
		d := r.pushBlob("bench/large", content)
		b.SetBytes(int64(len(content)))
		for b.Loop() {
			resp, err := http.Get(r.url + "/v2/bench/large/blobs/" + d.String())
			if err != nil {
				b.Fatal(err)
			}
			n, err := io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if err != nil || n != int64(len(content)) {
				b.Fatalf("%d bytes came: %v", n, err)
			}
		}
	})
}

// noise returns n bytes that do not compress.
func noise(n int) []byte {
	content := make([]byte, 0, n+sha256.Size)
	for sum := sha256.Sum256(nil); len(content) < n; sum = sha256.Sum256(sum[:]) {
		content = append(content, sum[:]...)
	}
	return bytes.Clone(content[:n])
}
