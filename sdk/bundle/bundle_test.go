package bundle

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/sdk"
)

const annotationsOfExample = `annotations:
  # Core bundle annotations.
  operators.operatorframework.io.bundle.package.v1: amqstreams
  operators.operatorframework.io.bundle.channels.v1: stable, beta
  operators.operatorframework.io.bundle.channel.default.v1: stable
`

const csvPath = "manifests/example.clusterserviceversion.yaml"

// unpacked returns a bundle with these files; annotations are added if there
// are none.
func unpacked(t *testing.T, files map[string]string) (*Bundle, string) {
	t.Helper()
	dir := t.TempDir()
	if _, ok := files[annotationsFile]; !ok {
		write(t, dir, annotationsFile, annotationsOfExample)
	}
	for name, content := range files {
		write(t, dir, name, content)
	}
	b, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b, dir
}

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// withCSV returns a bundle whose only manifest is this CSV; the kind is added.
func withCSV(t *testing.T, body string) (*Bundle, string) {
	t.Helper()
	return unpacked(t, map[string]string{csvPath: "kind: ClusterServiceVersion\n" + body})
}

// csv returns the bundle's only CSV as it is now, without the line that
// withCSV added.
func csv(t *testing.T, b *Bundle) string {
	t.Helper()
	csvs, err := b.CSVs()
	if err != nil {
		t.Fatal(err)
	}
	if len(csvs) != 1 {
		t.Fatalf("%d CSVs", len(csvs))
	}
	return strings.TrimPrefix(string(csvs[0].Bytes()), "kind: ClusterServiceVersion\n")
}

func wantError(t *testing.T, err error, code sdk.Code, text string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	if diff := cmp.Diff(text, err.Error()); diff != "" {
		t.Error(diff)
	}
	if got := sdk.CodeOf(err); got != code {
		t.Errorf("code %s, want %s", got, code)
	}
}

func TestMetadataIsReadAsItIsWritten(t *testing.T) {
	b, _ := unpacked(t, map[string]string{annotationsFile: `annotations:
  operators.operatorframework.io.bundle.package.v1: "amqstreams"
  operators.operatorframework.io.bundle.channels.v1: 4.10,, stable
  operators.operatorframework.io.bundle.channel.default.v1: 4.10
  nothing:
  several: [a]
`})
	got, err := b.Metadata()
	if err != nil {
		t.Fatal(err)
	}
	want := Metadata{
		Package: "amqstreams", Channels: []string{"4.10", "stable"}, DefaultChannel: "4.10",
		Annotations: map[string]string{
			LabelPackage: "amqstreams", channelsAnnotation: "4.10,, stable", defaultAnnotation: "4.10",
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestMetadataErrorsSayWhatIsWrong(t *testing.T) {
	tests := map[string]struct{ annotations, want string }{
		"not YAML":               {"a: 'b", "metadata/annotations.yaml: not YAML: found unexpected end of stream"},
		"a key twice":            {"annotations: {}\nannotations: {}\n", `metadata/annotations.yaml: line 2: key "annotations" is already on line 1`},
		"nothing":                {"", "metadata/annotations.yaml: the key annotations is missing"},
		"a list":                 {"- annotations\n", "metadata/annotations.yaml: the key annotations is missing"},
		"annotations not a map":  {"a: 1\nannotations: text\n", "metadata/annotations.yaml: line 2: annotations is not a mapping"},
		"annotations not there":  {"annotations:\n", "metadata/annotations.yaml: line 1: annotations is not a mapping"},
		"package missing":        {"annotations:\n  a: b\n", "metadata/annotations.yaml: the annotation " + LabelPackage + " is missing"},
		"package empty":          {"annotations:\n  " + LabelPackage + ": ''\n", "metadata/annotations.yaml: the annotation " + LabelPackage + " is missing"},
		"package not text":       {"annotations:\n  " + LabelPackage + ": 12\n", "metadata/annotations.yaml: line 2: the annotation " + LabelPackage + " is not text; put it in quotes"},
		"package a list":         {"annotations:\n  " + LabelPackage + ": [a]\n", "metadata/annotations.yaml: line 2: the annotation " + LabelPackage + " is not text; put it in quotes"},
		"an annotations cluster": {"annotations: &a\n  b: *a\n", `metadata/annotations.yaml: line 2: alias "a" lies within what it stands for`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b, _ := unpacked(t, map[string]string{annotationsFile: test.annotations})
			_, err := b.Metadata()
			wantError(t, err, sdk.Invalid, test.want)
		})
	}
	t.Run("no file", func(t *testing.T) {
		b, dir := unpacked(t, nil)
		if err := os.Remove(filepath.Join(dir, annotationsFile)); err != nil {
			t.Fatal(err)
		}
		_, err := b.Metadata()
		wantError(t, err, sdk.Invalid, "the bundle has no file /metadata/annotations.yaml")
	})
	t.Run("no directory", func(t *testing.T) {
		b, dir := unpacked(t, nil)
		if err := os.RemoveAll(filepath.Join(dir, "metadata")); err != nil {
			t.Fatal(err)
		}
		_, err := b.Metadata()
		wantError(t, err, sdk.Invalid, "the bundle has no directory /metadata")
	})
}

// Handlers, section 6.2, which files: none, one or several CSVs.
func TestCSVsAreFoundByKindAnywhereBelowManifests(t *testing.T) {
	b, _ := unpacked(t, map[string]string{
		"manifests/b.yaml":        "kind: ClusterServiceVersion\nmetadata:\n  name: b.v1\n",
		"manifests/deep/er/a.yml": "{\"kind\": \"ClusterServiceVersion\"}",
		"manifests/a.json":        "kind: ClusterServiceVersion\n",
		"manifests/crd.yaml":      "kind: CustomResourceDefinition\n# not a ClusterServiceVersion\n",
		"manifests/nested.yaml":   "spec:\n  kind: ClusterServiceVersion\n",
		"manifests/broken.yaml":   "a: 'b",
		"manifests/list.yaml":     "- kind: ClusterServiceVersion\n",
		"other/c.yaml":            "kind: ClusterServiceVersion\n",
	})
	csvs, err := b.CSVs()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range csvs {
		got = append(got, c.Path()+" "+c.Name())
	}
	if diff := cmp.Diff([]string{"manifests/b.yaml b.v1", "manifests/deep/er/a.yml "}, got); diff != "" {
		t.Error(diff)
	}
	wantError(t, b.Check(), sdk.Invalid, "manifests/broken.yaml: not YAML: found unexpected end of stream")
}

func TestCheckFindsACSVInDisguise(t *testing.T) {
	b, _ := unpacked(t, map[string]string{"manifests/a.yaml": `kind: "ClusterService\x56ersion"`})
	if csvs, err := b.CSVs(); err != nil || len(csvs) != 0 {
		t.Fatalf("CSVs: %v, %v", csvs, err)
	}
	wantError(t, b.Check(), sdk.Invalid,
		"manifests/a.yaml: the kind ClusterServiceVersion is written with escapes; write it in plain letters")
}

func TestHostileFilesAreRefused(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("kind: ClusterServiceVersion\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		make func(dir string) error
		want string
	}{
		"a link out of the bundle": {
			func(dir string) error { return os.Symlink(secret, filepath.Join(dir, "manifests/x.yaml")) },
			"manifests/x.yaml: not a regular file; links are not followed",
		},
		"a link within the bundle": {
			func(dir string) error { return os.Symlink("a.yaml", filepath.Join(dir, "manifests/x.yaml")) },
			"manifests/x.yaml: not a regular file; links are not followed",
		},
		"manifests is a link": {
			func(dir string) error {
				if err := os.RemoveAll(filepath.Join(dir, "manifests")); err != nil {
					return err
				}
				return os.Symlink(filepath.Dir(secret), filepath.Join(dir, "manifests"))
			},
			"/manifests of the bundle is not a directory",
		},
		"no manifests": {
			func(dir string) error { return os.RemoveAll(filepath.Join(dir, "manifests")) },
			"the bundle has no directory /manifests",
		},
		"20 MB": {
			func(dir string) error {
				return os.WriteFile(filepath.Join(dir, "manifests/x.yaml"), make([]byte, 20<<20), 0o644)
			},
			"manifests/x.yaml: larger than 4 MiB",
		},
		"a CSV with a key twice": {
			func(dir string) error {
				return os.WriteFile(filepath.Join(dir, "manifests/x.yaml"), []byte("kind: ClusterServiceVersion\nkind: x\n"), 0o644)
			},
			`manifests/x.yaml: line 2: key "kind" is already on line 1`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b, dir := unpacked(t, map[string]string{"manifests/a.yaml": "a: b\n"})
			if err := test.make(dir); err != nil {
				t.Fatal(err)
			}
			_, err := b.CSVs()
			wantError(t, err, sdk.Invalid, test.want)
		})
	}
}

func TestSaveWritesChangedFilesOnly(t *testing.T) {
	b, dir := unpacked(t, map[string]string{
		"manifests/a.yaml": "kind: ClusterServiceVersion\nmetadata:\n  annotations:\n    containerImage: q.io/a:1\n",
		"manifests/b.yaml": "kind: ClusterServiceVersion\nspec: {}\n",
	})
	outside := filepath.Join(t.TempDir(), "cached.yaml")
	if err := os.Link(filepath.Join(dir, "manifests/a.yaml"), outside); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(outside, 0o604); err != nil {
		t.Fatal(err)
	}
	if err := b.ReplaceRegistries(map[string]string{"q.io": "r.io"}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.SuffixPackage("-cmp"); err != nil {
		t.Fatal(err)
	}
	for round, want := range [][]string{{"manifests/a.yaml", annotationsFile}, nil} {
		saved, err := b.Save()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, saved); diff != "" {
			t.Errorf("round %d: %s", round, diff)
		}
	}
	data, err := os.ReadFile(filepath.Join(dir, "manifests/a.yaml"))
	if err != nil || !strings.Contains(string(data), "r.io/a:1") {
		t.Errorf("a.yaml is %q, %v", data, err)
	}
	if info, err := os.Stat(filepath.Join(dir, "manifests/a.yaml")); err != nil || info.Mode().Perm() != 0o604 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if data, _ := os.ReadFile(outside); !strings.Contains(string(data), "q.io/a:1") {
		t.Errorf("the file's other name was written to: %q", data)
	}
	if entries, _ := os.ReadDir(filepath.Join(dir, "manifests")); len(entries) != 2 {
		t.Errorf("left behind: %v", entries)
	}
}

// digests resolves every tag to a digest made of the pull spec's hash.
func digests(_ context.Context, spec string) (string, error) {
	if s := ParsePullSpec(spec); s.Pinned() {
		return s.Tag, nil
	}
	return fakeDigest(spec), nil
}
