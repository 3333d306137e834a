package image

import (
	"archive/tar"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/sdktest/distribution"
)

// catalogEntries look like a file-based catalog: many packages of JSON that
// compresses to about a tenth.
func catalogEntries(packages, size int) []entry {
	random := rand.New(rand.NewPCG(1, 2))
	words := make([]string, 500)
	for i := range words {
		words[i] = fmt.Sprintf("%x", random.Uint64())
	}
	entries := make([]entry, 0, packages)
	for p := range packages {
		body := make([]byte, 0, size)
		for len(body) < size {
			body = append(body, `{"schema":"olm.bundle","name":"`...)
			body = append(body, words[random.IntN(len(words))]...)
			body = append(body, `","properties":[{"type":"olm.gvk"}]}`+"\n"...)
		}
		entries = append(entries, file(fmt.Sprintf("configs/package-%03d/catalog.json", p), string(body)))
	}
	return entries
}

// benchIndex is an index image of about 90 MB of catalog over a base layer.
func benchIndex(b *testing.B) (*testRegistry, string) {
	b.Helper()
	r := newTestRegistry(b)
	base := layerOf(b, file("bin/opm", noise(20<<20)))
	spec := r.put(b, "a/index:v1", imageOf(b, "amd64", nil, base, layerOf(b, catalogEntries(300, 300<<10)...)))
	r.forget()
	return r, spec
}

func BenchmarkInspectWarm(b *testing.B) {
	_, spec := benchIndex(b)
	c, ctx := newTestClient(b), b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Inspect(ctx, spec, "amd64"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkExtractCatalog(b *testing.B) {
	_, spec := benchIndex(b)
	b.Run("cold", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := newTestClient(b).ExtractDirs(b.Context(), spec, "amd64", b.TempDir(), "configs"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("warm", func(b *testing.B) {
		c := newTestClient(b)
		b.ReportAllocs()
		for b.Loop() {
			if err := c.ExtractDirs(b.Context(), spec, "amd64", b.TempDir(), "configs"); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkWalkCatalogLayer streams a layer that is in the cache, as an edit of
// a catalog does.
func BenchmarkWalkCatalogLayer(b *testing.B) {
	_, spec := benchIndex(b)
	c, ctx := newTestClient(b), b.Context()
	info, err := c.Inspect(ctx, spec, "amd64")
	if err != nil {
		b.Fatal(err)
	}
	walk := func() (n int64) {
		err := c.WalkLayer(ctx, info, info.Layers[1], func(_ *tar.Header, r io.Reader) error {
			size, err := io.Copy(io.Discard, r)
			n += size
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
		return n
	}
	b.SetBytes(walk())
	b.ReportAllocs()
	for b.Loop() {
		walk()
	}
}

func BenchmarkReadFileWarm(b *testing.B) {
	_, spec := benchIndex(b)
	c, ctx := newTestClient(b), b.Context()
	for b.Loop() {
		if _, err := c.ReadFile(ctx, spec, "amd64", "configs/package-000/catalog.json", 1<<20); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBuildFourArches assembles, pushes and lists an image with one new
// layer of 4 MB over bases that are in the same registry.
func BenchmarkBuildFourArches(b *testing.B) {
	for name, host := range map[string]func() string{
		"in memory":       func() string { return newTestRegistry(b).host },
		"docker-registry": func() string { return distribution.Start(b) },
	} {
		b.Run(name, func(b *testing.B) {
			r := &testRegistry{host: host()}
			arches := []string{"amd64", "arm64", "ppc64le", "s390x"}
			images := make(map[string]v1.Image)
			for _, arch := range arches {
				images[arch] = imageOf(b, arch, nil, layerOf(b, file("bin/opm", arch+noise(1<<20))), layerOf(b, file("etc/x", arch)))
			}
			base := r.put(b, "tools/base:v1", listOf(b, images, arches...))
			c := newTestClient(b)
			var sent int64
			for n := 0; b.Loop(); n++ {
				b.StopTimer()
				layer := layerFile(b, file("configs/a.json", fmt.Sprint(n)+noise(4<<20)))
				b.StartTimer()
				sent += buildArches(b, c, base, fmt.Sprintf("%s/build/index-%d", r.host, n%4), arches, layer)
			}
			b.ReportMetric(float64(sent)/float64(b.N), "sent-bytes/op")
		})
	}
}

func buildArches(b *testing.B, c *Client, base, repo string, arches []string, layer sdk.Layer) (sent int64) {
	b.Helper()
	ctx := b.Context()
	type result struct {
		arch string
		sent int64
		d    sdk.Digest
		err  error
	}
	results := make(chan result, len(arches))
	for _, arch := range arches {
		go func() {
			r := result{arch: arch}
			defer func() { results <- r }()
			info, err := c.Inspect(ctx, base, arch)
			if err != nil {
				r.err = err
				return
			}
			built, err := Assemble(Assembly{Base: info, Arch: arch, Layers: []sdk.Layer{layer}, Config: sdk.ImageConfig{Created: created}})
			if err != nil {
				r.err = err
				return
			}
			r.d = built.Digest
			r.sent, r.err = c.Push(ctx, repo, built)
		}()
	}
	digests := make(map[string]sdk.Digest)
	for range arches {
		r := <-results
		if r.err != nil {
			b.Fatal(r.err)
		}
		digests[r.arch] = r.d
		sent += r.sent
	}
	if _, err := c.PutList(ctx, repo+":latest", digests, false); err != nil {
		b.Fatal(err)
	}
	return sent
}
