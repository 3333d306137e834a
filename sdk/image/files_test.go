package image

import (
	"archive/tar"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"

	"github.com/iib-engine/iib/sdk"
)

// tree reads back what was extracted: path to content, directories end in "/".
func tree(t testing.TB, root string) map[string]string {
	t.Helper()
	got := make(map[string]string)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil || name == "." {
			return err
		}
		switch {
		case d.IsDir():
			got[name+"/"] = ""
		case d.Type().IsRegular():
			data, err := os.ReadFile(path)
			got[name] = string(data)
			return err
		default:
			got[name] = "not a file: " + d.Type().String()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func link(name, target string) entry { return entry{name: name, link: target, kind: tar.TypeSymlink} }
func hard(name, target string) entry { return entry{name: name, link: target, kind: tar.TypeLink} }
func file(name, body string) entry   { return entry{name: name, body: body} }

func TestExtract(t *testing.T) {
	tests := map[string]struct {
		layers [][]entry // bottom first
		paths  []string
		want   map[string]string
	}{
		"only the directories asked for": {
			[][]entry{{dir("manifests"), file("manifests/csv.yaml", "csv"), file("metadata/annotations.yaml", "ann"), file("tests/x", "x")}},
			[]string{"manifests", "/metadata/"},
			map[string]string{"manifests/": "", "manifests/csv.yaml": "csv", "metadata/": "", "metadata/annotations.yaml": "ann"},
		},
		"a single file": {
			[][]entry{{file("database/index.db", "db"), file("database/other", "x")}},
			[]string{"database/index.db"},
			map[string]string{"database/": "", "database/index.db": "db"},
		},
		"names with a leading dot or slash": {
			[][]entry{{file("./a/one", "1"), file("/a/two", "2"), file("a//three", "3"), file("a/x/../four", "4")}},
			[]string{"a"},
			map[string]string{"a/": "", "a/one": "1", "a/two": "2", "a/three": "3", "a/four": "4"},
		},
		"upper layers over lower ones": {
			[][]entry{{file("a/x", "old"), file("a/y", "kept")}, {file("a/x", "new")}},
			[]string{"a"},
			map[string]string{"a/": "", "a/x": "new", "a/y": "kept"},
		},
		"deleted files": {
			[][]entry{{file("a/x", "1"), file("a/y", "2")}, {file("a/.wh.x", "")}},
			[]string{"a"},
			map[string]string{"a/": "", "a/y": "2"},
		},
		"a file deleted and made again above": {
			[][]entry{{file("a/x", "1")}, {file("a/.wh.x", "")}, {file("a/x", "3")}},
			[]string{"a"},
			map[string]string{"a/": "", "a/x": "3"},
		},
		"a directory deleted and made again in one layer": {
			[][]entry{{file("a/b/x", "1")}, {file("a/.wh.b", ""), file("a/b/y", "2")}},
			[]string{"a"},
			map[string]string{"a/": "", "a/b/": "", "a/b/y": "2"},
		},
		"an opaque directory": {
			[][]entry{{file("a/x", "1"), file("a/b/z", "1")}, {dir("a"), file("a/.wh..wh..opq", ""), file("a/y", "2")}},
			[]string{"a"},
			map[string]string{"a/": "", "a/y": "2"},
		},
		"an opaque directory above the one asked for": {
			[][]entry{{file("a/b/x", "1")}, {file("a/.wh..wh..opq", ""), file("a/b/y", "2")}},
			[]string{"a/b"},
			map[string]string{"a/": "", "a/b/": "", "a/b/y": "2"},
		},
		"an opaque root": {
			[][]entry{{file("a/x", "1")}, {file(".wh..wh..opq", ""), file("a/y", "2")}},
			[]string{"a"},
			map[string]string{"a/": "", "a/y": "2"},
		},
		"a file in place of a directory": {
			[][]entry{{file("a/b/x", "1")}, {file("a/b", "file")}},
			[]string{"a"},
			map[string]string{"a/": "", "a/b": "file"},
		},
		"a directory in place of a file": {
			[][]entry{{file("a/b", "file")}, {file("a/b/x", "1")}},
			[]string{"a"},
			map[string]string{"a/": "", "a/b/": "", "a/b/x": "1"},
		},
		"a directory in place of a link": {
			[][]entry{{file("c/y", "2"), link("a/b", "../c")}, {file("a/b/x", "1")}},
			[]string{"a"},
			map[string]string{"a/": "", "a/b/": "", "a/b/x": "1"},
		},
		"an entry below a link of its own layer": {
			[][]entry{{link("a", "/etc"), file("a/passwd", "mine")}},
			[]string{"a"},
			map[string]string{"a/": "", "a/passwd": "mine"},
		},
		"links to files": {
			[][]entry{{file("a/x", "1"), link("a/y", "x"), link("a/z", "/other/w"), file("other/w", "2"), link("a/again", "../a/y")}},
			[]string{"a"},
			map[string]string{"a/": "", "a/x": "1", "a/y": "1", "a/z": "2", "a/again": "1"},
		},
		"a link to a file that a layer above replaces": {
			[][]entry{{file("x", "old"), link("a/y", "/x")}, {file("x", "new")}},
			[]string{"a"},
			map[string]string{"a/": "", "a/y": "new"},
		},
		"a link to a directory": {
			[][]entry{{file("data/x", "1"), link("configs", "data")}},
			[]string{"configs"},
			map[string]string{"configs/": "", "configs/x": "1"},
		},
		"a path through a link": {
			[][]entry{{file("usr/lib/x", "1"), link("lib", "usr/lib")}},
			[]string{"lib/x"},
			map[string]string{"lib/": "", "lib/x": "1"},
		},
		"hard links": {
			[][]entry{{file("a/x", "1"), hard("a/y", "a/x"), hard("a/z", "/a/y")}},
			[]string{"a"},
			map[string]string{"a/": "", "a/x": "1", "a/y": "1", "a/z": "1"},
		},
		"a hard link to a file that a layer above replaces": {
			[][]entry{{file("x", "old"), hard("a/y", "x")}, {file("x", "new")}},
			[]string{"a"},
			map[string]string{"a/": "", "a/y": "old"},
		},
		"a device that nobody asked for": {
			[][]entry{{{name: "dev/null", kind: tar.TypeChar}, file("a/x", "1")}},
			[]string{"a"},
			map[string]string{"a/": "", "a/x": "1"},
		},
		"the same path twice, and one in the other": {
			[][]entry{{file("a/x", "1")}},
			[]string{"a", "a/", "a/x"},
			map[string]string{"a/": "", "a/x": "1"},
		},
		"everything": {
			[][]entry{{file("a/x", "1")}, {file("b", "2"), file("a/.wh.x", "")}},
			nil,
			map[string]string{"a/": "", "b": "2"},
		},
		"names that look odd": {
			[][]entry{{file("a/ .. ", "1"), file("a/...", "2"), file("a/é\n", "3"), file(`a/\..\x`, "4")}},
			[]string{"a"},
			map[string]string{"a/": "", "a/ .. ": "1", "a/...": "2", "a/é\n": "3", `a/\..\x`: "4"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r, c, ctx := newTestRegistry(t), newTestClient(t), background(t)
			var layers []v1.Layer
			for _, entries := range tt.layers {
				layers = append(layers, layerOf(t, entries...))
			}
			spec := r.put(t, "a/b:v1", imageOf(t, "amd64", nil, layers...))
			// Cold, then with the table of contents from the cache of another
			// process.
			for _, run := range []string{"cold", "warm"} {
				dst := filepath.Join(t.TempDir(), "new")
				if run == "warm" {
					c = newTestClient(t, func(o *Options) { o.CacheDir = c.cache.dir })
				}
				if err := c.ExtractDirs(ctx, spec, "", dst, tt.paths...); err != nil {
					t.Fatalf("%s: %v", run, err)
				}
				if diff := cmp.Diff(tt.want, tree(t, dst)); diff != "" {
					t.Errorf("%s: files (-want +got):\n%s", run, diff)
				}
			}
		})
	}
}

func TestExtractRefuses(t *testing.T) {
	manyFiles := func(n int) []entry {
		entries := make([]entry, n)
		for i := range entries {
			entries[i] = file(fmt.Sprintf("a/%d", i), "")
		}
		return entries
	}
	tests := map[string]struct {
		layers [][]entry
		limits Limits
		code   sdk.Code
		words  []string
	}{
		"a name that leads out":             {[][]entry{{file("../../etc/passwd", "x"), file("a/x", "")}}, Limits{}, sdk.Invalid, []string{"../../etc/passwd", "leads out of the image"}},
		"a name that leads out further in":  {[][]entry{{file("a/x", "")}, {file("a/b/../../../x", "x")}}, Limits{}, sdk.Invalid, []string{"leads out of the image"}},
		"a link that leads out":             {[][]entry{{link("a/x", "../../../etc/passwd")}}, Limits{}, sdk.Invalid, []string{"/a/x", "symbolic link", "leads out of the image"}},
		"a link to a file of the host":      {[][]entry{{link("a/x", "/etc/passwd")}}, Limits{}, sdk.NotFound, []string{"/a/x", "link to /etc/passwd", "not there"}},
		"a link to itself":                  {[][]entry{{link("a/x", "x")}}, Limits{}, sdk.Invalid, []string{"too many links"}},
		"links in a circle":                 {[][]entry{{link("a/x", "y"), link("a/y", "x")}}, Limits{}, sdk.Invalid, []string{"too many links"}},
		"a link to the directory around it": {[][]entry{{link("a/x", ".")}}, Limits{}, sdk.Invalid, []string{"link to a directory that it lies in"}},
		"links that multiply": {[][]entry{{
			file("a/a/f", "x"), link("a/b/1", "../a"), link("a/b/2", "../a"), link("a/c/1", "../b"), link("a/c/2", "../b"),
			link("a/d/1", "../c"), link("a/d/2", "../c"), link("a/e/1", "../d"), link("a/e/2", "../d"), link("a/g/1", "../e"), link("a/g/2", "../e"),
		}}, Limits{Entries: 60}, sdk.Invalid, []string{"more than 60 files"}},
		"a hard link that leads out":        {[][]entry{{hard("a/x", "../../etc/passwd")}}, Limits{}, sdk.Invalid, []string{"a/x", "hard link", "leads out of the image"}},
		"a hard link to a file of the host": {[][]entry{{hard("a/x", "/etc/passwd")}}, Limits{}, sdk.NotFound, []string{"/etc/passwd"}},
		"a hard link to itself":             {[][]entry{{hard("a/x", "a/x")}}, Limits{}, sdk.Invalid, []string{"too many links"}},
		"a device":                          {[][]entry{{{name: "a/x", kind: tar.TypeBlock}}}, Limits{}, sdk.Invalid, []string{"/a/x", "device"}},
		"a pipe":                            {[][]entry{{{name: "a/x", kind: tar.TypeFifo}}}, Limits{}, sdk.Invalid, []string{"/a/x", "pipe"}},
		"a directory that is not there":     {[][]entry{{file("b/x", "")}}, Limits{}, sdk.NotFound, []string{"it has no /a"}},
		"a deleted directory":               {[][]entry{{file("a/x", "")}, {file(".wh.a", "")}}, Limits{}, sdk.NotFound, []string{"it has no /a"}},
		"too many entries":                  {[][]entry{manyFiles(101)}, Limits{Entries: 100}, sdk.Invalid, []string{"more than 100 files"}},
		"too many entries in all layers":    {[][]entry{manyFiles(60), manyFiles(60)}, Limits{Entries: 100}, sdk.Invalid, []string{"more than 100 files"}},
		"too large a file":                  {[][]entry{{file("a/x", noise(2000))}}, Limits{File: 1000}, sdk.Invalid, []string{"/a/x has 2000 bytes", "at most 1000"}},
		"too much in all":                   {[][]entry{{file("a/x", noise(2000)), file("a/y", noise(2000))}}, Limits{Total: 3000}, sdk.Invalid, []string{"unpacks to more than 3000 bytes"}},
		"too much in all layers":            {[][]entry{{file("a/x", noise(2000))}, {file("a/y", noise(2000))}}, Limits{Total: 3999}, sdk.Invalid, []string{"unpacks to more than 3999 bytes"}},
		"a bomb":                            {[][]entry{{file("a/x", strings.Repeat("\x00", 20<<20))}}, Limits{}, sdk.Invalid, []string{"more than 200 times"}},
		"very deep directories":             {[][]entry{{file("a/"+strings.Repeat("b/", 400)+"x", "")}}, Limits{}, sdk.Invalid, []string{"directories deep"}},
		"a name that is too long":           {[][]entry{{file("a/"+strings.Repeat("b/", 4000)+"x", "")}}, Limits{}, sdk.Invalid, []string{"leads out"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r, c, ctx := newTestRegistry(t), newTestClient(t), background(t)
			var layers []v1.Layer
			for _, entries := range tt.layers {
				layers = append(layers, layerOf(t, entries...))
			}
			spec := r.put(t, "a/b:v1", imageOf(t, "amd64", nil, layers...))
			around := t.TempDir()
			dst := filepath.Join(around, "one", "two", "dst")
			r.forget()
			err := c.WithLimits(tt.limits).ExtractDirs(ctx, spec, "", dst, "a")
			wantCode(t, err, tt.code, append(tt.words, "image "+r.host+"/a/b@sha256:")...)
			for path := range tree(t, around) {
				if !strings.HasPrefix(path, "one/") {
					t.Errorf("wrote %s outside of the destination", path)
				}
			}
			if n := len(r.requests("GET", "/blobs/")); n > len(tt.layers)+1 {
				t.Errorf("asked for blobs %d times for an image that stays wrong", n)
			}
		})
	}
}

func TestLayersThatAreNoArchives(t *testing.T) {
	whole := tarOf(t, file("a/x", noise(5000)))
	tests := map[string]struct {
		blob []byte
		word string
	}{
		"text":                       {[]byte("this is not an archive, but it is a little longer than that"), "archive"},
		"a tar that ends early":      {whole[:3000], "ends early"},
		"a gzip that ends early":     {gzipped(t, whole)[:3000], "ends early"},
		"a gzip with a wrong sum":    {append(gzipped(t, whole)[:len(gzipped(t, whole))-8], 1, 2, 3, 4, 5, 6, 7, 8), "damaged"},
		"a zstd that is broken":      {append([]byte{0x28, 0xb5, 0x2f, 0xfd}, noise(100)...), "damaged"},
		"a gzip header and no more":  {[]byte{0x1f, 0x8b}, "ends early"},
		"a tar with a broken header": {append([]byte(noise(512)), make([]byte, 1024)...), "damaged"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r, c, ctx := newTestRegistry(t), newTestClient(t), background(t)
			img, err := mutate.Append(imageOf(t, "amd64", nil), mutate.Addendum{Layer: static.NewLayer(tt.blob, types.DockerLayer)})
			if err != nil {
				t.Fatal(err)
			}
			err = c.ExtractDirs(ctx, r.put(t, "a/b:v1", img), "", t.TempDir(), "a")
			wantCode(t, err, sdk.Invalid, "layer sha256:", tt.word)
		})
	}
}

func TestLayerCompressions(t *testing.T) {
	unpacked := tarOf(t, file("a/x", "content"))
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	half := len(unpacked) / 2
	tests := map[string][]byte{
		"none":                    unpacked,
		"gzip":                    gzipped(t, unpacked),
		"gzip in several members": append(gzipped(t, unpacked[:half]), gzipped(t, unpacked[half:])...),
		"zstd":                    z.EncodeAll(unpacked, nil),
		"zstd in several frames":  append(z.EncodeAll(unpacked[:half], nil), z.EncodeAll(unpacked[half:], nil)...),
	}
	for name, blob := range tests {
		t.Run(name, func(t *testing.T) {
			r, c, ctx := newTestRegistry(t), newTestClient(t), background(t)
			img, err := mutate.Append(imageOf(t, "amd64", nil), mutate.Addendum{Layer: static.NewLayer(blob, types.OCILayer)})
			if err != nil {
				t.Fatal(err)
			}
			got, err := c.ReadFile(ctx, r.put(t, "a/b:v1", img), "", "a/x", 100)
			if err != nil || string(got) != "content" {
				t.Errorf("read %q, %v", got, err)
			}
		})
	}
}

func TestModesOfExtractedFiles(t *testing.T) {
	r, c, ctx := newTestRegistry(t), newTestClient(t), background(t)
	spec := r.put(t, "a/b:v1", imageOf(t, "amd64", nil, layerOf(t,
		entry{name: "a", kind: tar.TypeDir, mode: 0o550},
		entry{name: "a/script", body: "x", mode: 0o4755},
		entry{name: "a/secret", body: "x", mode: 0o004},
	)))
	dst := t.TempDir()
	if err := c.ExtractDirs(ctx, spec, "", dst, "a"); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{"a": os.ModeDir | 0o750, "a/script": 0o755, "a/secret": 0o604} {
		info, err := os.Lstat(filepath.Join(dst, name))
		if err != nil || info.Mode() != want {
			t.Errorf("%s has mode %v, %v, want %v", name, info.Mode(), err, want)
		}
	}
}

func TestExtractReplacesFilesAndFollowsNoLinkOfTheDestination(t *testing.T) {
	r, c, ctx := newTestRegistry(t), newTestClient(t), background(t)
	spec := r.put(t, "a/b:v1", imageOf(t, "amd64", nil, layerOf(t, file("a/x", "new"))))
	outside := t.TempDir()
	dst := t.TempDir()
	if err := os.Symlink(outside, filepath.Join(dst, "a")); err != nil {
		t.Fatal(err)
	}
	err := c.ExtractDirs(ctx, spec, "", dst, "a")
	wantCode(t, err, sdk.Internal, "extract")
	if got := tree(t, outside); len(got) != 0 {
		t.Errorf("wrote through a link: %v", got)
	}
	if err := os.Remove(filepath.Join(dst, "a")); err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{"a long old content", "x"} {
		if err := os.MkdirAll(filepath.Join(dst, "a"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dst, "a", "x"), []byte(body), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := c.ExtractDirs(ctx, spec, "", dst, "a"); err != nil {
			t.Fatal(err)
		}
		if got := tree(t, dst)["a/x"]; got != "new" {
			t.Errorf("a/x is %q", got)
		}
	}
}

func TestReadFile(t *testing.T) {
	r, c, ctx := newTestRegistry(t), newTestClient(t), background(t)
	bottom := layerOf(t, file("database/index.db", "old"), file("etc/os-release", noise(10000)))
	spec := r.put(t, "a/b:v1", imageOf(t, "amd64", nil, bottom, layerOf(t, file("database/index.db", "new"))))

	r.forget()
	got, err := c.ReadFile(ctx, spec, "amd64", "/database/index.db", 10)
	if err != nil || string(got) != "new" {
		t.Errorf("read %q, %v", got, err)
	}
	lower, err := bottom.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if n := len(r.requests(lower.String())); n != 0 {
		t.Error("read the lower layer, although the upper one decides")
	}
	_, err = c.ReadFile(ctx, spec, "amd64", "database/index.db", 2)
	wantCode(t, err, sdk.Invalid, "has 3 bytes", "at most 2")
	_, err = c.ReadFile(ctx, spec, "amd64", "database", 10)
	wantCode(t, err, sdk.Invalid, "is a directory")
	_, err = c.ReadFile(ctx, spec, "amd64", "database/none", 10)
	wantCode(t, err, sdk.NotFound, "it has no /database/none")
	_, err = c.ReadFile(ctx, spec, "amd64", "database/index.db/x", 10)
	wantCode(t, err, sdk.NotFound, "it has no /database/index.db/x")
	_, err = c.ReadFile(ctx, spec, "amd64", "../x", 10)
	wantCode(t, err, sdk.Invalid, "leads out")
}

func TestStatAndList(t *testing.T) {
	r, c, ctx := newTestRegistry(t), newTestClient(t), background(t)
	spec := r.put(t, "a/b:v1", imageOf(t, "amd64", nil,
		layerOf(t, file("a/x", "123"), file("a/gone", ""), file("top", "")),
		layerOf(t, file("a/.wh.gone", ""), file("a/y", ""))))
	info, err := c.Inspect(ctx, spec, "")
	if err != nil {
		t.Fatal(err)
	}
	files := c.Files(info)
	names, err := files.List(ctx, "a")
	if diff := cmp.Diff([]string{"x", "y"}, names); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	names, err = files.List(ctx, "/")
	if diff := cmp.Diff([]string{"a", "top"}, names); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	f, err := files.Stat(ctx, "/a/x")
	if err != nil || f.Size != 3 || f.Dir || f.Mode != 0o644 || f.Path != "/a/x" {
		t.Errorf("stat: %+v, %v", f, err)
	}
	_, err = files.List(ctx, "a/x")
	wantCode(t, err, sdk.Invalid, "not a directory")
}

func TestAnImageWithoutLayersHasAnEmptyRoot(t *testing.T) {
	r, c, ctx := newTestRegistry(t), newTestClient(t), background(t)
	spec := r.put(t, "a/b:v1", imageOf(t, "amd64", nil))
	dst := t.TempDir()
	if err := c.ExtractDirs(ctx, spec, "", dst); err != nil {
		t.Fatal(err)
	}
	if got := tree(t, dst); len(got) != 0 {
		t.Errorf("extracted %v", got)
	}
}
