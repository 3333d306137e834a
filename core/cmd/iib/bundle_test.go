package main

import (
	"archive/tar"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/sdk/image"
	"github.com/iib-engine/iib/sdk/image/imagetest"
)

const (
	isBundleLabel = "com.redhat.delivery.operator.bundle"
	pinnedLabel   = "com.redhat.iib.pinned"
	packageLabel  = "operators.operatorframework.io.bundle.package.v1"
)

// bundleFiles are those of a bundle whose operator runs the images.
func bundleFiles(images ...string) map[string][]byte {
	csv := "kind: ClusterServiceVersion # kept\nmetadata:\n  name: etcd.v1\n  annotations: {alm-examples: '[{}]'}\nspec:\n  relatedImages:\n"
	for i, spec := range images {
		csv += fmt.Sprintf("  - {name: image-%d, image: \"%s\"}\n", i, spec)
	}
	return map[string][]byte{
		"manifests/etcd.clusterserviceversion.yaml": []byte(csv),
		"manifests/etcd.crd.yaml":                   []byte("kind: CustomResourceDefinition\n"),
		"metadata/annotations.yaml":                 []byte("annotations:\n  " + packageLabel + ": etcd\n"),
	}
}

// bundle pushes a bundle image for four architectures.
func (r *releases) bundle(name string, images ...string) string {
	r.t.Helper()
	return r.push(name, imagetest.Image{
		Arches: imagetest.Arches, Files: bundleFiles(images...), Labels: map[string]string{isBundleLabel: "true"},
	})
}

// pinned returns a pull spec by digest.
func (r *releases) pinned(spec string) string {
	r.t.Helper()
	m, err := r.pusher.Client.Resolve(context.Background(), spec)
	if err != nil {
		r.t.Fatal(err)
	}
	return m.Pinned()
}

// run posts a request, waits for its end, and demands a state.
func (r *releases) run(requestType, state string, body map[string]any) map[string]any {
	r.t.Helper()
	status, answer := r.post("/api/v1/builds/"+requestType, body)
	if status != http.StatusCreated {
		r.t.Fatalf("%s: %d %v", requestType, status, answer)
	}
	build := r.wait(answer["id"])
	if build["state"] != state {
		_, log := r.get(fmt.Sprintf("/api/v1/builds/%v/logs", build["id"]))
		r.t.Fatalf("%s: %s: %v\n%s", requestType, build["state"], build["state_reason"], log)
	}
	return build
}

// list fetches an artifact.
func (r *releases) list(build map[string]any, path string) []string {
	r.t.Helper()
	status, data := r.get(fmt.Sprintf("/api/v1/builds/%v/%s", build["id"], path))
	var specs []string
	if err := json.Unmarshal(data, &specs); status != http.StatusOK || err != nil {
		r.t.Fatalf("%s: %d %s", path, status, data)
	}
	return specs
}

// inspect reads an image for an architecture.
func (r *releases) inspect(spec, arch string) *image.Info {
	r.t.Helper()
	info, err := r.pusher.Client.Inspect(context.Background(), spec, arch)
	if err != nil {
		r.t.Fatal(err)
	}
	return info
}

// topLayer returns the files of an image's last layer.
func (r *releases) topLayer(info *image.Info) map[string]string {
	r.t.Helper()
	files := make(map[string]string)
	err := r.pusher.Client.WalkLayer(context.Background(), info, info.Layers[len(info.Layers)-1], func(h *tar.Header, content io.Reader) error {
		data, err := io.ReadAll(content)
		files[h.Name] = string(data)
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return files
}

const companyOrganization = `
plugin "annotate-customizer" {
  kind = "customizer"
  path = %q
}
organization "company" {
  customize "resolve_image_pullspecs" {}
  customize "annotate" { labels = { vendor = "company" } }
  customize "related_bundles" {}
  customize "package_name_suffix" { suffix = "-cmp" }
  customize "csv_annotations" { annotations = { workflow = "https://company.com/{package_name}" } }
}
`

func TestRegenerateBundleForAnOrganization(t *testing.T) {
	r := newReleases(t, startServer(t, fmt.Sprintf(companyOrganization, buildExample(t, "annotate-customizer"))))
	operand := r.push("operand:v1", imagetest.Image{})
	related := r.bundle("related:v1", operand)
	spec := r.bundle("etcd:v1", operand, related)
	build := r.run("regenerate-bundle", "complete", map[string]any{"from_bundle_image": spec, "organization": "company"})

	if diff := cmp.Diff([]string{r.pinned(related)}, r.list(build, "related_bundles")); diff != "" {
		t.Error(diff)
	}
	result := build["bundle_image"].(string)
	if build["from_bundle_image_resolved"] != r.pinned(spec) || !strings.Contains(result, "/iib-build:") ||
		fmt.Sprint(build["arches"]) != "[amd64 arm64 ppc64le s390x]" {
		t.Errorf("build %v", build)
	}
	wantCSV := strings.NewReplacer(operand, r.pinned(operand), related, r.pinned(related),
		"'[{}]'}", `'[{}]', "workflow": https://company.com/etcd-cmp}`).
		Replace(string(bundleFiles(operand, related)["manifests/etcd.clusterserviceversion.yaml"]))
	want := map[string]string{
		"manifests/etcd.clusterserviceversion.yaml": wantCSV,
		"metadata/annotations.yaml":                 "annotations:\n  " + packageLabel + ": etcd-cmp\n",
	}
	var layers []image.Layer
	for _, arch := range imagetest.Arches {
		before, after := r.inspect(spec, arch), r.inspect(result, arch)
		if len(after.Layers) != len(before.Layers)+1 || !cmp.Equal(before.Layers, after.Layers[:len(before.Layers)]) {
			t.Errorf("%s: the layers %v became %v", arch, before.Layers, after.Layers)
		}
		layers = append(layers, after.Layers[len(after.Layers)-1])
		if layers[0] != layers[len(layers)-1] {
			t.Errorf("%s has a layer of its own", arch)
		}
		wantLabels := maps.Clone(before.Labels)
		maps.Copy(wantLabels, map[string]string{pinnedLabel: "true", packageLabel: "etcd-cmp", "vendor": "company"})
		if diff := cmp.Diff(wantLabels, after.Labels); diff != "" {
			t.Errorf("%s: %s", arch, diff)
		}
		if !after.Created.Equal(before.Created) || after.Arch != arch {
			t.Errorf("%s: created %s for %s", arch, after.Created, after.Arch)
		}
	}
	if diff := cmp.Diff(want, r.topLayer(r.inspect(result, "arm64"))); diff != "" {
		t.Error(diff)
	}

	t.Run("again, the same image comes out", func(t *testing.T) {
		again := r.run("regenerate-bundle", "complete", map[string]any{"from_bundle_image": spec, "organization": "company"})
		if a, b := r.pinned(result), r.pinned(again["bundle_image"].(string)); a[strings.Index(a, "@"):] != b[strings.Index(b, "@"):] {
			t.Errorf("%s and then %s", a, b)
		}
	})
	t.Run("regenerated again, nothing changes", func(t *testing.T) {
		again := r.run("regenerate-bundle", "complete", map[string]any{"from_bundle_image": result, "organization": "company"})
		before, after := r.inspect(result, "s390x"), r.inspect(again["bundle_image"].(string), "s390x")
		if !cmp.Equal(before.Layers, after.Layers) {
			t.Errorf("the layers %v became %v", before.Layers, after.Layers)
		}
	})
}

func TestRegenerateBundleByDefault(t *testing.T) {
	r := newReleases(t, startServer(t, ""))
	operand := r.push("operand:v1", imagetest.Image{})
	related := r.bundle("related:v1", operand)
	spec := r.bundle("etcd:v1", operand, related)
	build := r.run("regenerate-bundle", "complete", map[string]any{
		"from_bundle_image": spec, "organization": "unknown",
		"bundle_replacements": map[string]string{r.pinned(related): "q.io/other/bundle:v2", r.pinned(operand): "q.io/no/bundle:v2"},
	})
	info := r.inspect(build["bundle_image"].(string), "amd64")
	csv := r.topLayer(info)["manifests/etcd.clusterserviceversion.yaml"]
	want := string(bundleFiles(r.pinned(operand), "q.io/other/bundle:v2")["manifests/etcd.clusterserviceversion.yaml"])
	if diff := cmp.Diff(want, csv); diff != "" {
		t.Error(diff)
	}
	if info.Labels[pinnedLabel] != "true" || info.Labels[packageLabel] != "" {
		t.Errorf("labels %v", info.Labels)
	}

	t.Run("what cannot be pinned fails with all names", func(t *testing.T) {
		gone := []string{r.registry() + "/release/gone:v1", r.registry() + "/release/lost:v1"}
		build := r.run("regenerate-bundle", "failed", map[string]any{"from_bundle_image": r.bundle("bad:v1", gone...)})
		reason := build["state_reason"].(string)
		if !strings.Contains(reason, gone[0]) || !strings.Contains(reason, gone[1]) || build["bundle_image"] != nil {
			t.Errorf("reason %s, image %v", reason, build["bundle_image"])
		}
	})
	t.Run("a batch is all or nothing", func(t *testing.T) {
		status, data := r.postBatch(map[string]any{"build_requests": []any{
			map[string]any{"from_bundle_image": spec}, map[string]any{"from_bundle_image": "no-tag"},
		}})
		if status != http.StatusBadRequest || !strings.Contains(string(data), "1") || !strings.Contains(string(data), "from_bundle_image") {
			t.Errorf("%d %s", status, data)
		}
		status, data = r.postBatch(map[string]any{
			"annotations":    map[string]any{"a": 1},
			"build_requests": []any{map[string]any{"from_bundle_image": spec}, map[string]any{"from_bundle_image": related}},
		})
		builds := decodeBuilds(t, status, data)
		if builds[0]["batch"] != builds[1]["batch"] || fmt.Sprint(builds[1]["batch_annotations"]) != "map[a:1]" {
			t.Errorf("builds %v", builds)
		}
		for _, b := range builds {
			if done := r.wait(b["id"]); done["state"] != "complete" {
				t.Errorf("%v: %v", done["state"], done["state_reason"])
			}
		}
	})
}

func (r *releases) postBatch(body map[string]any) (int, []byte) {
	r.t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		r.t.Fatal(err)
	}
	status, _, answer := r.do(http.MethodPost, "/api/v1/builds/regenerate-bundle-batch", string(data), nil)
	return status, answer
}

// decodeBuilds reads the answer to a batch.
func decodeBuilds(t *testing.T, status int, data []byte) []map[string]any {
	t.Helper()
	var builds []map[string]any
	if err := json.Unmarshal(data, &builds); status != http.StatusCreated || err != nil || len(builds) == 0 {
		t.Fatalf("%d %s", status, data)
	}
	return builds
}

func TestNestedBundles(t *testing.T) {
	r := newReleases(t, startServer(t, ""))
	operand := r.push("operand:v1", imagetest.Image{})
	d := r.bundle("d:v1", operand)
	c := r.bundle("c:v1", d)
	b := r.bundle("b:v1", operand, d)
	a := r.bundle("a:v1", c, b)
	build := r.run("recursive-related-bundles", "complete", map[string]any{"parent_bundle_image": a})
	if diff := cmp.Diff([]string{d, b, c, r.pinned(a)}, r.list(build, "nested-bundles")); diff != "" {
		t.Error(diff)
	}
	// The default steps before the list pin what a bundle names.
	build = r.run("recursive-related-bundles", "complete", map[string]any{"parent_bundle_image": a, "organization": "unknown"})
	if diff := cmp.Diff([]string{r.pinned(d), r.pinned(b), r.pinned(c), r.pinned(a)}, r.list(build, "nested-bundles")); diff != "" {
		t.Error(diff)
	}
	circle := r.registry() + "/release/circle:v1"
	r.bundle("circle:v1", circle)
	build = r.run("recursive-related-bundles", "failed", map[string]any{"parent_bundle_image": circle})
	if reason := build["state_reason"].(string); !strings.Contains(reason, " relates to "+circle) {
		t.Errorf("reason %s", reason)
	}
}

func TestValidateBlamesTheLineOfACustomization(t *testing.T) {
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	shipped, err := os.ReadFile("../../../iib.hcl")
	if err != nil {
		t.Fatal(err)
	}
	for block, want := range map[string]string{
		`customize "package_name_suffix" { suffix = "/cmp" }`:                                   `"/cmp" cannot end a package's name`,
		`customize "image_name_from_labels" { template = "{name" }`:                             `has a { that no name and } follow`,
		`customize "registry_replacements" { replacements = { "quay" = "r.io" } }`:              `"quay" is no registry`,
		`customize "csv_annotations" { annotations = { a = "{name}" } }`:                        `{name} in a stands for nothing`,
		`customize "enclose_repo" { namespace = "a" }`:                                          `enclosure_glue`,
		`customize "resolve_image_pullspecs" { everything = true }`:                             `everything`,
		`customize "registry_replacements" { replacements = { "quay.io" = ["r.io", "s.io"] } }`: `replacements`,
		`customize "package_name_sufix" { suffix = "-cmp" }`:                                    `package_name_suffix`,
	} {
		t.Run(block, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "iib.hcl")
			config := string(shipped) + "organization \"company\" {\n  " + block + "\n}\n"
			if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
				t.Fatal(err)
			}
			command := exec.Command(filepath.Join(bin, "iib"), "validate", file)
			command.Env = append(os.Environ(), "IIB_DATA_DIR="+t.TempDir())
			out, err := command.CombinedOutput()
			if err == nil {
				t.Fatal("accepted")
			}
			line := strings.Count(string(shipped), "\n") + 2
			if !strings.Contains(string(out), fmt.Sprintf("iib.hcl:%d", line)) && !strings.Contains(string(out), fmt.Sprintf("line %d", line)) || !strings.Contains(string(out), want) {
				t.Errorf("want line %d and %q:\n%s", line, want, out)
			}
		})
	}
}
