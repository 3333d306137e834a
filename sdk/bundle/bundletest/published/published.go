// Package published reads an archive of published operator bundles, for tests
// that run where there is one. The environment variable IIB_REAL_BUNDLES names
// it: a tar archive, compressed with zstd, of files below
// <root>/<package>/<version>/{manifests,metadata}.
package published

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/blang/semver/v4"
	"github.com/klauspost/compress/zstd"
)

// window is the longest distance of a repetition in the archive.
const window = 128 << 20

// Bundle is a published bundle. Files are the contents of its files, by names
// such as "metadata/annotations.yaml".
type Bundle struct {
	Package, Version string
	Files            map[string][]byte
}

// All is the number of packages for those who want all.
const All = math.MaxInt

// Bundles yields the bundles of the archive's first packages, in its order.
// Without an archive the test is skipped.
func Bundles(t testing.TB, packages int) iter.Seq[Bundle] {
	t.Helper()
	archive := os.Getenv("IIB_REAL_BUNDLES")
	if archive == "" {
		t.Skip("IIB_REAL_BUNDLES does not name an archive of published bundles")
	}
	return func(yield func(Bundle) bool) {
		seen, last := 0, ""
		err := read(archive, func(b Bundle) bool {
			if b.Package != last {
				seen, last = seen+1, b.Package
			}
			return seen <= packages && yield(b)
		})
		if err != nil {
			t.Fatalf("read %s: %v", archive, err)
		}
	}
}

func read(archive string, yield func(Bundle) bool) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := zstd.NewReader(f, zstd.WithDecoderMaxWindow(window))
	if err != nil {
		return err
	}
	defer z.Close()
	var b Bundle
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		parts := strings.SplitN(path.Clean(h.Name), "/", 4)
		if len(parts) < 4 || h.Typeflag != tar.TypeReg {
			continue
		}
		if b.Package != parts[1] || b.Version != parts[2] {
			if b.Files != nil && !yield(b) {
				return nil
			}
			b = Bundle{Package: parts[1], Version: parts[2], Files: make(map[string][]byte)}
		}
		if b.Files[parts[3]], err = io.ReadAll(r); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
	if b.Files != nil {
		yield(b)
	}
	return nil
}

// Write writes the files of a bundle below a directory.
func (b *Bundle) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for name, data := range b.Files {
		if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
			return err
		}
		if err := root.WriteFile(name, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Packages unpacks the bundles of the archive's first packages into directories
// and returns those of each package in version order.
func Packages(t testing.TB, packages int) map[string][]string {
	t.Helper()
	root := t.TempDir()
	found := make(map[string][]string)
	for b := range Bundles(t, packages) {
		dir := filepath.Join(root, b.Package, b.Version)
		if err := b.Write(dir); err != nil {
			t.Fatal(err)
		}
		found[b.Package] = append(found[b.Package], dir)
	}
	for _, dirs := range found {
		slices.SortStableFunc(dirs, func(a, b string) int { return Compare(filepath.Base(a), filepath.Base(b)) })
	}
	return found
}

// Compare orders versions; those that are none stay as the archive has them.
func Compare(a, b string) int {
	va, errA := semver.ParseTolerant(a)
	vb, errB := semver.ParseTolerant(b)
	if errA != nil || errB != nil {
		return 0
	}
	return va.Compare(vb)
}
