package bundle

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/sdk"
)

// places has an image at every place that PullSpecs knows, and at some that it
// does not.
const places = `metadata:
  name: example.v1
  annotations:
    first: see r.io/guess/a:1 and r.io/guess/b:1
    containerImage: r.io/known/a:1
    second: r.io/guess/c@sha256:` + hash + `
    number: 5
  metadata:
    annotations:
      containerImage: r.io/hidden/a:1
spec:
  icon: r.io/elsewhere/a:1
  relatedImages:
  - name: one
    image: r.io/related/a:1
  - image: r.io/related/b:1
  install:
    spec:
      deployments:
      - name: d
        spec:
          template:
            metadata:
              annotations:
                third: r.io/guess/d/e:1
                containerImage: r.io/known/b:1
            spec:
              initContainers:
              - name: init
                image: r.io/init/a:1
                env:
                - name: RELATED_IMAGE_INIT
                  value: r.io/env/c:1
              containers:
              - name: manager
                image: r.io/container/a:1
                env:
                - name: RELATED_IMAGE_DB_14
                  value: r.io/env/a:1
                - name: IMAGE
                  value: r.io/elsewhere/b:1
                - name: RELATED_IMAGE_NONE
                  value: ""
                - name: OTHER
                  valueFrom: {fieldRef: {fieldPath: metadata.name}}
              - name: proxy
                image: r.io/container/b:1
      - name: e
        spec:
          template:
            spec:
              containers:
              - name: worker
                image: r.io/container/c:1
                env:
                - {name: RELATED_IMAGE_X, value: r.io/env/b:1}
`

// Handlers, section 6.2, locations, their order and names.
func TestPullSpecsAreFoundInOrder(t *testing.T) {
	b, _ := withCSV(t, places)
	csvs, err := b.CSVs()
	if err != nil {
		t.Fatal(err)
	}
	found, err := csvs[0].PullSpecs()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range found {
		got = append(got, f.Name+" = "+f.Image+" ("+f.Where+")")
	}
	want := []string{
		"one = r.io/related/a:1 (related image one)",
		" = r.io/related/b:1 (related image)",
		"a-1-annotation = r.io/known/a:1 (containerImage annotation)",
		"b-1-annotation = r.io/known/b:1 (containerImage annotation)",
		"manager = r.io/container/a:1 (container manager)",
		"proxy = r.io/container/b:1 (container proxy)",
		"worker = r.io/container/c:1 (container worker)",
		"init = r.io/init/a:1 (init container init)",
		"db_14 = r.io/env/a:1 (variable RELATED_IMAGE_DB_14)",
		"x = r.io/env/b:1 (variable RELATED_IMAGE_X)",
		"init = r.io/env/c:1 (variable RELATED_IMAGE_INIT)",
		"d/e-1-annotation = r.io/guess/d/e:1 (third annotation)",
		"c-" + hash + "-annotation = r.io/guess/c@sha256:" + hash + " (second annotation)",
		"b-1-annotation = r.io/guess/b:1 (first annotation)",
		"a-1-annotation = r.io/guess/a:1 (first annotation)",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if found[0].Line != 16 {
		t.Errorf("the first is on line %d", found[0].Line)
	}
}

func TestPullSpecsAreFoundThroughAliasesAndMerges(t *testing.T) {
	b, _ := withCSV(t, `x:
  containers: &c
  - &base
    name: manager
    image: r.io/a:1
  - <<: *base
    name: second
spec: &spec
  install:
    spec:
      deployments:
      - spec: {template: {spec: {containers: *c}}}
      - spec: {template: {spec: {containers: *c}}}
`)
	specs, err := b.PullSpecs()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]PullSpec{ParsePullSpec("r.io/a:1")}, specs); diff != "" {
		t.Error(diff)
	}
	if err := b.ReplaceRegistries(map[string]string{"r.io": "s.io"}); err != nil {
		t.Fatal(err)
	}
	if got := csv(t, b); strings.Count(got, "s.io/a:1") != 3 || strings.Contains(got, "r.io") {
		t.Errorf("got %s", got)
	}
}

// Handlers, section 6.2, item 5, and what else is no image.
func TestMalformedPlacesAreNamed(t *testing.T) {
	deployment := func(container string) string {
		return "spec: {install: {spec: {deployments: [{spec: {template: {spec: {containers: [\n" + container + "]}}}}]}}}\n"
	}
	tests := map[string]struct{ csv, want string }{
		"valueFrom": {
			deployment("{name: m, image: r.io/a:1, env: [\n{name: RELATED_IMAGE_A, valueFrom: {}}]}"),
			"line 4: RELATED_IMAGE_A takes its value from elsewhere (valueFrom); an image must be given as its value",
		},
		"no image":                   {deployment("{name: m}"), "line 3: container m has no image"},
		"no image in related images": {"spec:\n  relatedImages:\n  - name: a\n", "line 4: related image a has no image"},
		"an empty image":             {deployment("{name: m, image: ''}"), "line 3: container m has no image"},
		"an image that is a number":  {deployment("{name: m, image: 5}"), "line 3: the image of container m is not text"},
		"a variable that is a number": {
			deployment("{name: m, image: a/b, env: [{name: RELATED_IMAGE_A, value: 5}]}"),
			"line 3: the value of RELATED_IMAGE_A is not text",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b, _ := withCSV(t, test.csv)
			_, err := b.PullSpecs()
			wantError(t, err, sdk.Invalid, csvPath+": "+test.want)
		})
	}
}
