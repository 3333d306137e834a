package bundle

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/sdk"
)

func fakeDigest(text string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(text))) }

// labelled answers with the labels of the images that it knows.
func labelled(images map[string]map[string]string) LabelsFunc {
	return func(_ context.Context, spec string) (map[string]string, error) {
		labels, ok := images[spec]
		if !ok {
			return nil, sdk.Errorf(sdk.NotFound, "inspect %s: not found", spec)
		}
		return labels, nil
	}
}

// operator is a CSV with one image, written to relatedImages too so that a
// replacement shows as one changed line each.
func operator(image string) string {
	return `metadata:
  name: amqstreams.v1
spec:
  install:
    spec:
      deployments:
      - spec:
          template:
            spec:
              containers:
              - name: operator
                image: ` + image + `
  relatedImages:
  - {name: operator, image: ` + image + `}
`
}

func template(t *testing.T, source string) Template {
	t.Helper()
	parsed, err := ParseTemplate(source)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// Handlers, sections 6.3 and 6.4: every row of the examples.
func TestEachCustomizationChangesTheImage(t *testing.T) {
	ctx := t.Context()
	const pinned = "quay.io/operator/image@sha256:" + hash
	tests := map[string]struct {
		image  string
		change func(b *Bundle) error
		want   string
	}{
		"pin": {
			"quay.io/operator/image:v1",
			func(b *Bundle) error { _, err := b.Pin(ctx, digests); return err },
			"quay.io/operator/image@" + fakeDigest("quay.io/operator/image:v1"),
		},
		"pin without a tag": {
			"quay.io/operator/image",
			func(b *Bundle) error { _, err := b.Pin(ctx, digests); return err },
			"quay.io/operator/image@" + fakeDigest("quay.io/operator/image:latest"),
		},
		"pin what is pinned": {
			pinned,
			func(b *Bundle) error { _, err := b.Pin(ctx, digests); return err },
			pinned,
		},
		"registry": {
			"registry.access.company.com/operator/image:v2",
			func(b *Bundle) error {
				return b.ReplaceRegistries(map[string]string{"registry.access.company.com": "registry.marketplace.company.com/cm"})
			},
			"registry.marketplace.company.com/cm/operator/image:v2",
		},
		"another registry": {
			"registry.access.company.com:443/operator/image:v2",
			func(b *Bundle) error {
				return b.ReplaceRegistries(map[string]string{"registry.access.company.com": "quay.io"})
			},
			"registry.access.company.com:443/operator/image:v2",
		},
		"name from labels": {
			pinned,
			func(b *Bundle) error {
				return b.NameFromLabels(ctx, template(t, "{name}-{version}-final"), labelled(map[string]map[string]string{
					pinned: {"name": "namespace/reponame", "version": "rhel-8"},
				}))
			},
			"quay.io/namespace/reponame-rhel-8-final@sha256:" + hash,
		},
		"name from labels, no namespace": {
			pinned,
			func(b *Bundle) error {
				return b.NameFromLabels(ctx, template(t, "{name}"), labelled(map[string]map[string]string{
					pinned: {"name": "x"},
				}))
			},
			"quay.io/x@sha256:" + hash,
		},
		"enclose": {
			"quay.io/operator/image:v1",
			func(b *Bundle) error { return b.Enclose("company-pending", "----") },
			"quay.io/company-pending/operator----image:v1",
		},
		"enclose many parts": {
			"quay.io/operator/image/foo/bar:v1",
			func(b *Bundle) error { return b.Enclose("operator", "----") },
			"quay.io/operator/image----foo----bar:v1",
		},
		"enclose in the same namespace": {
			"quay.io/operator/image:v1",
			func(b *Bundle) error { return b.Enclose("operator", "----") },
			"quay.io/operator/image:v1",
		},
		"enclose without a namespace": {
			"quay.io/operator-image:v1",
			func(b *Bundle) error { return b.Enclose("company-managed", "----") },
			"quay.io/company-managed/operator-image:v1",
		},
		"replace a bundle": {
			"quay.io/operator/bundle:v1",
			func(b *Bundle) error {
				return b.ReplaceBundles(ctx,
					map[string]string{"quay.io/operator/bundle:v1": "quay.io/other/bundle:v2", "not/mentioned:1": "x"},
					labelled(map[string]map[string]string{"quay.io/operator/bundle:v1": {LabelBundle: "true"}}))
			},
			"quay.io/other/bundle:v2",
		},
		"replace what is no bundle": {
			"quay.io/operator/image:v1",
			func(b *Bundle) error {
				return b.ReplaceBundles(ctx,
					map[string]string{"quay.io/operator/image:v1": "quay.io/other/image:v2"},
					labelled(map[string]map[string]string{"quay.io/operator/image:v1": {LabelBundle: "false"}}))
			},
			"quay.io/operator/image:v1",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b, _ := withCSV(t, operator(test.image))
			if err := test.change(b); err != nil {
				t.Fatal(err)
			}
			want := strings.ReplaceAll(operator(test.image), test.image, test.want)
			if diff := cmp.Diff(want, csv(t, b)); diff != "" {
				t.Error(diff)
			}
			if err := test.change(b); err != nil && !strings.Contains(name, "labels") {
				t.Fatalf("second time: %v", err)
			}
		})
	}
}

// The registry in the middle exists only while labels and bundles are read.
//
// Handlers, section 6.4, the chain.
func TestRegistriesAreReplacedTwiceInAChain(t *testing.T) {
	ctx := t.Context()
	const from, middle = "quay.io/operator/image@sha256:" + hash, "registry.koji.company.com/operator/image@sha256:" + hash
	images := labelled(map[string]map[string]string{middle: {"name": "ns/repo", LabelBundle: "True"}})
	b, _ := withCSV(t, operator(from))
	if err := b.ReplaceRegistries(map[string]string{"quay.io": "registry.koji.company.com"}); err != nil {
		t.Fatal(err)
	}
	related, err := b.RelatedBundles(ctx, images)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{middle}, related); diff != "" {
		t.Error(diff)
	}
	if err := b.NameFromLabels(ctx, template(t, "{name}"), images); err != nil {
		t.Fatal(err)
	}
	if err := b.Enclose("company", "----"); err != nil {
		t.Fatal(err)
	}
	if err := b.ReplaceRegistries(map[string]string{"registry.koji.company.com": "quaaay.io"}); err != nil {
		t.Fatal(err)
	}
	want := operator("quaaay.io/company/ns----repo@sha256:" + hash)
	if diff := cmp.Diff(want, csv(t, b)); diff != "" {
		t.Error(diff)
	}
}

// Handlers, section 6.4, the configuration; 6.3, package_name_suffix and csv_annotations.
func TestSuffixAndAnnotationsFollowTheOrderOfTheList(t *testing.T) {
	const annotation = "marketplace.company.io/support-workflow"
	annotate := func(b *Bundle, name string) error {
		return b.Annotate(map[string]Template{annotation: template(t, "https://company.com/{package_name}/support")}, name)
	}
	for _, suffixFirst := range []bool{true, false} {
		t.Run(fmt.Sprintf("suffix first %v", suffixFirst), func(t *testing.T) {
			b, _ := withCSV(t, operator("registry.access.company.com/operator/image:v2"))
			want := "amqstreams"
			if suffixFirst {
				want = "amqstreams-cmp"
			} else if err := annotate(b, "amqstreams"); err != nil {
				t.Fatal(err)
			}
			name, changed, err := b.SuffixPackage("-cmp")
			if err != nil || name != "amqstreams-cmp" || !changed {
				t.Fatalf("suffixed: %s, %v, %v", name, changed, err)
			}
			if suffixFirst {
				if err := annotate(b, name); err != nil {
					t.Fatal(err)
				}
			}
			line := "  annotations:\n    " + annotation + ": \"https://company.com/" + want + "/support\"\n"
			line = strings.NewReplacer(`"`, "").Replace(line)
			if got := csv(t, b); !strings.Contains(got, line) {
				t.Errorf("no line %q in\n%s", line, got)
			}
			if got, want := string(b.annotations.doc.Bytes()), strings.Replace(annotationsOfExample, "v1: amqstreams", "v1: amqstreams-cmp", 1); got != want {
				t.Error(cmp.Diff(want, got))
			}
		})
	}
	t.Run("a suffix that is there", func(t *testing.T) {
		b, _ := unpacked(t, nil)
		if name, changed, err := b.SuffixPackage("streams"); name != "amqstreams" || changed || err != nil {
			t.Errorf("%s, %v, %v", name, changed, err)
		}
	})
}

// Handlers, section 6.3, csv_annotations.
func TestAnnotateAddsToWhatIsThere(t *testing.T) {
	annotations := map[string]Template{"b": template(t, "x: {package_name}"), "a": template(t, "{{}}")}
	tests := map[string]struct{ before, after string }{
		"annotations": {
			"metadata:\n  annotations:\n    b: old # why\n    c: 1\n  name: n\n",
			"metadata:\n  annotations:\n    b: \"x: p\" # why\n    c: 1\n    a: \"{}\"\n  name: n\n",
		},
		"no annotations": {
			"metadata:\n  name: n\nspec: {}\n",
			"metadata:\n  name: n\n  annotations:\n    a: \"{}\"\n    b: \"x: p\"\nspec: {}\n",
		},
		"null annotations": {
			"metadata:\n  annotations:\n  name: n\n",
			"metadata:\n  annotations:\n    a: \"{}\"\n    b: \"x: p\"\n  name: n\n",
		},
		"no metadata": {
			"spec: {}\n",
			"spec: {}\nmetadata:\n  annotations:\n    a: \"{}\"\n    b: \"x: p\"\n",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b, _ := withCSV(t, test.before)
			for range 2 {
				if err := b.Annotate(annotations, "p"); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(test.after, csv(t, b)); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("JSON stays JSON", func(t *testing.T) {
		b, _ := unpacked(t, map[string]string{csvPath: "{\n  \"kind\": \"ClusterServiceVersion\",\n  \"metadata\": {\n    \"annotations\": {\n      \"c\": \"d\\/e\"\n    }\n  }\n}\n"})
		if err := b.Annotate(annotations, "p"); err != nil {
			t.Fatal(err)
		}
		want := "{\n  \"kind\": \"ClusterServiceVersion\",\n  \"metadata\": {\n    \"annotations\": {\n      \"c\": \"d\\/e\",\n      \"a\": \"{}\",\n      \"b\": \"x: p\"\n    }\n  }\n}\n"
		if diff := cmp.Diff(want, csv(t, b)); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("annotations that are no mapping", func(t *testing.T) {
		b, _ := withCSV(t, "metadata:\n  annotations: [a]\n")
		wantError(t, b.Annotate(annotations, "p"), sdk.Invalid, csvPath+": line 3: metadata.annotations is not a mapping")
	})
	t.Run("a field that stands for nothing", func(t *testing.T) {
		b, _ := withCSV(t, "metadata: {}\n")
		wantError(t, b.Annotate(map[string]Template{"a": template(t, "{name}")}, "p"), sdk.Invalid,
			"annotation a: {name} stands for nothing; only {package_name} does")
	})
}

// Handlers, section 6.3, resolve_image_pullspecs.
func TestPinAsksForEachImageOnceAndNamesAllThatFail(t *testing.T) {
	b, _ := withCSV(t, places)
	var mu sync.Mutex
	asked := make(map[string]int)
	failing := func(ctx context.Context, spec string) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		asked[spec]++
		if strings.Contains(spec, "/known/") {
			return "", sdk.Errorf(sdk.NotFound, "resolve %s: not found", spec)
		}
		if strings.Contains(spec, "/init/") {
			return "", sdk.Errorf(sdk.Unavailable, "no answer")
		}
		return digests(ctx, spec)
	}
	_, err := b.Pin(t.Context(), failing)
	wantError(t, err, sdk.NotFound, "3 of 15 images: resolve r.io/known/a:1: not found; "+
		"resolve r.io/known/b:1: not found; r.io/init/a:1: no answer")
	if len(asked) != 15 {
		t.Errorf("asked for %d images", len(asked))
	}
	for spec, times := range asked {
		if times != 1 {
			t.Errorf("%s asked for %d times", spec, times)
		}
	}
	if got := csv(t, b); got != places {
		t.Errorf("changed although it failed: %s", cmp.Diff(places, got))
	}
}

func TestOnlyOutagesAreRetried(t *testing.T) {
	specs := []PullSpec{{Repo: "a"}, {Repo: "b"}, {Repo: "c"}}
	down := sdk.Errorf(sdk.Unavailable, "down")
	denied := sdk.Errorf(sdk.Denied, "denied")
	tests := map[string]struct {
		errs []error
		want sdk.Code
	}{
		"all are outages":      {[]error{down, nil, down}, sdk.Unavailable},
		"one is final":         {[]error{down, denied, down}, sdk.Denied},
		"one is a fault of us": {[]error{nil, down, errors.New("oops")}, sdk.Internal},
		"none":                 {[]error{nil, nil, nil}, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := sdk.CodeOf(joined(specs, test.errs)); got != test.want {
				t.Errorf("code %q, want %q", got, test.want)
			}
		})
	}
}

func TestCancelledQuestionsEndTheCustomization(t *testing.T) {
	b, _ := withCSV(t, places)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := b.Pin(ctx, func(ctx context.Context, _ string) (string, error) {
		cancel()
		<-ctx.Done()
		return "", ctx.Err()
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// Handlers, section 6.2, replacing.
func TestReplacementsReachEverywhereButOtherAnnotations(t *testing.T) {
	b, _ := withCSV(t, `metadata:
  annotations:
    containerImage: "r.io/a:1" # known
    text: |
      The image r.io/a:1, and (r.io/b:1).
      Not r.io/a nor nginx.
    bare: r.io/a
    nginx: nginx
spec:
  displayName: nginx
  icon: 'r.io/a:1'
  skips: [r.io/a:1, nginx:latest]
  install:
    spec:
      deployments:
      - spec:
          template:
            spec:
              containers:
              - name: nginx
                image: nginx
                env:
                - {name: IMAGE, value: r.io/a:1}
                - {name: ALSO, value: "see r.io/a:1"}
                - {name: LATEST, value: docker/r.io/a:1}
  relatedImages: [{name: a, image: r.io/a:1}]
`)
	err := b.replace(map[PullSpec]PullSpec{
		ParsePullSpec("r.io/a:1"): ParsePullSpec("s.io/aa:22"),
		ParsePullSpec("r.io/b:1"): ParsePullSpec("s.io/b@sha256:" + hash),
		ParsePullSpec("nginx"):    ParsePullSpec("nginx@sha256:" + hash),
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `metadata:
  annotations:
    containerImage: "s.io/aa:22" # known
    text: |
      The image s.io/aa:22, and (s.io/b@sha256:` + hash + `).
      Not r.io/a nor nginx.
    bare: r.io/a
    nginx: nginx
spec:
  displayName: nginx
  icon: 's.io/aa:22'
  skips: [s.io/aa:22, nginx@sha256:` + hash + `]
  install:
    spec:
      deployments:
      - spec:
          template:
            spec:
              containers:
              - name: nginx
                image: nginx@sha256:` + hash + `
                env:
                - {name: IMAGE, value: s.io/aa:22}
                - {name: ALSO, value: "see r.io/a:1"}
                - {name: LATEST, value: docker/r.io/a:1}
  relatedImages: [{name: a, image: s.io/aa:22}]
`
	if diff := cmp.Diff(want, csv(t, b)); diff != "" {
		t.Error(diff)
	}
}

// Handlers, section 6.2, relatedImages; 6.3, which types always write them; 6.6, a list that is there is pinned all the same.
func TestRelatedImagesAreListedWhenThereAreNone(t *testing.T) {
	body := func(related string) string {
		return `metadata:
  annotations:
    containerImage: r.io/a:1
    also: r.io/a:1, r.io/b:1
spec:` + related + `
  install:
    spec:
      deployments:
      - spec:
          template:
            spec:
              containers:
              - name: manager
                image: r.io/c:1
                env:
                - name: RELATED_IMAGE_DB
                  value: r.io/d:1
`
	}
	list := `
  relatedImages:
  - name: a-1-annotation
    image: s.io/a:1
  - name: manager
    image: s.io/c:1
  - name: db
    image: s.io/d:1
  - name: b-1-annotation
    image: s.io/b:1`
	replaced := strings.ReplaceAll(body(""), "r.io", "s.io")
	tests := map[string]struct{ before, after string }{
		"none":  {body(""), replaced + list[1:] + "\n"},
		"null":  {body("\n  relatedImages:"), strings.Replace(replaced, "spec:", "spec:"+list, 1)},
		"empty": {body("\n  relatedImages: []"), strings.Replace(replaced, "spec:", "spec:"+list, 1)},
		"one": {
			body("\n  relatedImages: [{name: x, image: r.io/a:1}]"),
			strings.Replace(replaced, "spec:", "spec:\n  relatedImages: [{name: x, image: s.io/a:1}]", 1),
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b, _ := withCSV(t, test.before)
			if err := b.ReplaceRegistries(map[string]string{"r.io": "s.io"}); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.after, csv(t, b)); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("not when nothing is replaced", func(t *testing.T) {
		b, _ := withCSV(t, body(""))
		if err := b.ReplaceRegistries(map[string]string{"x.io": "s.io"}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(body(""), csv(t, b)); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("always when images are enclosed", func(t *testing.T) {
		b, _ := withCSV(t, operatorWithoutRelatedImages)
		if err := b.Enclose("ns", "-"); err != nil {
			t.Fatal(err)
		}
		want := operatorWithoutRelatedImages + "  relatedImages:\n  - name: m\n    image: r.io/ns/a@sha256:" + hash + "\n"
		if diff := cmp.Diff(want, csv(t, b)); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("without a spec", func(t *testing.T) {
		b, _ := withCSV(t, "metadata: {annotations: {a: r.io/a:1}}\n")
		if err := b.ReplaceRegistries(map[string]string{"r.io": "s.io"}); err != nil {
			t.Fatal(err)
		}
		want := "metadata: {annotations: {a: s.io/a:1}}\nspec:\n  relatedImages:\n  - name: a-1-annotation\n    image: s.io/a:1\n"
		if diff := cmp.Diff(want, csv(t, b)); diff != "" {
			t.Error(diff)
		}
	})
}

const operatorWithoutRelatedImages = `spec:
  install: {spec: {deployments: [{spec: {template: {spec: {containers: [
    {name: m, image: "r.io/ns/a@sha256:` + hash + `"}
  ]}}}}]}}
`

// Handlers, section 6.2, relatedImages.
func TestConflictingRelatedImagesAreAllNamed(t *testing.T) {
	b, _ := withCSV(t, `spec:
  install:
    spec:
      deployments:
      - spec: {template: {spec: {containers: [{name: m, image: r.io/a:1}]}}}
      - spec: {template: {spec: {containers: [{name: m, image: r.io/b:1}]}}}
      - spec: {template: {spec: {containers: [{name: m, image: r.io/a:1, env: [
          {name: RELATED_IMAGE_M, value: r.io/c:1}]}]}}}
`)
	wantError(t, b.ReplaceRegistries(map[string]string{"r.io": "s.io"}), sdk.Invalid, csvPath+
		": spec.relatedImages cannot be written because two images have one name: "+
		"container m (line 6) is s.io/a:1 but container m (line 7) is s.io/b:1; "+
		"container m (line 6) is s.io/a:1 but variable RELATED_IMAGE_M (line 9) is s.io/c:1; rename one of each")
}

// Handlers, section 6.2: pull specs are equal if their parts are, however they are
// written.
func TestOneImageWrittenInTwoWaysIsNoConflict(t *testing.T) {
	const before = `spec:
  install:
    spec:
      deployments:
      - spec: {template: {spec: {containers: [{name: m, image: q.io/a, env: [
          {name: RELATED_IMAGE_M, value: "q.io/a:latest"},
          {name: RELATED_IMAGE_DB, value: "r.io/b:1"}]}]}}}
`
	b, _ := withCSV(t, before)
	if err := b.ReplaceRegistries(map[string]string{"r.io": "s.io"}); err != nil {
		t.Fatal(err)
	}
	want := strings.Replace(before, "r.io", "s.io", 1) +
		"  relatedImages:\n  - name: m\n    image: q.io/a\n  - name: db\n    image: s.io/b:1\n"
	if diff := cmp.Diff(want, csv(t, b)); diff != "" {
		t.Error(diff)
	}
}

// Handlers, section 6.2: what orders versions names CSVs, even where an image is called
// the same.
func TestNamesOfVersionsAreNoImages(t *testing.T) {
	const before = `metadata:
  annotations: {olm.substitutesFor: etcd.v0}
spec:
  replaces: etcd.v1
  skips: [etcd.v1, etcd.v0]
  install: {spec: {deployments: [{spec: {template: {spec: {containers: [
    {name: etcd.v1, image: etcd.v1}, {name: old, image: etcd.v0}
  ]}}}}]}}
`
	b, _ := withCSV(t, before)
	if _, err := b.Pin(t.Context(), digests); err != nil {
		t.Fatal(err)
	}
	want := strings.NewReplacer(
		"image: etcd.v1", "image: etcd.v1@"+fakeDigest("etcd.v1:latest"),
		"image: etcd.v0", "image: etcd.v0@"+fakeDigest("etcd.v0:latest")).Replace(before)
	if got := csv(t, b); !strings.HasPrefix(got, want) {
		t.Error(cmp.Diff(want, got))
	}
}

func TestReplacementsMustBePullSpecs(t *testing.T) {
	ctx := t.Context()
	labels := labelled(map[string]map[string]string{"r.io/a:1": {"name": "Not A Name", LabelBundle: "true"}})
	for name, test := range map[string]struct {
		change func(b *Bundle) error
		want   string
	}{
		"from labels": {
			func(b *Bundle) error { return b.NameFromLabels(ctx, template(t, "{name}"), labels) },
			`replace r.io/a:1: "r.io/Not A Name:1" is not a pull spec`,
		},
		"from the requester": {
			func(b *Bundle) error { return b.ReplaceBundles(ctx, map[string]string{"r.io/a:1": "#x"}, labels) },
			`replace r.io/a:1: "#x:latest" is not a pull spec`,
		},
		"from a namespace": {
			func(b *Bundle) error { return b.Enclose("A", "-") },
			`replace r.io/a:1: "r.io/A/a:1" is not a pull spec`,
		},
		"from a registry": {
			func(b *Bundle) error { return b.ReplaceRegistries(map[string]string{"r.io": "https://s.io"}) },
			`replace r.io/a:1: "https://s.io/a:1" is not a pull spec`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			b, _ := withCSV(t, operator("r.io/a:1"))
			wantError(t, test.change(b), sdk.Invalid, test.want)
			if diff := cmp.Diff(operator("r.io/a:1"), csv(t, b)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Handlers, section 6.3, image_name_from_labels.
func TestAMissingLabelIsNamedWithThoseThereAre(t *testing.T) {
	b, _ := withCSV(t, operator("r.io/a:1"))
	err := b.NameFromLabels(t.Context(), template(t, "{name}-{version}"),
		labelled(map[string]map[string]string{"r.io/a:1": {"name": "x", "com.redhat.component": "y"}}))
	wantError(t, err, sdk.Invalid,
		`r.io/a:1: the template "{name}-{version}" needs the label version, and the image has: com.redhat.component, name`)
}

// Handlers, section 6.5.
func TestOnlyBooleansMakeABundleImage(t *testing.T) {
	for _, value := range []string{"true", "True", "TRUE"} {
		if is, err := IsBundleImage(map[string]string{LabelBundle: value}); !is || err != nil {
			t.Errorf("%s: %v, %v", value, is, err)
		}
	}
	for _, labels := range []map[string]string{nil, {}, {LabelBundle: "false"}, {LabelBundle: "False"}} {
		if is, err := IsBundleImage(labels); is || err != nil {
			t.Errorf("%v: %v, %v", labels, is, err)
		}
	}
	for _, value := range []string{"", "yes", "no", "1", "tRUE", " true"} {
		_, err := IsBundleImage(map[string]string{LabelBundle: value})
		wantError(t, err, sdk.Invalid, fmt.Sprintf("the label %s is %q; it must be true or false", LabelBundle, value))
	}
	if pinned, err := IsPinned(map[string]string{LabelPinned: "true"}); !pinned || err != nil {
		t.Errorf("pinned: %v, %v", pinned, err)
	}
}

func TestTemplatesNeedMatchingBraces(t *testing.T) {
	for source, want := range map[string]string{
		"{name":   `the template "{name" has a { that no name and } follow; write {{ for the brace itself`,
		"{}":      `the template "{}" has a { that no name and } follow; write {{ for the brace itself`,
		"{a{b}}":  `the template "{a{b}}" has a { that no name and } follow; write {{ for the brace itself`,
		"a}":      `the template "a}" has a } that closes nothing; write }} for the brace itself`,
		"{a}}":    `the template "{a}}" has a } that closes nothing; write }} for the brace itself`,
		"{{name}": `the template "{{name}" has a } that closes nothing; write }} for the brace itself`,
	} {
		_, err := ParseTemplate(source)
		wantError(t, err, sdk.Invalid, want)
	}
	parsed := template(t, "{a}/{b.c}{{d}}{a}")
	if diff := cmp.Diff([]string{"a", "b.c", "a"}, parsed.Fields()); diff != "" {
		t.Error(diff)
	}
	if text, missing := parsed.expand(map[string]string{"a": "1", "b.c": "2"}); text != "1/2{d}1" || missing != "" {
		t.Errorf("expands to %q, missing %q", text, missing)
	}
}

// Handlers, section 6.3, related_bundles.
func TestRelatedBundlesAreListedOnceInOrder(t *testing.T) {
	b, _ := withCSV(t, places)
	specs, err := b.PullSpecs()
	if err != nil {
		t.Fatal(err)
	}
	images := make(map[string]map[string]string)
	for _, s := range specs {
		images[s.String()] = nil
	}
	for _, name := range []string{"r.io/guess/a:1", "r.io/related/b:1", "r.io/env/b:1"} {
		images[name] = map[string]string{LabelBundle: "true"}
	}
	got, err := b.RelatedBundles(t.Context(), labelled(images))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"r.io/related/b:1", "r.io/env/b:1", "r.io/guess/a:1"}, got); diff != "" {
		t.Error(diff)
	}
	delete(images, slices.Sorted(maps.Keys(images))[0])
	_, err = b.RelatedBundles(t.Context(), labelled(images))
	wantError(t, err, sdk.NotFound, "read the labels of r.io/container/a:1: inspect r.io/container/a:1: not found")
}
