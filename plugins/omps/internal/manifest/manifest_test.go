package manifest_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/iib-engine/iib/plugins/omps/internal/fault"
	"github.com/iib-engine/iib/plugins/omps/internal/intake"
	"github.com/iib-engine/iib/plugins/omps/internal/manifest"
)

const (
	pkgYAML = `# keep me
packageName: web # and me
channels:
- name: stable
  currentCSV: web.v1.0.0
`
	csvYAML = `apiVersion: operators.coreos.com/v1alpha1
kind: ClusterServiceVersion
metadata:
  name: web.v1.0.0
  annotations: {certified: "false", alm-examples: '[{"a": 1}]'}
spec:
  description: one
  installModes: []
  install:
    strategy: deployment
    spec:
      deployments: []
  customresourcedefinitions:
    owned:
    - name: sites.example.com
      kind: Site
      version: v1
`
	crdYAML = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: sites.example.com
spec:
  group: example.com
  names: {kind: Site, plural: sites}
  versions:
  - {name: v1, served: true, storage: true}
`
)

func flat() intake.Files {
	return intake.Files{"package.yaml": []byte(pkgYAML), "csv.yaml": []byte(csvYAML), "crd.yaml": []byte(crdYAML)}
}

func nested() intake.Files {
	return intake.Files{
		"package.yaml": []byte(pkgYAML), "1.0.0/csv.yaml": []byte(csvYAML), "1.0.0/crd.yml": []byte(crdYAML),
		"1.0.0/art.yaml": []byte("a: 1"), "image-references": []byte("x"), "1.0.0/deep/er.txt": []byte("y"),
	}
}

// faultOf demands a validation fault.
func faultOf(t *testing.T, err error) *fault.Fault {
	t.Helper()
	var f *fault.Fault
	if !errors.As(err, &f) || f.ID != fault.PackageValidation {
		t.Fatalf("got %v, want a validation fault", err)
	}
	return f
}

func TestEachRuleRefuses(t *testing.T) {
	for name, c := range map[string]struct{ file, old, new, want string }{
		"no channels":              {"package.yaml", "channels:\n- name: stable\n  currentCSV: web.v1.0.0\n", "", "no channels"},
		"channels of no list":      {"package.yaml", "channels:\n- name: stable\n  currentCSV: web.v1.0.0\n", "channels: null\n", "no channels"},
		"a channel that is a text": {"package.yaml", "- name: stable\n  currentCSV: web.v1.0.0\n", "- x\n", "not a mapping"},
		"a channel without name":   {"package.yaml", "- name: stable\n  currentCSV", "- currentCSV", "has no name"},
		"no currentCSV":            {"package.yaml", "\n  currentCSV: web.v1.0.0", "", "no currentCSV"},
		"another currentCSV":       {"package.yaml", "currentCSV: web.v1.0.0", "currentCSV: web.v2.0.0", "web.v2.0.0"},
		"another repository":       {"package.yaml", "packageName: web", "packageName: other", "not the repository"},
		"a numeric packageName":    {"package.yaml", "packageName: web", "packageName: 7", "not a text"},
		"no CSV name":              {"csv.yaml", "\n  name: web.v1.0.0", "", "no metadata.name"},
		"no CSV metadata":          {"csv.yaml", "metadata:\n  name: web.v1.0.0\n  annotations: {certified: \"false\", alm-examples: '[{\"a\": 1}]'}\n", "", "no metadata"},
		"no CSV apiVersion":        {"csv.yaml", "apiVersion: operators.coreos.com/v1alpha1\n", "", "no apiVersion"},
		"no spec":                  {"csv.yaml", "spec:\n  description", "other:\n  description", "no spec"},
		"no installModes":          {"csv.yaml", "  installModes: []\n", "", "spec.installModes"},
		"no install":               {"csv.yaml", "  install:\n", "  uninstall:\n", "no spec.install"},
		"another strategy":         {"csv.yaml", "strategy: deployment", "strategy: hope", "not deployment"},
		"no strategy":              {"csv.yaml", "    strategy: deployment\n", "", "spec.install.strategy"},
		"no deployments":           {"csv.yaml", "      deployments: []", "      permissions: []", "deployments"},
		"deployments of no list":   {"csv.yaml", "deployments: []", "deployments: {}", "not a list"},
		"permissions of no list":   {"csv.yaml", "deployments: []", "deployments: []\n      permissions: {}", "permissions is not a list"},
		"cluster permissions":      {"csv.yaml", "deployments: []", "deployments: []\n      clusterPermissions: x", "clusterPermissions is not a list"},
		"certified of no text":     {"csv.yaml", `certified: "false"`, `certified: false`, "certified is not a text"},
		"alm-examples of no JSON":  {"csv.yaml", `[{"a": 1}]`, `[{"a": 1]`, "not valid JSON"},
		"owned without name":       {"csv.yaml", "- name: sites.example.com\n      kind", "- kind", "has no name"},
		"owned without kind":       {"csv.yaml", "      kind: Site\n", "", "has no kind"},
		"owned without version":    {"csv.yaml", "      version: v1\n", "", "has no version"},
		"owned, not there":         {"csv.yaml", "- name: sites.example.com", "- name: pages.example.com", "pages.example.com is not in the bundle"},
		"owned of another kind":    {"csv.yaml", "kind: Site", "kind: Page", "the kind Page"},
		"owned, another version":   {"csv.yaml", "version: v1\n", "version: v2\n", "version v2"},
		"owned of no list":         {"csv.yaml", "owned:\n    - name: sites.example.com\n      kind: Site\n      version: v1\n", "owned: x\n", "not a list"},
		"a CRD of another plural":  {"crd.yaml", "plural: sites", "plural: pages", "called pages.example.com"},
		"a CRD without group":      {"crd.yaml", "  group: example.com\n", "", "no spec.group"},
		"a CRD without names":      {"crd.yaml", "  names: {kind: Site, plural: sites}\n", "", "no spec.names"},
		"a CRD without versions":   {"crd.yaml", "  versions:\n  - {name: v1, served: true, storage: true}\n", "", "neither"},
		"a CRD of no version":      {"crd.yaml", "versions:\n  - {name: v1, served: true, storage: true}\n", "versions: []\n", "empty"},
		"a version without served": {"crd.yaml", "served: true, ", "", "no served"},
		"no stored version":        {"crd.yaml", "storage: true", "storage: false", "exactly one"},
		"another single version":   {"crd.yaml", "  group: example.com", "  group: example.com\n  version: v3", "version v1"},
	} {
		t.Run(name, func(t *testing.T) {
			files := flat()
			changed := strings.Replace(string(files[c.file]), c.old, c.new, 1)
			if changed == string(files[c.file]) {
				t.Fatal("the case changes nothing")
			}
			files[c.file] = []byte(changed)
			o, err := manifest.Read(files)
			if err != nil {
				t.Fatal(err)
			}
			report, err := o.Validate("web")
			f := faultOf(t, err)
			if !strings.Contains(f.Message, "bundle is invalid") || f.Extra["validation_info"] != any(report) {
				t.Errorf("%v with %v", f, f.Extra)
			}
			if all := strings.Join(report.Errors, "\n"); !strings.Contains(all, c.want) {
				t.Errorf("got %s, want %q", all, c.want)
			}
		})
	}
}

func TestWhatHoldsIsTaken(t *testing.T) {
	for name, change := range map[string]func(intake.Files){
		"as it is": func(intake.Files) {},
		"no CRD, nothing owned": func(f intake.Files) {
			delete(f, "crd.yaml")
			i := strings.Index(csvYAML, "  customresourcedefinitions:")
			f["csv.yaml"] = []byte(csvYAML[:i])
		},
		"an empty section": func(f intake.Files) {
			i := strings.Index(csvYAML, "  customresourcedefinitions:")
			f["csv.yaml"] = []byte(csvYAML[:i] + "  customresourcedefinitions: null\n")
		},
		"a broken file that is no YAML": func(f intake.Files) { f["x.txt"] = []byte(":\t[") },
	} {
		t.Run(name, func(t *testing.T) {
			files := flat()
			change(files)
			o, err := manifest.Read(files)
			if err != nil {
				t.Fatal(err)
			}
			report, err := o.Validate("web")
			if err != nil || len(report.Warnings) == 0 {
				t.Errorf("%v: %+v", err, report)
			}
		})
	}
}

func TestLayoutsAreToldApart(t *testing.T) {
	for name, c := range map[string]struct {
		files intake.Files
		want  string
	}{
		"no package":              {intake.Files{"csv.yaml": []byte(csvYAML)}, "does not contain any packages"},
		"two packages":            {intake.Files{"a.yaml": []byte(pkgYAML), "b.yml": []byte(pkgYAML), "csv.yaml": []byte(csvYAML)}, "Only 1 package is expected"},
		"no CSV":                  {intake.Files{"package.yaml": []byte(pkgYAML)}, "no valid CSV file is found in root or manifest directories"},
		"a CSV too deep":          {intake.Files{"package.yaml": []byte(pkgYAML), "a/b/csv.yaml": []byte(csvYAML)}, "no valid CSV"},
		"a file that is no YAML":  {intake.Files{"package.yaml": []byte(pkgYAML), "1/csv.yaml": []byte(csvYAML), "1/bad.yaml": []byte("a: [")}, "Failed to process yaml file /1/bad.yaml"},
		"a file of two documents": {intake.Files{"package.yaml": []byte(pkgYAML), "csv.yaml": []byte(csvYAML), "z.yaml": []byte("a: 1\n---\nb: 1\n")}, "more than one document"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := manifest.Read(c.files)
			f := faultOf(t, err)
			if !strings.Contains(f.Message, c.want) || f.Extra["validation_info"] != any(struct{}{}) {
				t.Errorf("%v with %v, want %q", f, f.Extra, c.want)
			}
		})
	}
}

func TestDocumentsThatGrowAreRefused(t *testing.T) {
	many := []byte("a: [" + strings.Repeat(",", 3_000_000) + "]")
	half := []byte("a: [" + strings.Repeat("x,", 1_100_000) + "]")
	laughs := "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
	for i := range 9 {
		one := fmt.Sprintf("*a%d", i)
		laughs += fmt.Sprintf("a%d: &a%d [%s]\n", i+1, i+1, strings.Repeat(one+",", 9)+one)
	}
	for name, files := range map[string]intake.Files{
		"many entries":                  {"a.yaml": many},
		"many entries in several files": {"a.yaml": half, "b/b.yaml": half},
		"aliases of aliases":            {"a.yaml": []byte(laughs)},
		"an anchor within itself":       {"a.yaml": []byte("a: &a [*a]")},
		"deep":                          {"a.yaml": []byte(strings.Repeat("[", 100_000))},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := manifest.Read(files)
			faultOf(t, err)
		})
	}
}

func TestThePackageIsFoundInOrder(t *testing.T) {
	for name, c := range map[string]struct {
		files intake.Files
		want  string
	}{
		"a bad file before":    {intake.Files{"a.yaml": []byte("["), "b.yaml": []byte(pkgYAML)}, "/a.yaml"},
		"an empty file before": {intake.Files{"a.yaml": nil, "b.yaml": []byte(pkgYAML)}, "/a.yaml"},
		"a bad file behind":    {intake.Files{"c.yaml": []byte("["), "b.yaml": []byte(pkgYAML)}, ""},
		"a list before":        {intake.Files{"a.yaml": []byte("- x"), "b.yaml": []byte(pkgYAML)}, ""},
		"in a directory only":  {intake.Files{"a/b.yaml": []byte(pkgYAML)}, "Could not find packageName"},
		"upper-case":           {intake.Files{"b.YAML": []byte(pkgYAML)}, "Could not find packageName"},
		"no file":              {intake.Files{}, "Could not find packageName"},
	} {
		t.Run(name, func(t *testing.T) {
			got, file, err := manifest.PackageName(c.files)
			if c.want != "" {
				if f := faultOf(t, err); !strings.Contains(f.Message, c.want) {
					t.Error(f)
				}
			} else if err != nil || got != "web" || file != "b.yaml" {
				t.Errorf("%q in %q: %v", got, file, err)
			}
		})
	}
}

func TestOrganizationsRewrite(t *testing.T) {
	literal, err := manifest.NewReplacement("quay.io", "mirror", false)
	if err != nil {
		t.Fatal(err)
	}
	pattern, err := manifest.NewReplacement(`^(  image: )(?P<host>[a-z]+)/`, `\1other.\g<host>/$x/`, true)
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("word ", 100)
	rules := manifest.Rules{
		Suffix: "-cmp", Replacements: []manifest.Replacement{literal, pattern},
		Annotations: []manifest.Annotation{{Name: "for", Value: "{package_name}: yes"}, {Name: "certified", Value: "true"}},
	}
	files := intake.Files{
		"package.yaml": []byte(pkgYAML),
		"1/CSV.YAML":   []byte("kind: ClusterServiceVersion # a note\nmetadata:\n  annotations: null\nspec:\n  image: quay.io/ns/x\n  text: " + long + "end\n"),
		"1/other.txt":  []byte("quay.io"),
	}
	name, err := rules.Rename(files, "web", "package.yaml")
	if err != nil || name != "web-cmp" {
		t.Fatalf("%q, %v", name, err)
	}
	if again, err := rules.Rename(files, name, "package.yaml"); err != nil || again != name {
		t.Fatalf("a second time: %q, %v", again, err)
	}
	if err := rules.Apply(files, name); err != nil {
		t.Fatal(err)
	}
	want := intake.Files{
		"package.yaml": []byte(strings.Replace(pkgYAML, "packageName: web ", "packageName: web-cmp ", 1)),
		"1/CSV.YAML":   []byte("kind: ClusterServiceVersion # a note\nmetadata:\n  annotations:\n    for: 'web-cmp: yes'\n    certified: \"true\"\nspec:\n  image: other.mirror/$x/ns/x\n  text: " + long + "end\n"),
		"1/other.txt":  []byte("quay.io"),
	}
	if diff := cmp.Diff(want, files); diff != "" {
		t.Errorf("%s\n%s", diff, files["1/CSV.YAML"])
	}
	if _, err := manifest.NewReplacement("(", "", true); err == nil {
		t.Error("a bad expression is taken")
	}
	if _, err := manifest.NewReplacement("a", `\q`, true); err == nil {
		t.Error("a bad reference is taken")
	}
}

func untar(t *testing.T, data []byte) map[string]string {
	t.Helper()
	compressed, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]string)
	for r := tar.NewReader(compressed); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Typeflag == tar.TypeReg {
			content, _ := io.ReadAll(r)
			files[header.Name] = string(content)
		}
	}
}

func pack(t *testing.T, files intake.Files) []byte {
	t.Helper()
	o, err := manifest.Read(files)
	if err != nil {
		t.Fatal(err)
	}
	blob, err := o.Pack("web", "1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	return blob
}

func TestArchivesHaveTheirForm(t *testing.T) {
	blob := pack(t, nested())
	want := map[string]string{
		"web-1.0.0/package.yaml": pkgYAML, "web-1.0.0/1.0.0/csv.yaml": csvYAML, "web-1.0.0/1.0.0/crd.yml": crdYAML, "web-1.0.0/1.0.0/deep/er.txt": "y",
	}
	if diff := cmp.Diff(want, untar(t, blob)); diff != "" {
		t.Error(diff)
	}
	if !bytes.Equal(blob, pack(t, nested())) {
		t.Error("equal files make different archives")
	}
	one := untar(t, pack(t, flat()))
	var bundle struct {
		Data map[string]string `yaml:"data"`
	}
	if err := yaml.Unmarshal([]byte(one["web-1.0.0/bundle.yaml"]), &bundle); err != nil || len(one) != 1 || len(bundle.Data) != 3 {
		t.Fatalf("%v: %v", err, one)
	}
	for name, source := range map[string]string{"clusterServiceVersions": csvYAML, "customResourceDefinitions": crdYAML, "packages": pkgYAML} {
		var list []any
		var single any
		if err := yaml.Unmarshal([]byte(bundle.Data[name]), &list); err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal([]byte(source), &single); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]any{single}, list); diff != "" {
			t.Error(name, diff)
		}
	}
	if strings.Contains(bundle.Data["packages"], "keep me") {
		t.Error("comments are kept")
	}
	files := flat()
	delete(files, "crd.yaml")
	if got := untar(t, pack(t, files))["web-1.0.0/bundle.yaml"]; !strings.Contains(got, `customResourceDefinitions: ""`) {
		t.Error(got)
	}
}

func TestReleases(t *testing.T) {
	for text, want := range map[string]bool{
		"0.0.0": true, "1.2.3": true, "10.20.30": true, "1.2": false, "1.2.3.4": false, "01.2.3": false, "v1.0.0": false, "1.0.0-1": false,
		"1.1.1a0": false, "+1.0.0": false, "-1.0.0": false, "1.0.0\n": false, "": false,
	} {
		if got := manifest.IsRelease(text); got != want {
			t.Errorf("IsRelease(%q) is %v", text, got)
		}
	}
	for _, c := range []struct {
		releases []string
		want     string
	}{
		{nil, "1.0.0"}, {[]string{"1.0.1-random"}, "1.0.0"}, {[]string{"2.5.1"}, "3.0.0"}, {[]string{"9.0.0", "10.0.0"}, "11.0.0"}, {[]string{"4.0.1", "1.0.0-x"}, "5.0.0"},
		{[]string{"99999999999999999999.0.0"}, "100000000000000000000.0.0"},
	} {
		if got := manifest.Next(c.releases, "1.0.0"); got != c.want {
			t.Errorf("after %v comes %s, want %s", c.releases, got, c.want)
		}
	}
}

// FuzzManifests demands that whatever is taken as an operator can be packed,
// twice alike, and that nothing panics on the way.
func FuzzManifests(f *testing.F) {
	f.Add([]byte(pkgYAML), []byte(csvYAML), []byte(crdYAML))
	f.Add([]byte("packageName: &a web\nchannels: [*a]\n"), []byte(csvYAML+"more: &x [1]\nother: *x\n"), []byte("- a"))
	f.Add([]byte("packageName: web\nchannels: {a: b}"), []byte("kind: ClusterServiceVersion\nmetadata: []\nspec: x"), []byte("kind: CustomResourceDefinition\nspec: {versions: [1, {}]}"))
	f.Add([]byte("a: &a [x, x]\nb: &b [*a, *a]\npackageName: web"), []byte("kind: ClusterServiceVersion\nmetadata: {annotations: x}"), []byte("\xff\xfe"))
	rules := manifest.Rules{Suffix: "-s", Annotations: []manifest.Annotation{{Name: "a", Value: "{package_name}"}}}
	f.Fuzz(func(t *testing.T, pkg, csv, crd []byte) {
		files := intake.Files{"package.yaml": pkg, "csv.yaml": csv, "crd.yaml": crd}
		name, file, err := manifest.PackageName(files)
		if err != nil {
			return
		}
		if name, err = rules.Rename(files, name, file); err != nil {
			return
		}
		if rules.Apply(files, name) != nil {
			return
		}
		o, err := manifest.Read(files)
		if err != nil {
			return
		}
		if _, err := o.Validate(name); err != nil {
			return
		}
		one, err := o.Pack("r", "1.0.0")
		if err != nil {
			return
		}
		if two, err := o.Pack("r", "1.0.0"); err != nil || !bytes.Equal(one, two) {
			t.Errorf("a second time: %v", err)
		}
	})
}
