package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/image/imagetest"
)

const (
	badCSV         = "manifests/etcd.clusterserviceversion.yaml"
	badAnnotations = "metadata/annotations.yaml"
)

// with returns a bundle with one file replaced, or taken away.
func with(path, content string) map[string][]byte {
	files := bundleFiles()
	if files[path] = []byte(content); content == "" {
		delete(files, path)
	}
	return files
}

// deployments is a CSV without related images that runs containers.
func deployments(containers string) string {
	return "kind: ClusterServiceVersion\nspec: {install: {spec: {deployments: [{name: d, spec: {template: {spec: {containers: [\n" +
		containers + "\n]}}}}]}}}\n"
}

func aliasBomb() string {
	var b strings.Builder
	b.WriteString("kind: ClusterServiceVersion\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 9; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i-1), 10), ","))
	}
	return b.String()
}

// longCSV has 20 MB that no compression makes much smaller.
func longCSV() string {
	var b strings.Builder
	b.WriteString("kind: ClusterServiceVersion\n")
	for random := rand.New(rand.NewPCG(1, 2)); b.Len() < 20<<20; {
		fmt.Fprintf(&b, "# %016x%016x%016x%016x\n", random.Uint64(), random.Uint64(), random.Uint64(), random.Uint64())
	}
	return b.String()
}

const badOrganizations = `
organization "labels" {
  customize "image_name_from_labels" { template = "{name}-{version}" }
}
organization "enclosed" {
  customize "enclose_repo" {
    namespace      = "ns"
    enclosure_glue = "-"
  }
}
`

// What a bundle can have wrong ends the request with a sentence about it, and
// nothing is pushed.
func TestABadBundleIsRefusedWithItsFault(t *testing.T) {
	t.Parallel()
	r := newReleases(t, startServer(t, badOrganizations))
	operand := r.push("operand:v1", imagetest.Image{Labels: map[string]string{"name": "operand"}})
	other := r.push("other:v1", imagetest.Image{})
	gone := []string{r.registry() + "/release/gone:v1", r.registry() + "/release/lost:v1"}
	const packageName = "operators.operatorframework.io.bundle.package.v1"
	tests := map[string]struct {
		files        map[string][]byte
		organization string
		want         []string
	}{
		"no annotations file": {files: with(badAnnotations, ""), want: []string{"metadata"}},
		"another annotations file": {files: func() map[string][]byte {
			f := with(badAnnotations, "")
			f["metadata/a.yaml"] = []byte("a: b")
			return f
		}(), want: []string{"he bundle has no file /metadata/annotations.yaml"}},
		"annotations not a map":                {files: with(badAnnotations, "annotations: [a]\n"), want: []string{"metadata/annotations.yaml: line 1: annotations is not a mapping"}},
		"package annotation missing":           {files: with(badAnnotations, "annotations: {a: b}\n"), want: []string{"metadata/annotations.yaml: the annotation " + packageName + " is missing"}},
		"package annotation no text":           {files: with(badAnnotations, "annotations:\n  "+packageName+": 5\n"), want: []string{"line 2: the annotation " + packageName + " is not text"}},
		"a key twice":                          {files: with(badCSV, "kind: ClusterServiceVersion\nspec: {}\nspec: {}\n"), want: []string{badCSV + `: line 3: key "spec" is already on line 2`}},
		"an alias bomb":                        {files: with(badCSV, aliasBomb()), want: []string{badCSV + ": line ", "the document's aliases stand for more than"}},
		"a CSV of 20 MB":                       {files: with(badCSV, longCSV()), want: []string{badCSV + ": larger than 4 MiB"}},
		"valueFrom":                            {files: with(badCSV, deployments("{name: m, image: "+operand+", env: [{name: RELATED_IMAGE_A, valueFrom: {}}]}")), want: []string{badCSV + ": line 3: RELATED_IMAGE_A takes its value from elsewhere (valueFrom)"}},
		"conflicting related images":           {files: with(badCSV, deployments("{name: m, image: "+operand+"},\n{name: m, image: "+other+"}")), want: []string{"two images have one name: container m (line 3)", "but container m (line 4)"}},
		"conflicts although pinned":            {files: with(badCSV, deployments("{name: m, image: "+r.pinned(operand)+"},\n{name: m, image: "+r.pinned(other)+"}")), organization: "enclosed", want: []string{"two images have one name"}},
		"a template label is missing":          {files: bundleFiles(operand), organization: "labels", want: []string{operand, `the template "{name}-{version}" needs the label version, and the image has: name`}},
		"unreachable images":                   {files: bundleFiles(gone...), want: gone},
		"by an organization that has no block": {files: bundleFiles(gone...), organization: "nobody", want: gone},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			spec := r.push("bad:v1", imagetest.Image{Arches: imagetest.Arches, Files: test.files})
			build := r.run("regenerate-bundle", "failed", map[string]any{"from_bundle_image": spec, "organization": test.organization})
			for _, want := range test.want {
				if reason := build["state_reason"].(string); !strings.Contains(reason, want) {
					t.Errorf("the reason %q does not say %q", reason, want)
				}
			}
			pushed := fmt.Sprintf("%s/iib-build:%v", r.registry(), build["id"])
			if _, err := r.pusher.Client.Resolve(context.Background(), pushed); sdk.CodeOf(err) != sdk.NotFound || build["bundle_image"] != nil {
				t.Errorf("%s: %v, bundle_image %v", pushed, err, build["bundle_image"])
			}
		})
	}
	for name, test := range map[string]struct {
		field string
		value any
	}{
		"a replacement that is no text":   {"bundle_replacements", map[string]any{"a": 5}},
		"replacements that are no map":    {"bundle_replacements", []string{"a"}},
		"an organization that is no text": {"organization", 5},
		"credentials with a key too many": {"registry_auths", map[string]any{"auths": map[string]any{"r.io": map[string]any{"auth": "", "x": ""}}}},
		"credentials without a registry":  {"registry_auths", map[string]any{"auths": map[string]any{}}},
		"credentials under another key":   {"registry_auths", map[string]any{"credHelpers": map[string]any{}}},
	} {
		t.Run(name, func(t *testing.T) {
			status, answer := r.post("/api/v1/builds/regenerate-bundle", map[string]any{"from_bundle_image": operand, test.field: test.value})
			if message, _ := answer["error"].(string); status != http.StatusBadRequest || !strings.Contains(message, test.field) {
				t.Errorf("%d %v", status, answer)
			}
		})
	}
}

// An organization gets the steps of its list and no others.
func TestAnOrganizationGetsItsListOnly(t *testing.T) {
	r := newReleases(t, startServer(t, "organization \"bare\" {\n  customize \"package_name_suffix\" { suffix = \"-cmp\" }\n}\n"))
	operand := r.push("operand:v1", imagetest.Image{})
	build := r.run("regenerate-bundle", "complete", map[string]any{"from_bundle_image": r.bundle("etcd:v1", operand), "organization": "bare"})
	info := r.inspect(build["bundle_image"].(string), "amd64")
	if files := r.topLayer(info); len(files) != 1 || files[badAnnotations] == "" || info.Labels[pinnedLabel] != "" {
		t.Errorf("files %v, labels %v", files, info.Labels)
	}
	status, text := r.get(fmt.Sprintf("/api/v1/builds/%v/related_bundles", build["id"]))
	if status != http.StatusInternalServerError || !strings.Contains(string(text), "customizations of organization bare") {
		t.Errorf("%d %s", status, text)
	}
}

// A misspelt organization gets the default steps, as the contract has it, and
// its submitter is told.
func TestAnUnknownOrganizationIsTold(t *testing.T) {
	t.Parallel()
	r := newReleases(t, startServer(t, "organization \"company\" {\n  customize \"package_name_suffix\" { suffix = \"-cmp\" }\n}\n"))
	operand := r.push("operand:v1", imagetest.Image{Arches: imagetest.Arches})
	spec := r.bundle("etcd:v1", operand)
	for organization, told := range map[string]bool{"compnay": true, "company": false, "": false} {
		build := r.run("regenerate-bundle", "complete", map[string]any{"from_bundle_image": spec, "organization": organization})
		history := fmt.Sprint(build["state_history"])
		if got := strings.Contains(history, `The organization "compnay" is not configured, so the customizations for all others apply. Configured are: company.`); got != told {
			t.Errorf("organization %q: the states are %s", organization, history)
		}
	}
}
