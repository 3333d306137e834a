package catalogtest

import (
	"bufio"
	"os"
	"path/filepath"
	"runtime"
	"testing/fstest"

	"golang.org/x/sync/errgroup"

	"github.com/iib-engine/iib/sdk/catalog"
)

// Registry is where the bundles of generated catalogs seem to be.
const Registry = "registry.example.com/bundles"

// Read gives the bundle as the catalog package sees it, without a directory.
func (b Bundle) Read(image string) (*catalog.Bundle, error) {
	fsys := fstest.MapFS{}
	for name, data := range b.Files() {
		fsys[name] = &fstest.MapFile{Data: data}
	}
	return catalog.ReadBundleFS(fsys, image)
}

// Package returns the i-th operator of a seed with n versions as a file-based
// package. Fifteen versions are about 0.3 MB.
func Package(seed uint64, i, n int) (*catalog.Package, error) {
	var bundles []*catalog.Bundle
	for _, spec := range Operator(seed, i, n) {
		spec.JSON = true
		b, err := spec.Read(spec.Image(Registry))
		if err != nil {
			return nil, err
		}
		bundles = append(bundles, b)
	}
	return catalog.Add(nil, bundles, catalog.AddOptions{})
}

// WriteCatalog writes a file-based catalog below dir, which it makes: the
// packages with n versions each, in files <package>/catalog.json. A catalog of
// 300 packages of 15 versions has about 100 MB. It returns the names of the
// packages in order.
func WriteCatalog(dir string, seed uint64, packages, n int) ([]string, error) {
	names := make([]string, packages)
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i := range packages {
		group.Go(func() error {
			p, err := Package(seed, i, n)
			if err != nil {
				return err
			}
			names[i] = p.Name
			return writePackage(filepath.Join(dir, p.Name), p)
		})
	}
	return names, group.Wait()
}

func writePackage(dir string, p *catalog.Package) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(dir, "catalog.json"))
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	if err := catalog.WriteBlobs(w, p.Blobs); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Close()
}
