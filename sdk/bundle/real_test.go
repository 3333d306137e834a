package bundle

import (
	"bytes"
	"context"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/operator-framework/operator-registry/pkg/registry"

	"github.com/iib-engine/iib/sdk/bundle/bundletest/published"
)

// manifests calls visit with the annotations and CSVs of every published bundle,
// until it has seen enough.
func manifests(t *testing.T, visit func(name string, files map[string]string) (more bool)) {
	for b := range published.Bundles(t, published.All) {
		files := make(map[string]string)
		for name, data := range b.Files {
			if path.Dir(name) == metadataDir || bytes.Contains(data, []byte("kind: "+kindCSV)) {
				files[name] = string(data)
			}
		}
		if !visit(b.Package+"/"+b.Version, files) {
			return
		}
	}
}

func TestRealBundlesAreRegeneratedByteForByte(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	var bundles, specs int
	var mu sync.Mutex
	t.Run("bundles", func(t *testing.T) {
		manifests(t, func(name string, files map[string]string) bool {
			bundles++
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				n := regenerate(t, files)
				mu.Lock()
				defer mu.Unlock()
				specs += n
			})
			return bundles < atMost
		})
	})
	if bundles > 0 {
		t.Logf("%d bundles with %d pull specs", bundles, specs)
	}
}

// regenerate runs every customization on a bundle, twice where it shall not
// matter, and returns the number of pull specs.
func regenerate(t *testing.T, files map[string]string) int {
	ctx := t.Context()
	b, dir := unpacked(t, files)
	reopen := func() {
		if _, err := b.Save(); err != nil {
			t.Fatal(err)
		}
		b.Close()
		var err error
		if b, err = Open(dir); err != nil {
			t.Fatal(err)
		}
	}
	defer func() { b.Close() }()
	before, err := b.PullSpecs()
	if err != nil {
		t.Fatal(err)
	}
	if len(before) == 0 {
		t.Fatal("no pull specs")
	}

	changes(t, b, func() error { _, err := b.Pin(ctx, digests); return err })
	reopen()
	pinned, err := b.PullSpecs()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range pinned {
		if !s.Pinned() {
			t.Errorf("%s is not pinned", s)
		}
	}
	loads(t, dir)
	if again, err := b.Pin(ctx, digests); again || err != nil {
		t.Errorf("pinned again: %v, %v", again, err)
	}
	if saved, err := b.Save(); len(saved) > 0 || err != nil {
		t.Errorf("pinning again saved %v, %v", saved, err)
	}

	registries := make(map[string]string)
	for _, s := range pinned {
		// A pull spec without a registry has nothing to be replaced.
		registries[s.Registry] = "registry.example.com/marketplace"
	}
	changes(t, b, func() error { return b.ReplaceRegistries(registries) })
	changes(t, b, func() error { return b.Enclose("partner", "----") })
	names := template(t, "{name}-{version}")
	changes(t, b, func() error {
		return b.NameFromLabels(ctx, names, func(_ context.Context, spec string) (map[string]string, error) {
			return map[string]string{"name": "ns/" + path.Base(ParsePullSpec(spec).Repo), "version": "v1"}, nil
		})
	})
	reopen()
	renamed, err := b.PullSpecs()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range renamed {
		if s.Registry != "registry.example.com" && s.Registry != "" || !strings.HasSuffix(s.Repo, "-v1") {
			t.Errorf("%s is not renamed", s)
		}
	}

	name, changed, err := b.SuffixPackage("-cmp")
	if err != nil || !changed {
		t.Fatalf("suffix: %v, %v", changed, err)
	}
	annotations := map[string]Template{"example.com/workflow": template(t, "https://example.com/{package_name}?a: b")}
	for range 2 {
		if err := b.Annotate(annotations, name); err != nil {
			t.Fatal(err)
		}
	}
	reopen()
	if csv := loads(t, dir); csv.GetAnnotations()["example.com/workflow"] != "https://example.com/"+name+"?a: b" {
		t.Errorf("annotations are %v", csv.GetAnnotations())
	}
	got, err := os.ReadFile(filepath.Join(dir, annotationsFile))
	if err != nil {
		t.Fatal(err)
	}
	was := strings.TrimSuffix(name, "-cmp")
	if strings.Replace(string(got), name, was, 1) != files[annotationsFile] {
		t.Error(cmp.Diff(files[annotationsFile], string(got)))
	}
	return len(before)
}

// loads reads the CSV as OLM's own tools do.
func loads(t *testing.T, dir string) *registry.ClusterServiceVersion {
	t.Helper()
	csv, err := registry.ReadCSVFromBundleDirectory(filepath.Join(dir, manifestsDir))
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	if _, err := csv.GetRelatedImages(); err != nil {
		t.Fatalf("load: %v", err)
	}
	return csv
}

// changes fails unless a customization changes nothing in a CSV but pull
// specs, and at most adds a list of related images.
func changes(t *testing.T, b *Bundle, customize func() error) {
	t.Helper()
	before := masked(t, b)
	if err := customize(); err != nil {
		t.Fatal(err)
	}
	for i, after := range masked(t, b) {
		from, to := 0, 0
		for from < min(len(before[i]), len(after)) && before[i][from] == after[from] {
			from++
		}
		for to < min(len(before[i]), len(after))-from && before[i][len(before[i])-1-to] == after[len(after)-1-to] {
			to++
		}
		if added := after[from : len(after)-to]; from+to < len(before[i]) || added != "" && !relatedImagesAdded.MatchString(added) {
			t.Errorf("more than pull specs changed:\n%s", cmp.Diff(strings.Split(before[i], "\n"), strings.Split(after, "\n")))
		}
	}
}

// relatedImagesAdded is a list of masked images; where it begins and ends is
// as uncertain as in every diff.
var relatedImagesAdded = regexp.MustCompile(`^[^\n]*relatedImages:\n(?: *- name: [^\n]+\n *image: "?` + mask + `"?\n)+ *[^\n]*$`)

const mask = "¤"

// masked returns the CSVs with every pull spec replaced by one character.
func masked(t *testing.T, b *Bundle) []string {
	t.Helper()
	csvs, err := b.CSVs()
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, c := range csvs {
		found, err := c.PullSpecs()
		if err != nil {
			t.Fatal(err)
		}
		var images []string
		for _, f := range found {
			images = append(images, f.Image, ParsePullSpec(f.Image).String())
		}
		sort.Slice(images, func(i, j int) bool { return len(images[i]) > len(images[j]) })
		var pairs []string
		for _, image := range images {
			pairs = append(pairs, image, mask)
		}
		texts = append(texts, strings.NewReplacer(pairs...).Replace(string(c.Bytes())))
	}
	return texts
}
