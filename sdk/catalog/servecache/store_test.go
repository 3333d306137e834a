package servecache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/catalog/catalogtest"
)

// A cache whose states are lost or damaged fails in a way that another try
// cures, and never gives a layer of nonsense.
func TestCacheWhoseStoreIsGone(t *testing.T) {
	alter := func(at func(size int) int) func(string) error {
		return func(path string) error {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			data[at(len(data))] ^= 1
			return os.WriteFile(path, data, 0o600)
		}
	}
	for name, harm := range map[string]func(path string) error{
		"deleted":                os.Remove,
		"emptied":                func(path string) error { return os.Truncate(path, 0) },
		"altered in the metas":   alter(func(int) int { return 100 }),
		"altered in the records": alter(func(size int) int { return size / 2 }),
		"altered in the table":   alter(func(size int) int { return size - 60 }),
		"altered in the tail":    alter(func(size int) int { return size - 6 }),
	} {
		for _, format := range formats {
			t.Run(fmt.Sprintf("%s, %s", name, format), func(t *testing.T) {
				f := newFixture(t)
				dir := t.TempDir()
				var err error
				if f.caches, err = Open(dir, Options{}); err != nil {
					t.Fatal(err)
				}
				tr := f.load(t, catalogtest.Spec{Packages: 2, Bundles: 2, Text: 300}.FS())
				want := f.layer(t, f.build(t, tr, format))

				c := f.build(t, tr, format)
				damage := func() {
					err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
						if err != nil || d.IsDir() {
							return err
						}
						return harm(path)
					})
					if err != nil {
						t.Fatal(err)
					}
				}
				damage()
				_, err = c.Layer(t.Context(), f.layers, filepath.Join(t.TempDir(), "layer"), LayerOptions{})
				if strings.Contains(name, "table") || strings.Contains(name, "tail") {
					// It was read already.
					if err != nil {
						t.Errorf("layer: %v", err)
					}
				} else if sdk.CodeOf(err) != sdk.Unavailable && !(format == JSON && strings.Contains(name, "metas")) {
					t.Errorf("layer: error %v, want Unavailable", err)
				}
				// A second try may meet the damage once more, while it builds.
				again, err := f.caches.Build(t.Context(), tr, format)
				if sdk.CodeOf(err) == sdk.Unavailable {
					again, err = f.caches.Build(t.Context(), tr, format)
				}
				if err != nil {
					t.Fatal(err)
				}
				var l sdk.Layer
				for range 3 {
					l, err = again.Layer(t.Context(), f.layers, filepath.Join(t.TempDir(), "layer"), LayerOptions{})
					if sdk.CodeOf(err) != sdk.Unavailable {
						break
					}
					again = f.build(t, tr, format)
				}
				if err != nil || l.Digest != want {
					t.Errorf("built again: digest %s, want %s, error %v", l.Digest, want, err)
				}
			})
		}
	}
}

// Several stores on one directory stand for several processes, each with
// requests of its own on one index.
func TestConcurrentBuilds(t *testing.T) {
	spec := catalogtest.Spec{Packages: 4, Bundles: 1, Text: 300}
	f := newFixture(t)
	base := f.load(t, spec.FS())
	dir := t.TempDir()
	var wg sync.WaitGroup
	digests := make([][]string, 3)
	for p := range digests {
		caches, err := Open(dir, Options{Memory: 1})
		if err != nil {
			t.Fatal(err)
		}
		digests[p] = make([]string, 4)
		for i := range digests[p] {
			wg.Go(func() {
				edited, err := base.WithPackage(t.Context(), spec.Name(i), spec.Package(i, 2))
				if err != nil {
					t.Error(err)
					return
				}
				c, err := caches.Build(t.Context(), edited, Pogreb)
				if err != nil {
					t.Error(err)
					return
				}
				if err := c.Verify(t.Context(), t.TempDir()); err != nil {
					t.Error(err)
				}
				l, err := c.Layer(t.Context(), f.layers, filepath.Join(t.TempDir(), "layer"), LayerOptions{})
				if err != nil {
					t.Error(err)
				}
				digests[p][i] = l.Digest
			})
		}
	}
	wg.Wait()
	for p := range digests {
		for i, d := range digests[p] {
			if d != digests[0][i] || d == "" {
				t.Errorf("edit %d gave %s and %s", i, digests[0][i], d)
			}
		}
	}
}

func TestNamesThatCannotBeFiles(t *testing.T) {
	text := func(channel string) fstest.MapFS {
		return fstest.MapFS{"c.json": {Data: fmt.Appendf(nil, `
			{"schema":"olm.package","name":"a","defaultChannel":%[1]q}
			{"schema":"olm.channel","package":"a","name":%[1]q,"entries":[{"name":"a.v1"}]}
			{"schema":"olm.bundle","package":"a","name":"a.v1","image":"example.com/a@sha256:%064d","properties":[{"type":"olm.package","value":{"packageName":"a","version":"1.0.0"}}]}`, channel, 1)}}
	}
	for name, channel := range map[string]string{"a slash": "x/../../y", "too long": strings.Repeat("x", 300)} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			tr := f.load(t, text(channel))
			if _, err := f.caches.Build(t.Context(), tr, JSON); sdk.CodeOf(err) != sdk.Invalid || !strings.Contains(err.Error(), "catalog package a: channel") {
				t.Errorf("JSON: error %v", err)
			}
			if err := f.build(t, tr, Pogreb).Check(t.Context(), t.TempDir()); err != nil {
				t.Errorf("pogreb: %v", err)
			}
		})
	}
}

func TestLayerEntries(t *testing.T) {
	for format, want := range map[Format][]string{
		Pogreb: {"tmp/cache drwxrwx--- 1001", "tmp/cache/.wh..wh..opq -rw-r--r-- 0", "tmp/cache/pogreb.v1 drwxrwx--- 1001", "tmp/cache/pogreb.v1/db drwxrwx--- 1001",
			"tmp/cache/pogreb.v1/db/00000-1.psg -rw-rw---- 1001", "tmp/cache/pogreb.v1/db/00000-1.psg.pmt -rw-rw---- 1001", "tmp/cache/pogreb.v1/db/db.pmt -rw-rw---- 1001",
			"tmp/cache/pogreb.v1/db/index.pmt -rw-rw---- 1001", "tmp/cache/pogreb.v1/db/main.pix -rw-rw---- 1001", "tmp/cache/pogreb.v1/db/overflow.pix -rw-rw---- 1001", "tmp/cache/pogreb.v1/digest -rw-rw---- 1001"},
		JSON: {"tmp/cache drwxr-x--- 1001", "tmp/cache/.wh..wh..opq -rw-r--r-- 0", "tmp/cache/cache drwxr-x--- 1001", "tmp/cache/cache/packages.json -rw-r----- 1001", "tmp/cache/digest -rw-r----- 1001"},
	} {
		f := newFixture(t)
		c := f.build(t, f.load(t, fstest.MapFS{}), format)
		digest := func() (string, error) { return c.Digest(t.Context()) }
		var got []string
		for e, err := range c.layerEntries(LayerOptions{Root: "/tmp/cache", Opaque: true}, digest) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprintf("%s %v %d", e.Name, e.Mode, e.UID))
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: got %q, want %q", format, got, want)
		}
		failing := errors.New("no digest")
		var last error
		for _, err := range c.layerEntries(LayerOptions{}, func() (string, error) { return "", failing }) {
			last = err
		}
		if last != failing {
			t.Errorf("%s: without a digest the entries end with %v", format, last)
		}
	}
}

func TestParseFormat(t *testing.T) {
	for name, want := range map[string]Format{"": Pogreb, "pogreb.v1": Pogreb, "json": JSON, "none": None} {
		if got, err := ParseFormat(name); err != nil || got != want {
			t.Errorf("%q: %q, error %v", name, got, err)
		}
	}
	if _, err := ParseFormat("sqlite"); sdk.CodeOf(err) != sdk.Invalid {
		t.Errorf("sqlite: error %v", err)
	}
	f := newFixture(t)
	if _, err := f.caches.Build(t.Context(), f.trees.Empty(), None); sdk.CodeOf(err) != sdk.Internal {
		t.Errorf("build none: error %v", err)
	}
}
