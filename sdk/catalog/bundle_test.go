package catalog_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/operator-framework/operator-registry/alpha/declcfg"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/catalog"
	"github.com/iib-engine/iib/sdk/catalog/catalogtest"
)

const antImage = "registry.example.com/ns/ant-bundle@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

func ant(version string) catalogtest.Bundle {
	return catalogtest.Bundle{
		Package: "ant", Name: "ant.v" + version, Version: version,
		Channels: []string{"stable"}, DefaultChannel: "stable",
	}
}

func writeFiles(t *testing.T, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func read(t *testing.T, b catalogtest.Bundle) *catalog.Bundle {
	t.Helper()
	dir := t.TempDir()
	if err := b.Write(dir); err != nil {
		t.Fatal(err)
	}
	read, err := catalog.ReadBundle(dir, b.Image("registry.example.com/ns"))
	if err != nil {
		t.Fatal(err)
	}
	return read
}

func TestBundleThatCannotBeUsedIsRefusedWithItsReason(t *testing.T) {
	const csv, annotations = "manifests/ant.clusterserviceversion.yaml", "metadata/annotations.yaml"
	replace := func(old, new string) func(map[string][]byte) {
		return func(files map[string][]byte) {
			changed := strings.Replace(string(files[csv]), old, new, 1)
			if changed == string(files[csv]) {
				panic("the CSV does not have " + old)
			}
			files[csv] = []byte(changed)
		}
	}
	set := func(name, content string) func(map[string][]byte) {
		return func(files map[string][]byte) { files[name] = []byte(content) }
	}
	tests := []struct {
		name   string
		change func(files map[string][]byte)
		want   string
	}{
		{"no manifests directory", func(f map[string][]byte) {
			maps.DeleteFunc(f, func(name string, _ []byte) bool { return strings.HasPrefix(name, "manifests/") })
		}, "the directory manifests is missing"},
		{"no metadata directory", func(f map[string][]byte) { delete(f, annotations) }, "the directory metadata is missing"},
		{"no annotations file", func(f map[string][]byte) {
			delete(f, annotations)
			f["metadata/other.yaml"] = []byte("a: b")
		}, "there is no annotations file in metadata"},
		{"annotations that are not YAML", set(annotations, "annotations: [}"), "metadata/annotations.yaml is not valid YAML"},
		{"annotations that are a list", set(annotations, "annotations: [a, b]"), "the annotations in metadata/annotations.yaml are not a map"},
		{"annotations that are text", set(annotations, "just text"), "metadata/annotations.yaml is not a map"},
		{"an annotations file without annotations", set(annotations, "labels: {a: b}"), "has no key annotations"},
		{"no package annotation", set(annotations, `annotations: {"operators.operatorframework.io.bundle.channels.v1": stable}`),
			"the annotations lack the package name, operators.operatorframework.io.bundle.package.v1"},
		{"annotations of another kind only", set(annotations, `annotations: {"com.example.key": x}`), "lack the package name"},
		{"a package annotation that is a list", set(annotations, `annotations: {"operators.operatorframework.io.bundle.package.v1": [ant]}`),
			"operators.operatorframework.io.bundle.package.v1 in metadata/annotations.yaml is not text"},
		{"no channel", set(annotations, `annotations: {"operators.operatorframework.io.bundle.package.v1": ant}`), "the annotations name no channel"},
		{"a CSV that is not YAML", set(csv, "kind: ClusterServiceVersion\n\tname: x"), "manifests/ant.clusterserviceversion.yaml is not valid YAML"},
		{"no CSV", func(f map[string][]byte) { delete(f, csv) }, "none of the 1 files in manifests is a ClusterServiceVersion"},
		{"two CSVs", func(f map[string][]byte) { f["manifests/z.yaml"] = f[csv] },
			"both manifests/ant.clusterserviceversion.yaml and manifests/z.yaml are a ClusterServiceVersion"},
		{"a CSV without name", replace(`"name":"ant.v1.0.0","namespace"`, `"namespace"`), "has no metadata.name"},
		{"a CSV without spec", replace(`"spec":`, `"specification":`), "has no spec"},
		{"no version", replace(`"version":"1.0.0"`, `"maturity":"x"`), "has no spec.version"},
		{"a version that is not semantic", replace(`"version":"1.0.0"`, `"version":"1.0"`), `the version "1.0" of the ClusterServiceVersion ant.v1.0.0 is not a semantic version`},
		{"a version that is a number", replace(`"version":"1.0.0"`, `"version":1`), "is not text"},
		{"replaces that is a list", replace(`"version":"1.0.0"`, `"version":"1.0.0","replaces":["x"]`), "spec.replaces of the ClusterServiceVersion ant.v1.0.0 is not text"},
		{"skips that is text", replace(`"version":"1.0.0"`, `"version":"1.0.0","skips":"x"`), "spec.skips of the ClusterServiceVersion ant.v1.0.0 is not a list of names"},
		{"an empty skip", replace(`"version":"1.0.0"`, `"version":"1.0.0","skips":["","x"]`), "spec.skips of the ClusterServiceVersion ant.v1.0.0 has an empty name"},
		{"a skip range that is none", replace(`"capabilities"`, `"olm.skipRange":"<v1.0.0","capabilities"`), `the annotation olm.skipRange "<v1.0.0"`},
		{"a bundle that substitutes for itself", replace(`"capabilities"`, `"olm.substitutesFor":"ant.v1.0.0","capabilities"`), "substitutes for itself"},
		{"an owned API that is missing", func(f map[string][]byte) { delete(f, "manifests/things.crd.yaml") }, "owns an API whose CustomResourceDefinition is not among the manifests"},
		{"properties that are not JSON", replace(`"capabilities"`, `"olm.properties":"[{","capabilities"`), "the annotation olm.properties"},
		{"a file beyond the limit", set("manifests/large.yaml", "a: "+strings.Repeat("x", 17<<20)), "the file manifests/large.yaml is larger than 16 MiB"},
		{"an alias bomb", set(csv, "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f]\nkind: ClusterServiceVersion\n"),
			"manifests/ant.clusterserviceversion.yaml is not valid YAML"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			files := ant("1.0.0").Files()
			tt.change(files)
			_, err := catalog.ReadBundle(writeFiles(t, files), antImage)
			if sdk.CodeOf(err) != sdk.Invalid || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v\nwant: %s", err, tt.want)
			}
			if err != nil && (!strings.Contains(err.Error(), antImage) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), os.TempDir())) {
				t.Errorf("not a sentence about the bundle: %v", err)
			}
		})
	}
}

func TestBundleWithTooManyBytesIsRefused(t *testing.T) {
	files := ant("1.0.0").Files()
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		files["manifests/"+name+".yaml"] = make([]byte, 15<<20)
	}
	_, err := catalog.ReadBundle(writeFiles(t, files), antImage)
	if err == nil || !strings.Contains(err.Error(), "larger than 64 MiB together") {
		t.Error(err)
	}
}

func TestLinksAreFollowedInsideTheBundleOnly(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "secret.yaml")
	if err := os.WriteFile(outside, []byte("a: b"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Run("a link inside", func(t *testing.T) {
		dir := writeFiles(t, ant("1.0.0").Files())
		if err := os.Rename(filepath.Join(dir, "metadata/annotations.yaml"), filepath.Join(dir, "annotations.yaml")); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("../annotations.yaml", filepath.Join(dir, "metadata/annotations.yaml")); err != nil {
			t.Fatal(err)
		}
		if _, err := catalog.ReadBundle(dir, antImage); err != nil {
			t.Error(err)
		}
	})
	for _, target := range []string{outside, "../../../../../../../../../../etc/passwd", "nowhere"} {
		t.Run("a link to "+filepath.Base(target), func(t *testing.T) {
			dir := writeFiles(t, ant("1.0.0").Files())
			if err := os.Symlink(target, filepath.Join(dir, "manifests/link.yaml")); err != nil {
				t.Fatal(err)
			}
			_, err := catalog.ReadBundle(dir, antImage)
			if sdk.CodeOf(err) != sdk.Invalid || !strings.Contains(err.Error(), "leads nowhere inside the bundle") {
				t.Error(err)
			}
		})
	}
}

func TestMalformedPullSpecIsRefused(t *testing.T) {
	_, err := catalog.ReadBundle(writeFiles(t, ant("1.0.0").Files()), "UPPER/case@nothing")
	if sdk.CodeOf(err) != sdk.Invalid {
		t.Error(err)
	}
}

func TestOtherFilesInManifestsAreIgnored(t *testing.T) {
	files := ant("1.0.0").Files()
	files["manifests/README.md"] = []byte("# Not\n\ta manifest: [")
	files["manifests/.hidden"] = files["manifests/ant.clusterserviceversion.yaml"]
	if _, err := catalog.ReadBundle(writeFiles(t, files), antImage); err != nil {
		t.Error(err)
	}
}

func TestBundleBlobSaysWhatTheBundleSays(t *testing.T) {
	spec := ant("1.0.1")
	spec.Replaces, spec.Skips, spec.SkipRange = "ant.v1.0.0", []string{"ant.v0.9.0"}, "<1.0.1"
	spec.Requires = map[string]string{"bee": ">=1.0.0"}
	spec.MaxOpenShift = "4.12"
	b := read(t, spec)
	if b.Name != "ant.v1.0.1" || b.Package != "ant" || b.Version != "1.0.1" || b.Replaces != "ant.v1.0.0" || b.SkipRange != "<1.0.1" || b.DefaultChannel != "stable" {
		t.Errorf("%+v", b)
	}
	var blob declcfg.Bundle
	if err := json.Unmarshal(b.Blob.JSON, &blob); err != nil {
		t.Fatal(err)
	}
	var types []string
	for _, p := range blob.Properties {
		types = append(types, p.Type)
	}
	const want = "olm.gvk olm.maxOpenShiftVersion olm.package olm.package.required olm.csv.metadata"
	if got := strings.Join(types, " "); got != want {
		t.Errorf("properties %s, want %s", got, want)
	}
	if len(blob.RelatedImages) != 2 { // the bundle and its operator
		t.Errorf("related images %v", blob.RelatedImages)
	}
}

func FuzzReadBundle(f *testing.F) {
	files := ant("1.0.0").Files()
	for range 2 {
		f.Add(files["manifests/ant.clusterserviceversion.yaml"], files["manifests/things.crd.yaml"], files["metadata/annotations.yaml"], []byte("properties: []"))
		spec := ant("1.0.0")
		spec.BetaCRD, spec.MaxOpenShift, spec.Skips = true, "4.8", []string{"a,b"}
		files = spec.Files()
	}
	f.Add([]byte("kind: ClusterServiceVersion\nspec: null"), []byte("kind: CustomResourceDefinition\napiVersion: apiextensions.k8s.io/v1\nspec: 1"), []byte("annotations: null"), []byte("properties: [{}]"))
	f.Fuzz(func(t *testing.T, csv, crd, annotations, properties []byte) {
		dir := writeFiles(t, map[string][]byte{
			"manifests/csv.yaml": csv, "manifests/crd.yaml": crd,
			"metadata/annotations.yaml": annotations, "metadata/properties.yaml": properties,
		})
		b, err := catalog.ReadBundle(dir, antImage)
		if err != nil {
			if sdk.CodeOf(err) != sdk.Invalid {
				t.Errorf("not for the requester: %v", err)
			}
			return
		}
		p, err := catalog.Add(nil, []*catalog.Bundle{b}, catalog.AddOptions{})
		if err == nil && p.Validate() != nil {
			t.Errorf("an invalid package came out: %v", p.Validate())
		}
	})
}
