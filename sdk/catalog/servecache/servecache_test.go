package servecache

import (
	"bytes"
	"encoding/gob"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/akrylysov/pogreb"
	pogrebfs "github.com/akrylysov/pogreb/fs"
	"github.com/google/go-cmp/cmp"
	"github.com/operator-framework/operator-registry/pkg/cache"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/catalog/catalogtest"
	"github.com/iib-engine/iib/sdk/catalog/tree"
	"github.com/iib-engine/iib/sdk/image/layer"
)

type fixture struct {
	trees  *tree.Store
	caches *Store
	layers *layer.Store
}

func newFixture(tb testing.TB) fixture {
	tb.Helper()
	dir := tb.TempDir()
	trees, err := tree.Open(filepath.Join(dir, "trees"), tree.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	caches, err := Open(filepath.Join(dir, "caches"), Options{})
	if err != nil {
		tb.Fatal(err)
	}
	layers, err := layer.Open(filepath.Join(dir, "layers"), layer.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	return fixture{trees, caches, layers}
}

func (f fixture) load(tb testing.TB, fsys fs.FS) *tree.Tree {
	tb.Helper()
	t, err := f.trees.Import(tb.Context(), tb.Name(), tree.FromFS(fsys))
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

func (f fixture) build(tb testing.TB, t *tree.Tree, format Format) *Cache {
	tb.Helper()
	c, err := f.caches.Build(tb.Context(), t, format)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// referenceBuild has the reference build a cache.
func referenceBuild(tb testing.TB, format Format, catalog fs.FS) string {
	tb.Helper()
	dir := filepath.Join(tb.TempDir(), "reference")
	if err := os.Mkdir(dir, 0o700); err != nil {
		tb.Fatal(err)
	}
	if err := os.Chmod(dir, format.dirMode()); err != nil {
		tb.Fatal(err)
	}
	c, err := cache.New(dir, cache.WithFormat(string(format)))
	if err != nil {
		tb.Fatal(err)
	}
	if err := c.Build(tb.Context(), catalog); err != nil {
		tb.Fatal(err)
	}
	if err := c.Close(); err != nil {
		tb.Fatal(err)
	}
	return dir
}

// content is what a cache holds, whatever its layout on disk.
func content(tb testing.TB, format Format, dir string) map[string]string {
	tb.Helper()
	if format == JSON {
		return files(tb, dir)
	}
	m := make(map[string]string)
	digest, err := os.ReadFile(filepath.Join(dir, "pogreb.v1/digest"))
	if err != nil {
		tb.Fatal(err)
	}
	m["the digest"] = string(digest)
	db, err := pogreb.Open(filepath.Join(dir, "pogreb.v1/db"), &pogreb.Options{FileSystem: pogrebfs.OSMMap})
	if err != nil {
		tb.Fatal(err)
	}
	defer db.Close()
	for it := db.Items(); ; {
		key, value, err := it.Next()
		if err == pogreb.ErrIterationDone {
			break
		}
		if err != nil {
			tb.Fatal(err)
		}
		m[string(key)] = string(value)
		if found, err := db.Get(key); err != nil || !bytes.Equal(found, value) {
			tb.Errorf("key %s is not found by its hash, error %v", key, err)
		}
	}
	return m
}

// files are the modes and contents of a directory's files.
func files(tb testing.TB, dir string) map[string]string {
	tb.Helper()
	m := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		if d.IsDir() {
			m[name] = info.Mode().String()
			return nil
		}
		data, err := os.ReadFile(path)
		m[name] = info.Mode().String() + " " + string(data)
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

// equal compares a cache of ours with one that the reference makes.
func equal(t *testing.T, c *Cache) {
	t.Helper()
	reference := referenceBuild(t, c.format, c.tree.FS())
	ours := t.TempDir()
	if err := c.Extract(t.Context(), ours); err != nil {
		t.Fatal(err)
	}
	if c.format == Pogreb {
		// The reference leaves the mode of this one to the umask.
		if err := os.Chmod(filepath.Join(reference, "pogreb.v1"), c.format.dirMode()); err != nil {
			t.Fatal(err)
		}
		want := make(map[string]string)
		for name, text := range files(t, reference) {
			want[name], _, _ = strings.Cut(text, " ")
		}
		got := make(map[string]string)
		for name, text := range files(t, ours) {
			got[name], _, _ = strings.Cut(text, " ")
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("files and modes (-reference +ours):\n%s", d)
		}
	}
	if err := CheckDir(t.Context(), ours, c.tree.FS()); err != nil {
		t.Errorf("the reference refuses the cache: %v", err)
	}
	if err := c.Verify(t.Context(), t.TempDir()); err != nil {
		t.Errorf("verify: %v", err)
	}
	if d := cmp.Diff(content(t, c.format, reference), content(t, c.format, ours)); d != "" {
		t.Errorf("content (-reference +ours):\n%s", d)
	}
}

var formats = []Format{Pogreb, JSON}

const customMetas = `{"schema":"custom.one","package":"operator-001","name":"x","n":1.50,"list":[1,"two",null,{"b":1,"a":2}]}
{"schema":"custom.one","package":"operator-001","name":"y"}
{"schema":"custom.two","name":"of nobody","text":"\u003cb\u003e"}
{"schema":"custom.two","name":"of nobody","text":"\u003cb\u003e"}
{"schema":"olm.deprecations","package":"operator-001","entries":[{"reference":{"schema":"olm.channel","name":"fast"},"message":"use stable"},{"reference":{"schema":"olm.bundle","name":"operator-001.v1.0.0"},"message":"old"},{"reference":{"schema":"olm.package"},"message":"gone soon"}]}
`

// layouts are catalogs of the same packages in different files.
func layouts() map[string]fs.FS {
	spec := catalogtest.Spec{Packages: 4, Bundles: 3, Text: 500}
	perPackage, one := fstest.MapFS{}, &bytes.Buffer{}
	for i := range spec.Packages {
		text := spec.Package(i, spec.Bundles)
		perPackage[spec.Name(i)+"/catalog.json"] = &fstest.MapFile{Data: text, Mode: 0o640}
		one.Write(text)
	}
	perPackage["custom/custom.json"] = &fstest.MapFile{Data: []byte(customMetas), Mode: 0o600}
	mixed := fstest.MapFS{
		".indexignore":    {Data: []byte("*.md\n"), Mode: 0o644},
		"README.md":       {Data: []byte("not: [a catalog"), Mode: 0o644},
		"all.json":        {Data: one.Bytes(), Mode: 0o644},
		"a.b/custom.json": {Data: []byte(customMetas), Mode: 0o644},
		"a/late.yaml":     {Data: []byte("---\nschema: custom.three\npackage: operator-002\nn: 1e3\n---\nschema: custom.three\npackage: operator-000\n"), Mode: 0o644},
	}
	return map[string]fs.FS{"a directory for each package": perPackage, "one file for all": mixed, "nothing": fstest.MapFS{}}
}

func TestCacheIsWhatOpmBuilds(t *testing.T) {
	for _, format := range formats {
		for name, fsys := range layouts() {
			t.Run(fmt.Sprintf("%s, %s", format, name), func(t *testing.T) {
				f := newFixture(t)
				equal(t, f.build(t, f.load(t, fsys), format))
			})
		}
	}
}

// Edits are applied one after the other with a warm store. After each, the
// cache is what opm builds, and its layer what a cold store gives.
func TestCacheFollowsEdits(t *testing.T) {
	spec := catalogtest.Spec{Packages: 5, Bundles: 2, Text: 300}
	rng := rand.New(rand.NewPCG(1, 2))
	for _, format := range formats {
		t.Run(string(format), func(t *testing.T) {
			f := newFixture(t)
			current := f.load(t, spec.FS())
			for range 12 {
				pkg := rng.IntN(spec.Packages + 2)
				var err error
				if current.Has(spec.Name(pkg)) && rng.IntN(3) == 0 {
					current, err = current.WithoutPackage(t.Context(), spec.Name(pkg))
				} else {
					current, err = current.WithPackage(t.Context(), spec.Name(pkg), spec.Package(pkg, 1+rng.IntN(4)))
				}
				if err != nil {
					t.Fatal(err)
				}
				warm := f.build(t, current, format)
				equal(t, warm)
				cold := newFixture(t)
				cold.trees = f.trees
				if w, c := f.layer(t, warm), cold.layer(t, cold.build(t, current, format)); w != c {
					t.Fatalf("layer digest %s with a warm store, %s with a cold one", w, c)
				}
			}
		})
	}
}

func (f fixture) layer(tb testing.TB, c *Cache) string {
	tb.Helper()
	l, err := c.Layer(tb.Context(), f.layers, filepath.Join(tb.TempDir(), "layer"), LayerOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	return l.Digest
}

func TestHashTableOverflows(t *testing.T) {
	// Keys with one hash share one bucket, whatever the table's size.
	var slots []slot
	for i := range 200 {
		slots = append(slots, slot{hash: 7, offset: uint32(1000 + i)})
	}
	table := newHashTable(slots)
	if got, want := len(table.overflow), pogrebHeader+6*bucketSize; got != want {
		t.Errorf("overflow file has %d bytes, want %d", got, want)
	}
	seen := make(map[uint32]bool)
	file, off := table.main, uint64(pogrebHeader)+table.bucket(7)*bucketSize
	for hops := 0; off != 0; hops++ {
		if hops > 10 {
			t.Fatal("the chain does not end")
		}
		b := file[off : off+bucketSize]
		for i := range slotsPerBucket {
			if o := uint32(b[i*16+12]) | uint32(b[i*16+13])<<8; o != 0 {
				seen[o] = true
			}
		}
		file, off = table.overflow, uint64(b[496])|uint64(b[497])<<8|uint64(b[498])<<16
	}
	if len(seen) != len(slots) {
		t.Errorf("found %d slots of %d", len(seen), len(slots))
	}
}

func TestSeveralSegments(t *testing.T) {
	defer func(old int64) { segmentLimit = old }(segmentLimit)
	segmentLimit = 192 << 10
	f := newFixture(t)
	c := f.build(t, f.load(t, catalogtest.Spec{Packages: 6, Bundles: 2, Text: 500}.FS()), Pogreb)
	l, err := c.layout()
	if err != nil {
		t.Fatal(err)
	}
	if len(l.segments) < 3 {
		t.Fatalf("%d segments", len(l.segments))
	}
	dir := t.TempDir()
	if err := c.Extract(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	if err := CheckDir(t.Context(), dir, c.tree.FS()); err != nil {
		t.Error(err)
	}
	if got, want := len(content(t, Pogreb, dir)), len(l.slots)+1; got != want {
		t.Errorf("%d records, want %d", got, want)
	}
	t.Run("a package that fits no segment", func(t *testing.T) {
		segmentLimit = 4 << 10
		_, err := c.layout()
		if sdk.CodeOf(err) != sdk.Invalid || !strings.Contains(err.Error(), "operator-000") {
			t.Errorf("error %v", err)
		}
	})
}

func TestGobStream(t *testing.T) {
	type segmentMeta struct {
		Full                      bool
		PutRecords, DeleteRecords uint32
		DeletedKeys, DeletedBytes uint32
		Missing                   int
	}
	for _, want := range []segmentMeta{{}, {Full: true, PutRecords: 127}, {PutRecords: 128, DeletedBytes: 1<<32 - 1}, {DeleteRecords: 70000}} {
		data := gobStream("segmentMeta", gobBool("Full", want.Full), gobUint("PutRecords", uint64(want.PutRecords)),
			gobUint("DeleteRecords", uint64(want.DeleteRecords)), gobUint("DeletedBytes", uint64(want.DeletedBytes)))
		var got segmentMeta
		if err := gob.NewDecoder(bytes.NewReader(data)).Decode(&got); err != nil {
			t.Errorf("%+v: %v", want, err)
		} else if got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}

func TestBuildRefuses(t *testing.T) {
	for name, tc := range map[string]struct{ text, says string }{
		"a channel without package":     {`{"schema":"olm.channel","package":"a","name":"c","entries":[{"name":"b"}]}`, `catalog package a: unknown package "a" for channel "c"`},
		"an entry without bundle":       {`{"schema":"olm.package","name":"a","defaultChannel":"c"}{"schema":"olm.channel","package":"a","name":"c","entries":[{"name":"b"}]}`, "catalog package a: no olm.bundle blobs"},
		"a custom schema with a slash":  {`{"schema":"../x","package":"a"}`, `catalog package a: file c.json: schema "../x"`},
		"a custom package with a slash": {`{"schema":"x","package":"../a"}`, `file c.json: meta of schema "x"`},
		"a channel of no package":       {`{"schema":"olm.channel","name":"c"}`, "catalog metas without package: "},
	} {
		for _, format := range formats {
			t.Run(fmt.Sprintf("%s, %s", name, format), func(t *testing.T) {
				f := newFixture(t)
				_, err := f.caches.Build(t.Context(), f.load(t, fstest.MapFS{"c.json": {Data: []byte(tc.text)}}), format)
				if sdk.CodeOf(err) != sdk.Invalid || !strings.Contains(err.Error(), tc.says) {
					t.Errorf("error %v, want Invalid and %q", err, tc.says)
				}
			})
		}
	}
}
