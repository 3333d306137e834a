package tree

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/operator-framework/operator-registry/alpha/declcfg"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/catalog/catalogtest"
	"github.com/iib-engine/iib/sdk/image/layer"
)

func newStore(tb testing.TB, opts Options) *Store {
	tb.Helper()
	s, err := Open(tb.TempDir(), opts)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func load(tb testing.TB, s *Store, fsys fs.FS) *Tree {
	tb.Helper()
	t, err := s.Import(tb.Context(), tb.Name(), FromFS(fsys))
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

var spec = catalogtest.Spec{Packages: 5, Bundles: 2, Text: 200}

// strange are metas whose text an encoder would change.
const strange = `{"schema":"olm.deprecations" , "package":"operator-001","entries":[]}
{ "name":"n", "schema":"example.custom","package":"operator-002", "number":1.500, "big":12345678901234567890,
  "z":1,"a":"\u003c" }
{"schema":"example.global","value":[1e3, -0]}`

func toYAML(text []byte) []byte {
	var out bytes.Buffer
	for dec := json.NewDecoder(bytes.NewReader(text)); dec.More(); {
		var m any
		if err := dec.Decode(&m); err != nil {
			panic(err)
		}
		one, _ := json.MarshalIndent(m, "", "  ")
		fmt.Fprintf(&out, "--- # next\n%s\n", one)
	}
	return out.Bytes()
}

// layouts are catalogs of the same packages, in the files that opm allows.
func layouts() map[string]fs.FS {
	directories, shared, split, yaml, nested := files{}, files{}, files{}, files{}, files{}
	for i := range spec.Packages {
		name, text := spec.Name(i), spec.Package(i, spec.Bundles)
		directories.add(name+"/catalog.json", text)
		shared.add("index.json", text, []byte("\n \n"))
		for k, dec := 0, json.NewDecoder(bytes.NewReader(text)); dec.More(); k++ {
			var raw json.RawMessage
			if err := dec.Decode(&raw); err != nil {
				panic(err)
			}
			split.add(fmt.Sprintf("%s/part-%d.json", name, (k+1)%3), raw)
		}
		yaml.add("catalog.yaml", toYAML(text))
		nested.add(fmt.Sprintf("some/%d/deep.er/%s.json", i%2, name), text)
	}
	for _, f := range []files{directories, shared, split, nested} {
		f.add("index.json", []byte(strange))
	}
	yaml.add("strange.yaml", toYAML([]byte(strange)))
	nested.add("some/.indexignore", []byte("*.txt\n/1/skip\n"))
	nested.add("some/notes.txt", []byte("just: [text"))
	nested.add("some/1/skip/x.json", []byte("{broken"))
	nested.add("empty.yaml")
	return map[string]fs.FS{
		"a directory for each package":         directories.fs(),
		"one file for all":                     shared.fs(),
		"several files for each package":       split.fs(),
		"one YAML file for all":                yaml.fs(),
		"nested directories and ignored files": nested.fs(),
	}
}

type files map[string][]byte

func (f files) add(name string, text ...[]byte) {
	f[name] = append(f[name], bytes.Join(text, nil)...)
}

func (f files) fs() fs.FS {
	m := make(fstest.MapFS)
	for name, data := range f {
		m[name] = &fstest.MapFile{Data: data, Mode: 0o640}
	}
	return m
}

// byPackage is what the reference loads, package by package.
func byPackage(tb testing.TB, fsys fs.FS) map[string]*declcfg.DeclarativeConfig {
	tb.Helper()
	all, err := declcfg.LoadFS(tb.Context(), fsys, declcfg.WithConcurrency(1))
	if err != nil {
		tb.Fatal(err)
	}
	m := make(map[string]*declcfg.DeclarativeConfig)
	of := func(pkg string) *declcfg.DeclarativeConfig {
		if m[pkg] == nil {
			m[pkg] = &declcfg.DeclarativeConfig{}
		}
		return m[pkg]
	}
	for _, p := range all.Packages {
		of(p.Name).Packages = append(of(p.Name).Packages, p)
	}
	for _, c := range all.Channels {
		of(c.Package).Channels = append(of(c.Package).Channels, c)
	}
	for _, b := range all.Bundles {
		of(b.Package).Bundles = append(of(b.Package).Bundles, b)
	}
	for _, d := range all.Deprecations {
		of(d.Package).Deprecations = append(of(d.Package).Deprecations, d)
	}
	for _, o := range all.Others {
		of(o.Package).Others = append(of(o.Package).Others, o)
	}
	return m
}

// canonical is a value as JSON in one form, since the reference encodes raw
// JSON again and a tree does not.
func canonical(tb testing.TB, v any) string {
	tb.Helper()
	data, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(data, &v)
	}
	if err == nil {
		data, err = json.MarshalIndent(v, "", " ")
	}
	if err != nil {
		tb.Fatal(err)
	}
	return string(data)
}

// agrees compares a tree with what the reference loads from its files.
func agrees(tb testing.TB, t *Tree) {
	tb.Helper()
	want := byPackage(tb, t.FS())
	var names []string
	for name := range want {
		if name != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if d := cmp.Diff(names, t.Packages(), cmpopts.EquateEmpty()); d != "" {
		tb.Fatalf("packages (-opm +tree):\n%s", d)
	}
	for name, cfg := range want {
		got, err := t.Config(tb.Context(), name)
		if err != nil {
			tb.Fatal(err)
		}
		if want, got := canonical(tb, cfg), canonical(tb, got); want != got {
			tb.Fatalf("package %q (-opm +tree):\n%s", name, cmp.Diff(want, got))
		}
	}
}

func TestImportIsWhatOpmLoads(t *testing.T) {
	for name, fsys := range layouts() {
		t.Run(name, func(t *testing.T) {
			tr := load(t, newStore(t, Options{}), fsys)
			agrees(t, tr)
			if len(tr.Packages()) != spec.Packages {
				t.Errorf("%d packages", len(tr.Packages()))
			}
			var paths []string
			for path, size := range tr.Files() {
				data, err := fs.ReadFile(fsys, path)
				if err != nil {
					t.Fatal(err)
				}
				own, err := tr.ReadFile(path)
				if err != nil || !bytes.Equal(data, own) || int64(len(data)) != size {
					t.Errorf("file %s differs, error %v", path, err)
				}
				paths = append(paths, path)
			}
			if err := fstest.TestFS(tr.FS(), paths...); err != nil {
				t.Error(err)
			}
		})
	}
}

// rescanned checks that a tree knows of its files what a scan finds in them.
func rescanned(tb testing.TB, t *Tree) {
	tb.Helper()
	fresh, err := t.store.read(tb.Context(), FromFS(t.FS()))
	if err != nil {
		tb.Fatal(err)
	}
	for i, e := range t.files {
		if d := cmp.Diff(fresh.files[i].Scan, e.Scan, cmpopts.EquateEmpty()); d != "" {
			tb.Fatalf("file %s (-scan +edit):\n%s", e.Path, d)
		}
	}
	if d := cmp.Diff(slices.Collect(fresh.Runs()), slices.Collect(t.Runs())); d != "" {
		tb.Fatalf("runs (-scan +edit):\n%s", d)
	}
}

// metas are the texts of the metas of each package, with their files.
func metas(tb testing.TB, t *Tree) map[string][]string {
	tb.Helper()
	m := make(map[string][]string)
	for _, name := range append(t.Packages(), "") {
		list, err := t.Metas(tb.Context(), name)
		if err != nil {
			tb.Fatal(err)
		}
		for _, meta := range list {
			m[name] = append(m[name], meta.File+": "+string(meta.Blob))
		}
	}
	return m
}

// Random edits, of every layout: the edited package is what was asked for, and
// all others keep every byte.
func TestEditsKeepTheRest(t *testing.T) {
	for name, fsys := range layouts() {
		t.Run(name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(uint64(len(name)), 1))
			current := load(t, newStore(t, Options{}), fsys)
			for range 40 {
				n := rng.IntN(spec.Packages + 2)
				pkg := spec.Name(n)
				before := metas(t, current)
				var (
					edited *Tree
					text   []byte
					err    error
				)
				if current.Has(pkg) && rng.IntN(3) == 0 {
					edited, err = current.WithoutPackage(t.Context(), pkg)
				} else {
					text = spec.Package(n, 1+rng.IntN(3))
					if rng.IntN(2) == 0 {
						text = bytes.TrimSpace(text)
					}
					edited, err = current.WithPackage(t.Context(), pkg, text)
				}
				if err != nil {
					t.Fatal(err)
				}
				after := metas(t, edited)
				list, err := edited.Metas(t.Context(), pkg)
				if err != nil {
					t.Fatal(err)
				}
				if got := Join(list); !bytes.Equal(squeeze(got), squeeze(text)) {
					t.Fatalf("package %s is not what was asked for: %s", pkg, got)
				}
				delete(before, pkg)
				delete(after, pkg)
				if d := cmp.Diff(before, after); d != "" {
					t.Fatalf("edit of %s changed others (-before +after):\n%s", pkg, d)
				}
				untouched(t, current, edited, pkg)
				rescanned(t, edited)
				agrees(t, edited)
				current = edited
			}
		})
	}
}

// squeeze removes what may differ between metas: the space.
func squeeze(text []byte) []byte {
	var out bytes.Buffer
	for dec := json.NewDecoder(bytes.NewReader(text)); dec.More(); {
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return nil
		}
		out.Write(raw)
	}
	return out.Bytes()
}

// untouched checks that files without the package are the same in both trees.
func untouched(tb testing.TB, before, after *Tree, pkg string) {
	tb.Helper()
	for _, e := range before.files {
		if e.Scan != nil {
			if _, holds := e.Scan.Sums[pkg]; holds {
				continue
			}
		}
		if after.file(e.Path) != e {
			tb.Fatalf("edit of %s touched file %s", pkg, e.Path)
		}
	}
}

// A file that several packages share keeps what is around the edited one.
func TestSharedFileKeepsItsBytes(t *testing.T) {
	const (
		before = " \n{\"schema\":\"olm.package\",\"name\":\"a\"}\n\n"
		middle = "{ \"schema\": \"x\", \"n\": 1.50 }\t\n"
		after  = "{\"package\":\"c\",\"schema\":\"olm.channel\",\"name\":\"\\u003c\"}  \n"
		first  = "{\"schema\":\"olm.package\",\"name\":\"b\"}\n  "
		second = "{\"schema\":\"olm.channel\",\"package\":\"b\"}\n"
	)
	s := newStore(t, Options{})
	base := load(t, s, files{"all.json": []byte(before + first + middle + second + after)}.fs())
	for name, tc := range map[string]struct {
		edit func() (*Tree, error)
		want string
	}{
		"replaced": {func() (*Tree, error) {
			return base.WithPackage(t.Context(), "b", []byte(`{"schema":"olm.package","name":"b","new":1}`))
		}, before + "{\"schema\":\"olm.package\",\"name\":\"b\",\"new\":1}\n" + middle + after},
		"removed":       {func() (*Tree, error) { return base.WithoutPackage(t.Context(), "b") }, before + middle + after},
		"first removed": {func() (*Tree, error) { return base.WithoutPackage(t.Context(), "a") }, " \n" + first + middle + second + after},
		"last removed":  {func() (*Tree, error) { return base.WithoutPackage(t.Context(), "c") }, before + first + middle + second},
	} {
		t.Run(name, func(t *testing.T) {
			edited, err := tc.edit()
			if err != nil {
				t.Fatal(err)
			}
			got, err := edited.ReadFile("all.json")
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.want, string(got)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestWherePackagesGo(t *testing.T) {
	const text = `{"schema":"olm.package","name":"a","new":true}`
	yaml := []byte("schema: olm.package\nname: a\n")
	other := []byte("schema: olm.package\nname: b\n")
	both := slices.Concat(yaml, []byte("---\n"), other)
	for name, tc := range map[string]struct {
		before files
		want   []string
	}{
		"a new package":                       {files{}, []string{"a/catalog.json"}},
		"a package in JSON":                   {files{"x/y.json": []byte(`{"schema":"olm.package","name":"a"}`)}, []string{"x/y.json"}},
		"a package in YAML of its own":        {files{"x/y.yaml": yaml}, []string{"x/y.json"}},
		"a package in YAML named JSON":        {files{"x/y.json": yaml}, []string{"x/y.json"}},
		"a package in shared YAML":            {files{"x/y.yaml": both}, []string{"a/catalog.json", "x/y.yaml"}},
		"a package in several files":          {files{"x/1.json": []byte(`{"schema":"olm.channel","package":"a"}`), "x/2.json": []byte(`{"schema":"olm.package","name":"a"}`)}, []string{"x/2.json"}},
		"a new package, its place taken":      {files{"a/catalog.json": []byte(`{"schema":"olm.package","name":"b"}`)}, []string{"a/a.json", "a/catalog.json"}},
		"a new package, its directory a file": {files{"a": []byte(`{"schema":"olm.package","name":"b"}`)}, []string{"a", "a.json"}},
		"a new package, its place ignored":    {files{".indexignore": []byte("/a/\n")}, []string{".indexignore", "a.json"}},
		"JSON and YAML":                       {files{"x/1.yaml": yaml, "x/2.json": []byte(`{"schema":"olm.channel","package":"a"}`)}, []string{"x/2.json"}},
		"JSON that goes on as YAML":           {files{"x.json": []byte("{\"schema\":\"olm.package\",\"name\":\"a\"}\n---\nschema: olm.package\nname: b\n")}, []string{"a/catalog.json", "x.json"}},
	} {
		t.Run(name, func(t *testing.T) {
			edited, err := load(t, newStore(t, Options{}), tc.before.fs()).WithPackage(t.Context(), "a", []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for path := range edited.Files() {
				got = append(got, path)
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("files (-want +got):\n%s", d)
			}
			list, err := edited.Metas(t.Context(), "a")
			if err != nil || len(list) != 1 || string(list[0].Blob) != text {
				t.Errorf("metas %v, error %v", list, err)
			}
			rescanned(t, edited)
			agrees(t, edited)
		})
	}
	t.Run("nowhere", func(t *testing.T) {
		tr := load(t, newStore(t, Options{}), files{".indexignore": []byte("*.json\n")}.fs())
		_, err := tr.WithPackage(t.Context(), "a", []byte(text))
		if sdk.CodeOf(err) != sdk.Invalid || !strings.Contains(err.Error(), "a/catalog.json, a/a.json, a.json") {
			t.Errorf("error %v", err)
		}
	})
}

func TestEditsRefuse(t *testing.T) {
	tr := load(t, newStore(t, Options{}), files{"a/catalog.json": spec.Package(0, 1)}.fs())
	with := func(pkg, text string) error {
		_, err := tr.WithPackage(t.Context(), pkg, []byte(text))
		return err
	}
	file := func(name, text string) error {
		_, err := tr.WithFile(t.Context(), name, strings.NewReader(text))
		return err
	}
	_, noPackage := tr.WithoutPackage(t.Context(), "nobody")
	_, noName := tr.WithoutPackage(t.Context(), "")
	_, noFile := tr.WithoutFile(t.Context(), "no/file")
	for name, tc := range map[string]struct {
		err  error
		code sdk.Code
		says string
	}{
		"a name that climbs":         {with("../a", `{"schema":"olm.package","name":"../a"}`), sdk.Invalid, `package name "../a"`},
		"an empty name":              {with("", `{"schema":"x"}`), sdk.Invalid, `package name ""`},
		"a name in capitals":         {with("A", `{"schema":"olm.package","name":"A"}`), sdk.Invalid, `package name "A"`},
		"a name with dots":           {with("a..b", `{"schema":"olm.package","name":"a..b"}`), sdk.Invalid, `package name "a..b"`},
		"a name that ends in a dash": {with("a-", `{"schema":"olm.package","name":"a-"}`), sdk.Invalid, `package name "a-"`},
		"no metas":                   {with("a", " "), sdk.Invalid, "there are no metas"},
		"not JSON":                   {with("a", "schema: olm.package\nname: a\n"), sdk.Invalid, "not JSON"},
		"broken JSON":                {with("a", `{"schema":"olm.package","name":"a"}`+"\n"+`{"schema":"x",`), sdk.Invalid, "catalog file of package a:2:15: unexpected end"},
		"another package's meta":     {with("a", `{"schema":"olm.package","name":"a"}{"schema":"olm.channel","package":"b","name":"c"}`), sdk.Invalid, `meta 2, olm.channel "c", is of package "b"`},
		"an unknown package":         {noPackage, sdk.NotFound, "package nobody: not in the catalog"},
		"no package":                 {noName, sdk.NotFound, "not in the catalog"},
		"an unknown file":            {noFile, sdk.NotFound, "no/file"},
		"a file that climbs":         {file("../x", ""), sdk.Invalid, `path "../x"`},
		"a file for a directory":     {file("a", ""), sdk.Invalid, "path a: both"},
		"the root":                   {file(".", ""), sdk.Invalid, "path ."},
		"a file below a file":        {file("a/catalog.json/x", ""), sdk.Invalid, "a/catalog.json/x: both"},
		"a broken file":              {file("x.json", `{"schema":`), sdk.Invalid, "catalog file x.json:1:11: unexpected end"},
	} {
		t.Run(name, func(t *testing.T) {
			if sdk.CodeOf(tc.err) != tc.code || !strings.Contains(tc.err.Error(), tc.says) {
				t.Errorf("error %v, want %s and %q", tc.err, tc.code, tc.says)
			}
		})
	}
}

func TestFilesComeAndGo(t *testing.T) {
	ctx := t.Context()
	tr := load(t, newStore(t, Options{}), files{"a/catalog.json": spec.Package(0, 1), "b/c/x.json": spec.Package(1, 1)}.fs())
	must := func(tr *Tree, err error) *Tree {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		rescanned(t, tr)
		return tr
	}
	dirs := func(tr *Tree) (list []string) {
		for _, d := range tr.dirs {
			list = append(list, d.Path)
		}
		return list
	}
	without := must(tr.WithoutPackage(ctx, spec.Name(1)))
	if d := cmp.Diff([]string{".", "a"}, dirs(without)); d != "" {
		t.Errorf("directories after their last file went (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{".", "a", "b", "b/c"}, dirs(tr)); d != "" {
		t.Errorf("the old tree changed (-want +got):\n%s", d)
	}
	ignored := must(tr.WithFile(ctx, ".indexignore", strings.NewReader("/b\n")))
	if d := cmp.Diff([]string{spec.Name(0)}, ignored.Packages()); d != "" {
		t.Errorf("packages after ignoring one (-want +got):\n%s", d)
	}
	again := must(ignored.WithoutFile(ctx, ".indexignore"))
	if again.Digest() != tr.Digest() || !again.Has(spec.Name(1)) {
		t.Error("taking back an edit does not give the same tree")
	}
	notes := must(ignored.WithFile(ctx, "b/notes", strings.NewReader("not: [a catalog")))
	if got, err := notes.ReadFile("b/notes"); err != nil || string(got) != "not: [a catalog" {
		t.Errorf("a file that is ignored: %q, error %v", got, err)
	}
	if _, err := notes.ReadFile("b/nothing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestLayerIsTheTree(t *testing.T) {
	layers, err := layer.Open(t.TempDir(), layer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for name, fsys := range layouts() {
		t.Run(name, func(t *testing.T) {
			s := newStore(t, Options{})
			source := func(_ context.Context, add func(File) error) error {
				if err := add(File{Name: "some", Mode: fs.ModeDir | 0o700, UID: 1001}); err != nil {
					return err
				}
				return FromFS(fsys)(t.Context(), func(f File) error {
					f.UID, f.GID = 1001, 7
					return add(f)
				})
			}
			tr, err := s.Import(t.Context(), "owned", source)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "layer")
			l, err := tr.Layer(t.Context(), layers, path, LayerOptions{CreatedBy: "test"})
			if err != nil {
				t.Fatal(err)
			}
			back, err := newStore(t, Options{}).Import(t.Context(), "back", FromTar(func(context.Context) (io.ReadCloser, error) {
				f, err := os.Open(path)
				if err != nil {
					return nil, err
				}
				t.Cleanup(func() { f.Close() })
				return gzip.NewReader(f)
			}, "/configs"))
			if err != nil {
				t.Fatal(err)
			}
			if back.Digest() != tr.Digest() {
				t.Error("the tree read back from its layer is another")
			}
			again, err := tr.Layer(t.Context(), layers, path, LayerOptions{CreatedBy: "test"})
			if err != nil || again != l {
				t.Errorf("made again: %+v, want %+v, error %v", again, l, err)
			}
			dir := filepath.Join(t.TempDir(), "out")
			if err := tr.Extract(t.Context(), dir); err != nil {
				t.Fatal(err)
			}
			out := load(t, newStore(t, Options{}), os.DirFS(dir))
			for i, e := range out.files {
				if want := tr.files[i]; e.Path != want.Path || e.Mode != want.Mode || e.Key != want.Key {
					t.Errorf("extracted %s %v %s, want %s %v %s", e.Path, e.Mode, e.Key, want.Path, want.Mode, want.Key)
				}
			}
		})
	}
	t.Run("over another one", func(t *testing.T) {
		tr := load(t, newStore(t, Options{}), files{"a.json": spec.Package(0, 1)}.fs())
		var names []string
		for e, err := range tr.layerEntries(LayerOptions{Root: "/a/b/", Opaque: true}) {
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, e.Name)
		}
		if d := cmp.Diff([]string{"a/b", "a/b/.wh..wh..opq", "a/b/a.json"}, names); d != "" {
			t.Errorf("entries (-want +got):\n%s", d)
		}
	})
}

// archive is a tar archive of headers, with content of the size they announce.
func archive(tb testing.TB, headers ...tar.Header) []byte {
	tb.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range headers {
		if err := w.WriteHeader(&h); err != nil {
			tb.Fatal(err)
		}
		if _, err := w.Write(make([]byte, h.Size)); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

func fromBytes(data []byte) Source {
	return FromTar(func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }, "configs")
}

func TestImportRefuses(t *testing.T) {
	limits := Limits{Files: 20, FileSize: 4 << 20, TotalSize: 6 << 20, MetaSize: 1 << 20, DocumentSize: 1 << 20, Depth: 50}
	big := `{"schema":"x","v":"` + strings.Repeat("x", 2<<20) + `"}`
	bomb := "schema: x\na: &a " + strings.Repeat("x", 10000) + "\nb: [" + strings.Repeat("*a,", 1000) + "]\n"
	laughs := "schema: x\na: &a [lol]\n"
	for c := 'b'; c < 'j'; c++ {
		laughs += fmt.Sprintf("%c: &%c [%s]\n", c, c, strings.Repeat(fmt.Sprintf("*%c,", c-1), 10))
	}
	many := files{}
	for i := range 30 {
		many.add(fmt.Sprint(i))
	}
	deep := func(open, end string, n int) []byte {
		return []byte(`{"schema":"x","v":` + strings.Repeat(open, n) + strings.Repeat(end, n) + `}`)
	}
	for name, tc := range map[string]struct {
		source Source
		says   string
	}{
		"broken JSON":                 {FromFS(files{"a/b.json": []byte("{\"schema\":\"x\"}\n{\"schema\":\"x\"}\n{\"schema\":\"y\",\n  \"n\": 1 2}")}.fs()), "catalog file a/b.json:4:10: want a comma"},
		"JSON without schema":         {FromFS(files{"a.json": []byte("{\"schema\":\"x\"}\n {\"name\":\"y\"}")}.fs()), `catalog file a.json:2:2: this meta has no "schema"`},
		"broken YAML":                 {FromFS(files{"a.yaml": []byte("schema: x\n---\na: [\n")}.fs()), "catalog file a.yaml:3:1: yaml:"},
		"a readme":                    {FromFS(files{"README.md": []byte("# Title\n\nText\n")}.fs()), "catalog file README.md:1:1: want an object"},
		"keys that fold":              {FromFS(files{"a.json": []byte(`{"schema":"x","Schema":"y"}`)}.fs()), "duplicate keys"},
		"a large meta":                {FromFS(files{"a.json": []byte(big)}.fs()), "catalog file a.json:1:1: this meta is larger"},
		"a large meta without end":    {FromFS(files{"a.json": []byte(big[:len(big)-2])}.fs()), "catalog file a.json:1:1: this meta is larger"},
		"a large document":            {FromFS(files{"a.yaml": []byte("schema: x\ny: " + strings.Repeat("x", 2<<20))}.fs()), "this YAML document is larger"},
		"a document of many lines":    {FromFS(files{"a.yaml": []byte("schema: x\ny: |\n" + strings.Repeat("  x\n", 1<<19))}.fs()), "this YAML document is larger"},
		"an alias bomb":               {FromFS(files{"a.yaml": []byte(bomb)}.fs()), "aliases make this YAML document larger"},
		"a billion laughs":            {FromFS(files{"a.yaml": []byte(laughs)}.fs()), "aliases make this YAML document larger"},
		"an alias of itself":          {FromFS(files{"a.yaml": []byte("schema: x\na: &a [*a]\n")}.fs()), "a.yaml:1:1"},
		"nested arrays":               {FromFS(files{"a.json": deep("[", "]", 60)}.fs()), "nested too deeply"},
		"nested objects":              {FromFS(files{"a.json": deep(`{"a":`, `}`, 60)}.fs()), "nested too deeply"},
		"nested YAML":                 {FromFS(files{"a.yaml": []byte("schema: x\na: " + strings.Repeat("[", 60) + strings.Repeat("]", 60))}.fs()), "nested too deeply"},
		"nested without end":          {FromFS(files{"a.json": []byte(`{"a":` + strings.Repeat("[", 1<<18))}.fs()), "nested too deeply"},
		"many files":                  {FromFS(many.fs()), "has more than 20 files"},
		"a large file":                {FromFS(files{"a.json": bytes.Repeat([]byte(" "), 5<<20)}.fs()), "file a.json: larger than"},
		"large files":                 {FromFS(files{"a.json": bytes.Repeat([]byte(" "), 3<<20), "b.json": bytes.Repeat([]byte("\n"), 4<<20)}.fs()), "catalog is larger than"},
		"a large .indexignore":        {FromFS(files{"a/.indexignore": bytes.Repeat([]byte("x\n"), 40<<10)}.fs()), "a/.indexignore: larger than"},
		"a symbolic link":             {fromBytes(archive(t, tar.Header{Typeflag: tar.TypeSymlink, Name: "configs/a", Linkname: "/etc/passwd"})), "file a: neither a regular file nor a directory"},
		"a device":                    {fromBytes(archive(t, tar.Header{Typeflag: tar.TypeChar, Name: "configs/a"})), "file a: neither"},
		"a pipe":                      {fromBytes(archive(t, tar.Header{Typeflag: tar.TypeFifo, Name: "configs/a"})), "file a: neither"},
		"a hard link that escapes":    {fromBytes(archive(t, tar.Header{Typeflag: tar.TypeLink, Name: "configs/a", Linkname: "etc/passwd"})), "hard link to etc/passwd"},
		"a hard link to nothing":      {fromBytes(archive(t, tar.Header{Typeflag: tar.TypeLink, Name: "configs/a", Linkname: "configs/b"})), "hard link to b, which is no file before it"},
		"a whiteout":                  {fromBytes(archive(t, tar.Header{Name: "configs/.wh.a"})), `path ".wh.a"`},
		"a name with a line feed":     {fromBytes(archive(t, tar.Header{Name: "configs/a\nb"})), "control characters"},
		"a long name":                 {fromBytes(archive(t, tar.Header{Name: "configs/" + strings.Repeat("x", 300)})), "too long"},
		"a long path":                 {fromBytes(archive(t, tar.Header{Name: "configs/" + strings.Repeat("x/", 3000) + "x"})), "not a clean path"},
		"a file below a file":         {fromBytes(archive(t, tar.Header{Name: "configs/a"}, tar.Header{Name: "configs/a/b"})), "path a: both a file and a directory"},
		"an archive cut short":        {fromBytes(archive(t, tar.Header{Name: "configs/a", Size: 4096})[:1024]), "catalog file a: unexpected EOF"},
		"an archive that is none":     {fromBytes(bytes.Repeat([]byte("x"), 2048)), "catalog archive: "},
		"a source that climbs":        {func(_ context.Context, add func(File) error) error { return add(File{Name: "../a"}) }, `path "../a"`},
		"a source with a root path":   {func(_ context.Context, add func(File) error) error { return add(File{Name: "/a"}) }, `path "/a"`},
		"a source without any reader": {func(_ context.Context, add func(File) error) error { return add(File{Name: "a"}) }, "file a: neither"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t, Options{Limits: limits})
			_, err := s.Import(t.Context(), "x", tc.source)
			if sdk.CodeOf(err) != sdk.Invalid || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("error %v, want Invalid and %q", err, tc.says)
			}
			if _, err := s.Lookup("x"); sdk.CodeOf(err) != sdk.NotFound {
				t.Errorf("look up what was refused: %v", err)
			}
		})
	}
}

func TestArchiveDetails(t *testing.T) {
	data := archive(t,
		tar.Header{Name: "etc/passwd", Size: 10},
		tar.Header{Typeflag: tar.TypeDir, Name: "./configs/", Mode: 0o711},
		tar.Header{Name: "./configs/a", Mode: 0o4755, Uid: 5},
		tar.Header{Typeflag: tar.TypeLink, Name: "configs/b", Linkname: "./configs/a"},
		tar.Header{Name: "/configs/c/../c/d"},
		tar.Header{Name: "configs/../outside"},
		tar.Header{Name: "configs2/e"},
		tar.Header{Name: "configs/a", Mode: 0o600},
	)
	tr, err := newStore(t, Options{}).Import(t.Context(), "x", fromBytes(data))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for e := range tr.walk() {
		got = append(got, fmt.Sprintf("%s %v %d", e.Path, e.Mode, e.UID))
	}
	want := []string{". drwx--x--x 0", "a -rw------- 0", "b -rwxr-xr-x 5", "c drwxr-xr-x 0", "c/d ---------- 0"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestSourceErrorsPassThrough(t *testing.T) {
	cause := sdk.Errorf(sdk.Unavailable, "registry.example.com: connection reset")
	_, err := newStore(t, Options{}).Import(t.Context(), "x", FromTar(func(context.Context) (io.ReadCloser, error) { return nil, cause }, ""))
	if !errors.Is(err, cause) {
		t.Errorf("error %v", err)
	}
}

func TestStoreRemembers(t *testing.T) {
	s := newStore(t, Options{})
	fsys := files{"a/catalog.json": spec.Package(0, 1), "b.yaml": toYAML([]byte(strange))}.fs()
	never := Source(func(context.Context, func(File) error) error { return errors.New("the source was read") })
	first := load(t, s, fsys)
	second, err := s.Import(t.Context(), t.Name(), never)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(metas(t, first), metas(t, second)); d != "" || first.Digest() != second.Digest() {
		t.Errorf("the remembered tree differs:\n%s", d)
	}
	edited, err := second.WithPackage(t.Context(), spec.Name(0), spec.Package(0, 2))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Remember(edited, "edited"); err != nil {
		t.Fatal(err)
	}
	found, err := s.Lookup("edited")
	if err != nil || found.Digest() != edited.Digest() || found.PackageDigest(spec.Name(0)) != edited.PackageDigest(spec.Name(0)) {
		t.Errorf("look up an edited tree: error %v", err)
	}
	if err := s.Remember(first, "edited"); err != nil {
		t.Fatal(err)
	}
	if found, err := s.Lookup("edited"); err != nil || found.Digest() != first.Digest() {
		t.Errorf("look up a key that was given another tree: error %v", err)
	}
	if err := s.blobs.Remove(first.files[0].Key); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Lookup(t.Name()); sdk.CodeOf(err) != sdk.NotFound {
		t.Errorf("look up a tree that lost a file: %v", err)
	}
	if again := load(t, s, fsys); again.Digest() != first.Digest() {
		t.Error("another import gives another tree")
	}
}

func TestTreeWhoseStoreIsGone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	layers, err := layer.Open(t.TempDir(), layer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	shared := slices.Concat(spec.Package(0, 1), spec.Package(1, 1))
	fsys := files{"a.json": shared}.fs()
	for name, harm := range map[string]func(path string) error{
		"deleted": os.Remove,
		"altered": func(path string) error {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			data[len(data)-len(shared)/4] ^= 1
			return os.WriteFile(path, data, 0o600)
		},
	} {
		for action, act := range map[string]func(*Tree) error{
			"read metas": func(tr *Tree) error { _, err := tr.Metas(t.Context(), spec.Name(1)); return err },
			"read file":  func(tr *Tree) error { _, err := tr.ReadFile("a.json"); return err },
			"edit":       func(tr *Tree) error { _, err := tr.WithoutPackage(t.Context(), spec.Name(0)); return err },
			"make layer": func(tr *Tree) error {
				_, err := tr.Layer(t.Context(), layers, filepath.Join(t.TempDir(), "l"), LayerOptions{})
				return err
			},
			"extract": func(tr *Tree) error { return tr.Extract(t.Context(), t.TempDir()) },
		} {
			t.Run(name+", "+action, func(t *testing.T) {
				tr, err := s.Import(t.Context(), "x", FromFS(fsys))
				if err != nil {
					t.Fatal(err)
				}
				key := strings.TrimPrefix(tr.files[0].Key.String(), "sha256:")
				if err := harm(filepath.Join(dir, key[:2], key[2:])); err != nil {
					t.Fatal(err)
				}
				if err := act(tr); sdk.CodeOf(err) != sdk.Unavailable {
					t.Errorf("error %v, want Unavailable", err)
				}
				if tr, err = s.Import(t.Context(), "x", FromFS(fsys)); err != nil {
					t.Fatal(err)
				}
				if err := act(tr); err != nil {
					t.Errorf("after another import: %v", err)
				}
			})
		}
	}
}

// Many requests on one index: it is read once, and edits do not meet.
func TestConcurrentUse(t *testing.T) {
	s := newStore(t, Options{})
	layers, err := layer.Open(t.TempDir(), layer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var reads atomic.Int32
	source := func(ctx context.Context, add func(File) error) error {
		reads.Add(1)
		return FromFS(spec.FS())(ctx, add)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			tr, err := s.Import(t.Context(), "base", source)
			if err != nil {
				t.Error(err)
				return
			}
			edited, err := tr.WithPackage(t.Context(), spec.Name(i%4), spec.Package(i%4, 3))
			if err != nil {
				t.Error(err)
				return
			}
			agrees(t, edited)
			if _, err := edited.Layer(t.Context(), layers, filepath.Join(t.TempDir(), "l"), LayerOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := reads.Load(); n != 1 {
		t.Errorf("the source was read %d times", n)
	}
}

func TestImportStopsWhenCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := newStore(t, Options{}).Import(ctx, "x", FromFS(spec.FS())); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}
