package catalog_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/iib-engine/iib/sdk/catalog"
	"github.com/iib-engine/iib/sdk/catalog/catalogtest"
)

// reportCPU adds processor time to a benchmark's figures: on a busy machine
// that is what can be compared.
func reportCPU(b *testing.B) {
	b.Helper()
	b.ReportAllocs()
	used := func() int64 {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return u.Utime.Nano() + u.Stime.Nano()
	}
	before := used()
	b.Cleanup(func() { b.ReportMetric(float64(used()-before)/float64(b.N)/1e6, "cpu-ms/op") })
}

func BenchmarkReadBundle(b *testing.B) {
	spec := catalogtest.Operator(1, 1, 1)[0]
	dir := b.TempDir()
	if err := spec.Write(dir); err != nil {
		b.Fatal(err)
	}
	size := 0
	for _, data := range spec.Files() {
		size += len(data)
	}
	b.SetBytes(int64(size))
	reportCPU(b)
	for b.Loop() {
		if _, err := catalog.ReadBundle(dir, spec.Image(catalogtest.Registry)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAddToFile adds the sixteenth bundle to a package of fifteen.
func BenchmarkAddToFile(b *testing.B) {
	var bundles []*catalog.Bundle
	for _, spec := range catalogtest.Operator(1, 2, 16) {
		read, err := spec.Read(spec.Image(catalogtest.Registry))
		if err != nil {
			b.Fatal(err)
		}
		bundles = append(bundles, read)
	}
	p, err := catalog.Add(nil, bundles[:15], catalog.AddOptions{})
	if err != nil {
		b.Fatal(err)
	}
	reportCPU(b)
	for b.Loop() {
		if _, err := catalog.Add(p, bundles[15:], catalog.AddOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}

// databasePackages is how many packages of fifteen bundles the benchmarks'
// database has. Three hundred make it as large as those of published indexes.
var databasePackages = flag.Int("database-packages", 20, "the size of the database in benchmarks")

func benchmarkDatabase(b *testing.B) (path string, next *catalog.Bundle) {
	b.Helper()
	ctx := context.Background()
	path = filepath.Join(b.TempDir(), "index.db")
	db, err := catalog.CreateDatabase(ctx, path)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	for i := range *databasePackages {
		var bundles []*catalog.Bundle
		for _, spec := range catalogtest.Operator(1, i, 16) {
			spec.JSON = true
			read, err := spec.Read(spec.Image(catalogtest.Registry))
			if err != nil {
				b.Fatal(err)
			}
			bundles = append(bundles, read)
		}
		if err := db.Add(ctx, bundles[:15], catalog.AddOptions{}); err != nil {
			b.Fatal(err)
		}
		next = bundles[15]
	}
	return path, next
}

func BenchmarkDatabase(b *testing.B) {
	ctx := context.Background()
	path, next := benchmarkDatabase(b)
	info, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("%d MB", info.Size()>>20)
	open := func(b *testing.B) *catalog.Database {
		db, err := catalog.OpenDatabase(ctx, path)
		if err != nil {
			b.Fatal(err)
		}
		return db
	}
	b.Run("open and list", func(b *testing.B) {
		reportCPU(b)
		for b.Loop() {
			db := open(b)
			if _, err := db.Bundles(ctx); err != nil {
				b.Fatal(err)
			}
			db.Close()
		}
	})
	b.Run("migrate one package", func(b *testing.B) {
		reportCPU(b)
		db := open(b)
		defer db.Close()
		for b.Loop() {
			if _, err := db.Package(ctx, next.Package); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("add one bundle", func(b *testing.B) {
		reportCPU(b)
		db := open(b)
		defer db.Close()
		n := 0
		for b.Loop() {
			opts := catalog.AddOptions{OverwriteLatest: n > 0}
			if n++; n > 1 {
				clone := *next
				clone.Image = fmt.Sprintf("%s@sha256:%064x", catalogtest.Registry, n)
				next = &clone
			}
			if err := db.Add(ctx, []*catalog.Bundle{next}, opts); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("remove a package", func(b *testing.B) {
		reportCPU(b)
		db := open(b)
		defer db.Close()
		names, err := db.Packages(ctx)
		if err != nil {
			b.Fatal(err)
		}
		for n := 0; b.Loop() && n < len(names)/2; n++ {
			if err := db.Remove(ctx, names[n]); err != nil {
				b.Fatal(err)
			}
		}
	})
}
