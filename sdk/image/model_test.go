package image

import (
	"archive/tar"
	"fmt"
	"math/rand/v2"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/iib-engine/iib/sdk"
)

// TestLayersAgainstAModel applies random layers one after the other to a map of
// paths, the way that their specification reads, and compares what is
// extracted.
func TestLayersAgainstAModel(t *testing.T) {
	r, ctx := newTestRegistry(t), background(t)
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 17))
		var layers []v1.Layer
		var story []string
		model := map[string]string{}
		for range 1 + random.IntN(5) {
			entries := randomLayer(random)
			layers = append(layers, layerOf(t, entries...))
			story = append(story, fmt.Sprint(entries))
			model = applied(model, entries)
		}
		spec := r.put(t, fmt.Sprintf("a/b:v%d", seed), imageOf(t, "amd64", nil, layers...))
		dst := filepath.Join(t.TempDir(), "dst")
		if err := newTestClient(t).ExtractDirs(ctx, spec, "", dst); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(model, tree(t, dst)); diff != "" {
			t.Fatalf("seed %d, layers from the bottom:\n%s\nfiles (-want +got):\n%s", seed, strings.Join(story, "\n"), diff)
		}
	}
}

func randomLayer(random *rand.Rand) []entry {
	var entries []entry
	for range 1 + random.IntN(6) {
		var elems []string
		for range 1 + random.IntN(3) {
			elems = append(elems, string(rune('a'+random.IntN(3))))
		}
		name := path.Join(elems...)
		switch n := random.IntN(10); {
		case n < 5:
			entries = append(entries, file(name, fmt.Sprint(random.IntN(1000))))
		case n < 7:
			entries = append(entries, dir(name))
		case n < 9:
			entries = append(entries, file(path.Join(path.Dir(name), ".wh."+path.Base(name)), ""))
		default:
			entries = append(entries, file(path.Join(name, ".wh..wh..opq"), ""))
		}
	}
	return entries
}

// applied returns the files after a layer: first what it hides of those below,
// then its own entries in their order.
func applied(below map[string]string, entries []entry) map[string]string {
	files := make(map[string]string)
	for name, body := range below {
		files[name] = body
	}
	removeBelow := func(dir string) {
		for name := range files {
			if dir == "." || strings.HasPrefix(name, dir+"/") {
				if name != dir+"/" {
					delete(files, name)
				}
			}
		}
	}
	for _, e := range entries {
		parent, base := path.Split(e.name)
		parent = path.Clean(parent)
		if base == ".wh..wh..opq" {
			removeBelow(parent)
		} else if gone, ok := strings.CutPrefix(base, ".wh."); ok {
			gone = path.Join(parent, gone)
			removeBelow(gone)
			delete(files, gone)
			delete(files, gone+"/")
		}
	}
	makeDir := func(dir string) {
		var at string
		for elem := range strings.SplitSeq(dir, "/") {
			at = path.Join(at, elem)
			delete(files, at)
			files[at+"/"] = ""
		}
	}
	for _, e := range entries {
		parent, base := path.Split(e.name)
		if parent = path.Clean(parent); parent != "." {
			makeDir(parent)
		}
		switch {
		case strings.HasPrefix(base, ".wh."):
		case e.kind == tar.TypeDir:
			makeDir(e.name)
		default:
			removeBelow(e.name)
			delete(files, e.name+"/")
			files[e.name] = e.body
		}
	}
	return files
}

// FuzzArchive holds that no archive, however strange, makes anything outside
// of the destination or brings the program down.
func FuzzArchive(f *testing.F) {
	f.Add(tarOf(f, file("a", "1"), link("b", "../../a"), hard("c", "a"), file("../x", "")))
	f.Add(tarOf(f, dir("a"), file("a/.wh..wh..opq", ""), file("a/.wh.b", ""), file("a//../b", "")))
	f.Add([]byte("not an archive"))
	limits := Limits{Total: 4 << 20, File: 1 << 20, Entries: 1000}
	r := newTestRegistry(f)
	f.Fuzz(func(t *testing.T, archive []byte) {
		c := newTestClient(t).WithLimits(limits)
		ctx := background(t)
		layer := sum(archive)
		c.cache.write(layer, archive)
		ref, err := ParseRef(r.host + "/a/b")
		if err != nil {
			t.Fatal(err)
		}
		c.seen.put(contentKey{name: ref.Name(), digest: layer, access: keyOf(sdk.Access{})}, struct{}{}, 1)
		around := t.TempDir()
		info := &Info{Ref: ref, Layers: []Layer{{Digest: layer, Size: int64(len(archive))}}}
		_ = c.Files(info).Extract(ctx, filepath.Join(around, "one", "dst"))
		got := tree(t, around)
		for name, body := range got {
			if name != "one/" && !strings.HasPrefix(name, "one/dst/") || strings.HasPrefix(body, "not a file") {
				t.Errorf("made %s (%s)", name, body)
			}
		}
		if len(r.requests("GET", "/blobs/")) > 0 {
			t.Error("the archive was not taken from the cache")
		}
	})
}

func TestSplitPath(t *testing.T) {
	for name, want := range map[string][]string{
		"": nil, "/": nil, ".": nil, "./": nil, "a": {"a"}, "/a/b/": {"a", "b"}, "a/./b//c": {"a", "b", "c"}, "a/../b": {"b"}, "...": {"..."}, "a/..": nil,
	} {
		got, ok := splitPath(name)
		if !ok || !slices.Equal(got, want) {
			t.Errorf("%q: %q, %t", name, got, ok)
		}
	}
	for _, name := range []string{"..", "../a", "a/../../b", "/../a", "a\x00b", strings.Repeat("a", 5000)} {
		if got, ok := splitPath(name); ok {
			t.Errorf("%q: %q", name, got)
		}
	}
}
