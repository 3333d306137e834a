package tree_test

import (
	"bytes"
	"crypto/sha256"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/gzip"

	"github.com/iib-engine/iib/sdk/catalog/catalogtest"
	"github.com/iib-engine/iib/sdk/catalog/tree"
	"github.com/iib-engine/iib/sdk/image/layer"
)

func stores(tb testing.TB) (*tree.Store, *layer.Store) {
	tb.Helper()
	trees, err := tree.Open(filepath.Join(tb.TempDir(), "trees"), tree.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	layers, err := layer.Open(filepath.Join(tb.TempDir(), "layers"), layer.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	return trees, layers
}

func BenchmarkImport(b *testing.B) {
	fsys := catalogtest.Large.OnDisk(b)
	for name, warm := range map[string]bool{"cold": false, "warm": true} {
		b.Run(name, func(b *testing.B) {
			trees, _ := stores(b)
			if _, err := trees.Import(b.Context(), "base", tree.FromFS(fsys)); err != nil {
				b.Fatal(err)
			}
			meter := catalogtest.StartMeter(b)
			for b.Loop() {
				if !warm {
					meter.Pause()
					trees, _ = stores(b)
					meter.Resume()
				}
				t, err := trees.Import(b.Context(), "base", tree.FromFS(fsys))
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(t.Size())
			}
			meter.Report()
		})
	}
}

// BenchmarkEditLayer adds a bundle to one package of a remembered catalog and
// makes the new catalog layer: the catalog's share of a warm add.
func BenchmarkEditLayer(b *testing.B) {
	fsys := catalogtest.Large.OnDisk(b)
	trees, layers := stores(b)
	spec := catalogtest.Large
	t, err := trees.Import(b.Context(), "base", tree.FromFS(fsys))
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	if _, err := t.Layer(b.Context(), layers, filepath.Join(dir, "base"), tree.LayerOptions{}); err != nil {
		b.Fatal(err)
	}
	meter := catalogtest.StartMeter(b)
	for i := 0; b.Loop(); i++ {
		base, err := trees.Import(b.Context(), "base", nil)
		if err != nil {
			b.Fatal(err)
		}
		pkg := i % spec.Packages
		metas, err := base.Metas(b.Context(), spec.Name(pkg))
		if err != nil || len(metas) == 0 {
			b.Fatal(len(metas), err)
		}
		edited, err := base.WithPackage(b.Context(), spec.Name(pkg), spec.Package(pkg, spec.Bundles+1))
		if err != nil {
			b.Fatal(err)
		}
		l, err := edited.Layer(b.Context(), layers, filepath.Join(dir, "edited"), tree.LayerOptions{})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(l.Size)/1e6, "MB-layer")
		b.SetBytes(edited.Size())
	}
	meter.Report()
}

// BenchmarkFloor is what no engine can do without on the same bytes: read,
// hash, compress, hash and write. "one package" is an ideal warm edit that
// knows by magic what has changed.
func BenchmarkFloor(b *testing.B) {
	fsys := catalogtest.Large.OnDisk(b)
	for name, pattern := range map[string]string{"whole catalog": "*/catalog.json", "one package": "operator-000/catalog.json"} {
		b.Run(name, func(b *testing.B) {
			names, err := fs.Glob(fsys, pattern)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				var size int64
				out, err := os.Create(filepath.Join(b.TempDir(), "floor"))
				if err != nil {
					b.Fatal(err)
				}
				digest, diffID := sha256.New(), sha256.New()
				gz, err := gzip.NewWriterLevel(io.MultiWriter(out, digest), gzip.BestSpeed)
				if err != nil {
					b.Fatal(err)
				}
				for _, name := range names {
					data, err := fs.ReadFile(fsys, name)
					if err != nil {
						b.Fatal(err)
					}
					size += int64(len(data))
					if _, err := io.Copy(io.MultiWriter(gz, diffID), bytes.NewReader(data)); err != nil {
						b.Fatal(err)
					}
				}
				if err := gz.Close(); err != nil {
					b.Fatal(err)
				}
				out.Close()
				b.SetBytes(size)
			}
		})
	}
}
