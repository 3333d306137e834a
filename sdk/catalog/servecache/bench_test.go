package servecache

import (
	"path/filepath"
	"testing"

	"github.com/operator-framework/operator-registry/pkg/cache"

	"github.com/iib-engine/iib/sdk/catalog/catalogtest"
)

// BenchmarkCacheFull makes the cache of an imported catalog, and its layer,
// with nothing in the stores.
func BenchmarkCacheFull(b *testing.B) {
	fsys := catalogtest.Large.OnDisk(b)
	for _, format := range formats {
		b.Run(string(format), func(b *testing.B) {
			f := newFixture(b)
			t := f.load(b, fsys)
			b.SetBytes(t.Size())
			meter := catalogtest.StartMeter(b)
			for b.Loop() {
				cold := newFixture(b)
				cold.build(b, t, format)
			}
			meter.Report()
		})
	}
}

// BenchmarkCacheLayer makes the layer of a built cache, with nothing in the
// layer store.
func BenchmarkCacheLayer(b *testing.B) {
	fsys := catalogtest.Large.OnDisk(b)
	for _, format := range formats {
		b.Run(string(format), func(b *testing.B) {
			f := newFixture(b)
			t := f.load(b, fsys)
			f.build(b, t, format)
			meter := catalogtest.StartMeter(b)
			for b.Loop() {
				cold := newFixture(b)
				l, err := f.build(b, t, format).Layer(b.Context(), cold.layers, filepath.Join(b.TempDir(), "layer"), LayerOptions{})
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(l.Size)/1e6, "MB-layer")
			}
			meter.Report()
		})
	}
}

// BenchmarkCacheIncremental adds a bundle to one package of a catalog whose
// cache and layer were made before: the cache's share of a warm add.
func BenchmarkCacheIncremental(b *testing.B) {
	fsys := catalogtest.Large.OnDisk(b)
	spec := catalogtest.Large
	for _, format := range formats {
		b.Run(string(format), func(b *testing.B) {
			f := newFixture(b)
			t := f.load(b, fsys)
			f.layer(b, f.build(b, t, format))
			dir := b.TempDir()
			meter := catalogtest.StartMeter(b)
			for i := 0; b.Loop(); i++ {
				meter.Pause()
				pkg := i % spec.Packages
				edited, err := t.WithPackage(b.Context(), spec.Name(pkg), spec.Package(pkg, spec.Bundles+1))
				if err != nil {
					b.Fatal(err)
				}
				meter.Resume()
				l, err := f.build(b, edited, format).Layer(b.Context(), f.layers, filepath.Join(dir, "layer"), LayerOptions{})
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(l.Size)/1e6, "MB-layer")
			}
			meter.Report()
		})
	}
}

// BenchmarkVerify verifies the cache of a catalog whose files were verified
// before, but one.
func BenchmarkVerify(b *testing.B) {
	fsys := catalogtest.Large.OnDisk(b)
	spec := catalogtest.Large
	for name, warm := range map[string]bool{"cold": false, "warm": true} {
		b.Run(name, func(b *testing.B) {
			f := newFixture(b)
			t := f.load(b, fsys)
			c := f.build(b, t, Pogreb)
			dir := b.TempDir()
			if warm {
				if err := c.Verify(b.Context(), dir); err != nil {
					b.Fatal(err)
				}
			}
			meter := catalogtest.StartMeter(b)
			for i := 0; b.Loop(); i++ {
				meter.Pause()
				if warm {
					pkg := i % spec.Packages
					edited, err := t.WithPackage(b.Context(), spec.Name(pkg), spec.Package(pkg, spec.Bundles+1))
					if err != nil {
						b.Fatal(err)
					}
					c = f.build(b, edited, Pogreb)
				} else {
					c = newFixture(b).build(b, t, Pogreb)
				}
				if _, err := c.Digest(b.Context()); err != nil {
					b.Fatal(err)
				}
				meter.Resume()
				if err := c.Verify(b.Context(), dir); err != nil {
					b.Fatal(err)
				}
			}
			meter.Report()
		})
	}
}

// BenchmarkCheck runs opm's own check on a built cache.
func BenchmarkCheck(b *testing.B) {
	fsys := catalogtest.Large.OnDisk(b)
	for _, format := range formats {
		b.Run(string(format), func(b *testing.B) {
			f := newFixture(b)
			c := f.build(b, f.load(b, fsys), format)
			meter := catalogtest.StartMeter(b)
			for b.Loop() {
				if err := c.Check(b.Context(), b.TempDir()); err != nil {
					b.Fatal(err)
				}
			}
			meter.Report()
		})
	}
}

// BenchmarkCacheReference is the reference's full build.
func BenchmarkCacheReference(b *testing.B) {
	fsys := catalogtest.Large.OnDisk(b)
	for _, format := range formats {
		b.Run(string(format), func(b *testing.B) {
			meter := catalogtest.StartMeter(b)
			for b.Loop() {
				c, err := cache.New(filepath.Join(b.TempDir(), "cache"), cache.WithFormat(string(format)))
				if err != nil {
					b.Fatal(err)
				}
				if err := c.Build(b.Context(), fsys); err != nil {
					b.Fatal(err)
				}
				if err := c.Close(); err != nil {
					b.Fatal(err)
				}
			}
			meter.Report()
		})
	}
}
