package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/bundle"
	"github.com/iib-engine/iib/sdk/bundle/bundletest"
	"github.com/iib-engine/iib/sdk/sdktest"
)

const (
	csvFile         = "manifests/amqstreams.clusterserviceversion.yaml"
	annotationsFile = "metadata/annotations.yaml"
)

// world is a registry and the plugin over the wire.
type world struct {
	t        testing.TB
	registry string
	images   *bundletest.Registry
	plugin   *sdktest.Plugin
	recorder *sdktest.Recorder
}

func newWorld(t testing.TB) *world {
	t.Helper()
	images := bundletest.New(t)
	return &world{
		t: t, registry: images.Host, images: images, plugin: sdktest.Serve(t, plugin(), nil),
		recorder: &sdktest.Recorder{OnAccess: bundletest.Access},
	}
}

// push stores an image with labels and returns its pull spec and its digest.
func (w *world) push(repository string, labels map[string]string) (spec, digest string) {
	w.t.Helper()
	spec, pinned := w.images.Push(repository, map[string]string{"name": repository}, labels)
	_, digest, _ = strings.Cut(pinned, "@")
	return spec, digest
}

func csvWith(images ...string) string {
	var b strings.Builder
	b.WriteString("kind: ClusterServiceVersion # kept\nmetadata:\n  name: amqstreams.v1\n  annotations:\n    alm-examples: '[{}]'\nspec:\n  relatedImages:\n")
	for i, image := range images {
		fmt.Fprintf(&b, "  - name: image-%d\n    image: %s\n", i, image)
	}
	return b.String()
}

func (w *world) bundle(images ...string) *sdk.Bundle {
	b := sdktest.Bundle(w.t, map[string]string{
		csvFile:         csvWith(images...),
		annotationsFile: "annotations:\n  " + bundle.LabelPackage + ": amqstreams\n",
	}, w.recorder)
	b.Package, b.Organization = "amqstreams", "acme"
	return b
}

// step is a customize block.
type step struct {
	name     string
	settings sdk.Customizer
}

func (w *world) run(b *sdk.Bundle, steps ...step) error {
	w.t.Helper()
	for _, s := range steps {
		if err := w.plugin.Customizer(s.name, s.settings).Customize(w.t.Context(), b); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) wantFile(b *sdk.Bundle, file, want string) {
	w.t.Helper()
	got, err := os.ReadFile(filepath.Join(b.Dir, file))
	if err != nil {
		w.t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		w.t.Error(diff)
	}
}

// Handlers, section 6.3, resolve_image_pullspecs.
func TestPinningReplacesTagsAndMarksTheImage(t *testing.T) {
	w := newWorld(t)
	spec, digest := w.push("operator/image:v1", nil)
	b := w.bundle(spec)
	if err := w.run(b, step{name: "resolve_image_pullspecs"}); err != nil {
		t.Fatal(err)
	}
	w.wantFile(b, csvFile, csvWith(w.registry+"/operator/image@"+digest))
	if diff := cmp.Diff(map[string]string{bundle.LabelPinned: "true"}, b.Labels); diff != "" {
		t.Error(diff)
	}

	t.Run("nothing to replace sets no label", func(t *testing.T) {
		b := w.bundle(w.registry + "/operator/image@" + digest)
		if err := w.run(b, step{name: "resolve_image_pullspecs"}); err != nil {
			t.Fatal(err)
		}
		if len(b.Labels) > 0 {
			t.Errorf("labels %v", b.Labels)
		}
	})
	t.Run("digests must exist", func(t *testing.T) {
		missing := w.registry + "/operator/image@sha256:" + strings.Repeat("0", 64)
		err := w.run(w.bundle(missing), step{name: "resolve_image_pullspecs"})
		if sdk.CodeOf(err) != sdk.NotFound || !strings.Contains(err.Error(), missing) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("a pinned bundle is not looked at", func(t *testing.T) {
		b := w.bundle(w.registry + "/gone/image:v1")
		b.Pinned = true
		if err := w.run(b, step{name: "resolve_image_pullspecs"}); err != nil {
			t.Fatal(err)
		}
		w.wantFile(b, csvFile, csvWith(w.registry+"/gone/image:v1"))
	})
	t.Run("all that are missing are named", func(t *testing.T) {
		err := w.run(w.bundle(w.registry+"/gone/a:1", spec, w.registry+"/gone/b:1"), step{name: "resolve_image_pullspecs"})
		if sdk.CodeOf(err) != sdk.NotFound || !strings.Contains(err.Error(), "/gone/a:1") || !strings.Contains(err.Error(), "/gone/b:1") {
			t.Errorf("error %v", err)
		}
	})
}

// However many steps ask, a registry is asked each question once.
func TestEachImageIsAskedForOnce(t *testing.T) {
	w := newWorld(t)
	var images []string
	for i := range 10 {
		spec, _ := w.push(fmt.Sprintf("operator/image-%d:v1", i), map[string]string{"name": "a/b", "version": "1"})
		images = append(images, spec, spec)
	}
	asked := w.counted(images)
	err := w.run(w.bundle(asked.specs...),
		step{name: "resolve_image_pullspecs"},
		step{name: "related_bundles"},
		step{"image_name_from_labels", &imageNameFromLabels{Template: "{name}-{version}"}},
	)
	if err != nil {
		t.Fatal(err)
	}
	// The tag is resolved, and what it stands for is read.
	if len(asked.manifests) != 2*10 {
		t.Errorf("asked %d questions: %v", len(asked.manifests), asked.manifests)
	}
	for path, times := range asked.manifests {
		if times != 1 {
			t.Errorf("%s was asked for %d times", path, times)
		}
	}
}

// counter is the registry behind an address that counts what is asked for.
type counter struct {
	specs     []string
	mu        sync.Mutex
	manifests map[string]int
}

// counted returns the pull specs as the counter has them.
func (w *world) counted(specs []string) *counter {
	w.t.Helper()
	c := &counter{manifests: make(map[string]int)}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: w.registry})
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/manifests/") {
			c.mu.Lock()
			c.manifests[r.Method+" "+r.URL.Path]++
			c.mu.Unlock()
		}
		proxy.ServeHTTP(rw, r)
	}))
	w.t.Cleanup(server.Close)
	for _, spec := range specs {
		c.specs = append(c.specs, strings.Replace(spec, w.registry, strings.TrimPrefix(server.URL, "http://"), 1))
	}
	return c
}

// Handlers, section 6.3, related_bundles; 6.5.
func TestRelatedBundlesAreStored(t *testing.T) {
	w := newWorld(t)
	plain, _ := w.push("operator/image:v1", nil)
	related, _ := w.push("operator/bundle:v1", map[string]string{bundle.LabelBundle: "true"})
	other, _ := w.push("operator/other:v1", map[string]string{bundle.LabelBundle: "false"})
	if err := w.run(w.bundle(plain, related, other), step{name: "related_bundles"}); err != nil {
		t.Fatal(err)
	}
	if got, want := string(w.recorder.Record().Artifacts["related_bundles"]), fmt.Sprintf("[%q]", related); got != want {
		t.Errorf("stored %s, want %s", got, want)
	}
	if err := w.run(w.bundle(plain), step{name: "related_bundles"}); err != nil {
		t.Fatal(err)
	}
	if got := string(w.recorder.Record().Artifacts["related_bundles"]); got != "[]" {
		t.Errorf("stored %s, want an empty list", got)
	}
	odd, _ := w.push("operator/odd:v1", map[string]string{bundle.LabelBundle: "yes"})
	err := w.run(w.bundle(odd), step{name: "related_bundles"})
	if sdk.CodeOf(err) != sdk.Invalid || !strings.Contains(err.Error(), odd) || !strings.Contains(err.Error(), "must be true or false") {
		t.Errorf("error %v", err)
	}
}

// Handlers, section 6.3, perform_bundle_replacements.
func TestBundleReplacementsOfTheRequestAreMade(t *testing.T) {
	w := newWorld(t)
	plain, _ := w.push("operator/image:v1", nil)
	related, _ := w.push("operator/bundle:v1", map[string]string{bundle.LabelBundle: "true"})
	b := w.bundle(plain, related)
	b.Replacements = map[string]string{plain: "r.io/a/b:1", related: "r.io/c/d:2"}
	if err := w.run(b, step{name: "perform_bundle_replacements"}); err != nil {
		t.Fatal(err)
	}
	w.wantFile(b, csvFile, csvWith(plain, "r.io/c/d:2"))
}

// The registry in the middle is there to be asked for labels: steps run in the
// order of the blocks, and one type may run twice.
//
// Handlers, section 6.1, order; 6.4.
func TestStepsWorkOnWhatTheOnesBeforeLeft(t *testing.T) {
	w := newWorld(t)
	spec, digest := w.push("operator/image:v1", map[string]string{"name": "namespace/reponame", "version": "rhel-8"})
	published := strings.Replace(spec, w.registry, "quay.io", 1)
	b := w.bundle(published)
	err := w.run(b,
		step{"registry_replacements", &registryReplacements{Replacements: map[string]string{"quay.io": w.registry}}},
		step{name: "resolve_image_pullspecs"},
		step{"image_name_from_labels", &imageNameFromLabels{Template: "{name}-{version}-final"}},
		step{"enclose_repo", &encloseRepo{Namespace: "company-pending", EnclosureGlue: "----"}},
		step{"registry_replacements", &registryReplacements{Replacements: map[string]string{w.registry: "registry.marketplace.company.com/cm"}}},
		step{"csv_annotations", &csvAnnotations{Annotations: map[string]string{"first": "https://c.com/{package_name}"}}},
		step{"package_name_suffix", &packageNameSuffix{Suffix: "-cmp"}},
		step{"package_name_suffix", &packageNameSuffix{Suffix: "-cmp"}},
		step{"csv_annotations", &csvAnnotations{Annotations: map[string]string{"second": "https://c.com/{package_name}"}}},
	)
	if err != nil {
		t.Fatal(err)
	}
	want := csvWith("registry.marketplace.company.com/cm/company-pending/namespace----reponame-rhel-8-final@" + digest)
	want = strings.Replace(want, "spec:\n", "    first: \"https://c.com/amqstreams\"\n    second: \"https://c.com/amqstreams-cmp\"\nspec:\n", 1)
	w.wantFile(b, csvFile, strings.ReplaceAll(want, `"`, ""))
	w.wantFile(b, annotationsFile, "annotations:\n  "+bundle.LabelPackage+": amqstreams-cmp\n")
	if b.Package != "amqstreams-cmp" {
		t.Errorf("package %s", b.Package)
	}
	if diff := cmp.Diff(map[string]string{bundle.LabelPinned: "true", bundle.LabelPackage: "amqstreams-cmp"}, b.Labels); diff != "" {
		t.Error(diff)
	}
}

// Handlers, section 6.3, csv_annotations.
func TestAnnotationsNeedAnOrganization(t *testing.T) {
	w := newWorld(t)
	b := w.bundle("r.io/a/b:1")
	b.Organization = ""
	if err := w.run(b, step{"csv_annotations", &csvAnnotations{Annotations: map[string]string{"a": "b"}}}); err != nil {
		t.Fatal(err)
	}
	w.wantFile(b, csvFile, csvWith("r.io/a/b:1"))
}

func TestMistakesInSettingsAreBlamedOnTheSetting(t *testing.T) {
	for name, test := range map[string]struct {
		settings sdk.Validator
		field    string
		want     string
	}{
		"a registry with a path": {
			&registryReplacements{Replacements: map[string]string{"quay.io/ns": "r.io"}}, "replacements",
			`replacements: "quay.io/ns" is no registry; write its host alone, such as quay.io or registry.example.com:5000`,
		},
		"a registry that is a word": {
			&registryReplacements{Replacements: map[string]string{"quay": "r.io"}}, "replacements",
			`replacements: "quay" is no registry; write its host alone, such as quay.io or registry.example.com:5000`,
		},
		"a replacement with a scheme": {
			&registryReplacements{Replacements: map[string]string{"quay.io": "https://r.io"}}, "replacements",
			`replacements: "https://r.io", for quay.io, is no registry; write its host, and a path if there is one`,
		},
		"an empty template": {
			&imageNameFromLabels{}, "template",
			"template is empty; write the name with labels in braces, such as {name}-{version}",
		},
		"an open brace": {
			&imageNameFromLabels{Template: "{name"}, "template",
			`template: the template "{name" has a { that no name and } follow; write {{ for the brace itself`,
		},
		"a namespace in capitals": {
			&encloseRepo{Namespace: "Company", EnclosureGlue: "-"}, "namespace",
			`namespace: "Company" cannot be part of an image's name; use lower-case letters, digits and single separators`,
		},
		"glue that does not stick": {
			&encloseRepo{Namespace: "company", EnclosureGlue: "..."}, "enclosure_glue",
			`enclosure_glue: "..." cannot join two names; use hyphens, one dot, or one or two underscores`,
		},
		"a suffix with a slash": {
			&packageNameSuffix{Suffix: "/cmp"}, "suffix",
			`suffix: "/cmp" cannot end a package's name; use lower-case letters, digits, dots and hyphens, and end in a letter or digit`,
		},
		"an unknown field": {
			&csvAnnotations{Annotations: map[string]string{"a": "{name}"}}, "annotations",
			"annotations: {name} in a stands for nothing; only {package_name} does",
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := test.settings.Validate()
			fault, ok := err.(*sdk.Error)
			if !ok || fault.Code != sdk.Invalid || fault.Field != test.field {
				t.Fatalf("error %#v", err)
			}
			if diff := cmp.Diff(test.want, fault.Message); diff != "" {
				t.Error(diff)
			}
		})
	}
	for _, good := range []sdk.Validator{
		&registryReplacements{Replacements: map[string]string{"quay.io": "r.io:5000/a/b", "localhost:5000": "docker.io"}},
		&imageNameFromLabels{Template: "{name}-{version}"},
		&encloseRepo{Namespace: "company-pending", EnclosureGlue: "----"},
		&packageNameSuffix{Suffix: "-cmp"},
		&csvAnnotations{Annotations: map[string]string{"a": "{{{package_name}}}"}},
	} {
		if err := good.Validate(); err != nil {
			t.Errorf("%+v: %v", good, err)
		}
	}
}

// BenchmarkOrganization is what a bundle with a CSV of 150 KB and 30 images
// goes through for an organization with every step, warm: the images were
// asked for before.
func BenchmarkOrganization(b *testing.B) {
	w := newWorld(b)
	var images []string
	for i := range 30 {
		spec, _ := w.push(fmt.Sprintf("operator/image-%d:v1", i), map[string]string{"name": fmt.Sprintf("ns/repo-%d", i), "version": "1"})
		images = append(images, spec)
	}
	steps := []step{
		{name: "resolve_image_pullspecs"},
		{name: "related_bundles"},
		{name: "perform_bundle_replacements"},
		{"image_name_from_labels", &imageNameFromLabels{Template: "{name}-{version}"}},
		{"enclose_repo", &encloseRepo{Namespace: "company", EnclosureGlue: "----"}},
		{"registry_replacements", &registryReplacements{Replacements: map[string]string{w.registry: "registry.company.com"}}},
		{"package_name_suffix", &packageNameSuffix{Suffix: "-cmp"}},
		{"csv_annotations", &csvAnnotations{Annotations: map[string]string{"a": "{package_name}"}}},
	}
	padding := "  description: |\n" + strings.Repeat("    an operator is described at length, with lists and images\n", 2300)
	for b.Loop() {
		b.StopTimer()
		unpacked := w.bundle(images...)
		path := filepath.Join(unpacked.Dir, csvFile)
		if err := os.WriteFile(path, []byte(csvWith(images...)+padding), 0o644); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if err := w.run(unpacked, steps...); err != nil {
			b.Fatal(err)
		}
	}
}
