package main

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/sdk/catalog/catalogtest"
	"github.com/iib-engine/iib/sdk/image/imagetest"
)

// labelled pushes n versions of an operator; label tells for which OpenShift
// versions the i-th is, or returns "" for a bundle without such a label.
func (r *releases) labelled(operator, n int, label func(i int) string) (specs []string, list []catalogtest.Bundle) {
	r.t.Helper()
	for i, b := range catalogtest.Operator(11, operator, n) {
		labels := maps.Clone(b.Labels())
		if value := label(i); value != "" {
			labels["com.redhat.openshift.versions"] = value
		}
		specs = append(specs, r.push(fmt.Sprintf("%s:v%s", b.Package, b.Version), imagetest.Image{Labels: labels, Files: b.Files()}))
		list = append(list, b)
	}
	return specs, list
}

func everywhere(int) string { return "v4.5" }

// filled pushes an index of a kind with bundles in it, and returns it by tag.
func (r *releases) filled(name string, kind indexKind, bundles ...string) string {
	r.t.Helper()
	index := r.emptyIndex(name, kind, false)
	r.submit("add", map[string]any{"bundles": bundles, "from_index": index, "overwrite_from_index": true})
	return index
}

func mergeNames(kind indexKind) string {
	return strings.ReplaceAll(strings.ToLower(string(kind)), " ", "-")
}

func TestMergeAddsWhatOnlyTheTargetHas(t *testing.T) {
	t.Parallel()
	r := newReleases(t, startServer(t, ""))
	oneSpecs, one := r.labelled(3, 4, everywhere)
	twoSpecs, two := r.labelled(6, 2, everywhere)
	threeSpecs, three := r.labelled(9, 1, everywhere)
	for _, kinds := range [][2]indexKind{
		{fileBased, fileBased}, {withHidden, withHidden}, {sqliteKind, sqliteKind},
		{sqliteKind, fileBased}, {sqliteKind, withHidden}, {fileBased, withHidden}, {withHidden, fileBased},
	} {
		t.Run(fmt.Sprintf("%s into %s", kinds[0], kinds[1]), func(t *testing.T) {
			suffix := mergeNames(kinds[0]) + "-" + mergeNames(kinds[1])
			source := r.filled("source-"+suffix+":v4.14", kinds[0], append(slices.Clone(oneSpecs[:3]), threeSpecs...)...)
			target := r.filled("target-"+suffix+":v4.14", kinds[1], append(slices.Clone(oneSpecs), twoSpecs...)...)
			before := r.contents(target)
			build := r.submit("merge-index-image", map[string]any{"source_from_index": source, "target_index": target, "build_tags": []string{suffix}})
			image := build["index_image"].(string)
			if diff := cmp.Diff(names(one, two, three), r.contents(image)); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(before, r.contents(target)); diff != "" {
				t.Errorf("the target was changed: %s", diff)
			}
			for _, field := range []string{"source_from_index_resolved", "target_index_resolved", "binary_image_resolved"} {
				if value, _ := build[field].(string); !strings.Contains(value, "@sha256:") {
					t.Errorf("%s is %v", field, build[field])
				}
			}
			if build["distribution_scope"] != "prod" || build["binary_image"] != r.base {
				t.Errorf("scope %v on %v", build["distribution_scope"], build["binary_image"])
			}
			if kinds[0] != fileBased && kinds[1] != sqliteKind {
				if got := len(r.database(image, "/"+hiddenFile)); got != 7 {
					t.Errorf("the hidden database has %d bundles", got)
				}
			}
		})
	}
}

func TestMergeRefusesAFileBasedSourceForASQLiteTarget(t *testing.T) {
	r := newReleases(t, startServer(t, ""))
	source, target := r.emptyIndex("source:v4.14", fileBased, false), r.emptyIndex("target:v4.14", sqliteKind, false)
	build := r.attempt("merge-index-image", map[string]any{"source_from_index": source, "target_index": target})
	reason := fmt.Sprint(build["state_reason"])
	if build["state"] != "failed" || !strings.Contains(reason, source) || !strings.Contains(reason, target) {
		t.Errorf("%v: %s", build["state"], reason)
	}
}

func TestMergeDeprecatesWhatIsNotForTheTarget(t *testing.T) {
	r := newReleases(t, startServer(t, ""))
	// The two oldest of one operator are for v4.13 at most; the only one of the
	// other has no label.
	oldSpecs, old := r.labelled(3, 4, func(i int) string {
		if i < 2 {
			return "v4.5-v4.13"
		}
		return "v4.5"
	})
	bareSpecs, bare := r.labelled(6, 1, func(int) string { return "" })
	listedSpecs, listed := r.labelled(9, 3, everywhere)
	for _, kind := range []indexKind{fileBased, withHidden, sqliteKind} {
		t.Run(string(kind), func(t *testing.T) {
			source := r.filled("source-"+mergeNames(kind)+":v4.14", kind, slices.Concat(oldSpecs[:3], listedSpecs)...)
			target := r.filled("target-"+mergeNames(kind)+":v4.14", kind, slices.Concat(oldSpecs, bareSpecs)...)
			build := r.submit("merge-index-image", map[string]any{
				"source_from_index": source, "target_index": target, "deprecation_list": listedSpecs[:1],
			})
			if diff := cmp.Diff(names(old[2:], listed[1:]), r.contents(build["index_image"].(string))); diff != "" {
				t.Errorf("bundles without a label are not tolerated here, %s: %s", bare[0].Name, diff)
			}
		})
	}
}

func TestMergeOverwritesTheTargetAndKeepsEveryChange(t *testing.T) {
	r := newReleases(t, startServer(t, ""))
	oneSpecs, one := r.labelled(3, 1, everywhere)
	twoSpecs, two := r.labelled(6, 1, everywhere)
	source := r.filled("source:v4.14", withHidden, oneSpecs...)
	target := r.filled("target:v4.14", withHidden, twoSpecs...)
	want := names(one, two)
	var ids []any
	for i := range 4 {
		specs, list := r.labelled(100+3*i, 1, everywhere)
		maps.Copy(want, names(list))
		_, answer := r.post("/api/v1/builds/add", map[string]any{
			"bundles": specs, "from_index": target, "binary_image": r.base, "overwrite_from_index": true,
		})
		ids = append(ids, answer["id"])
		if i == 1 {
			_, answer = r.post("/api/v1/builds/merge-index-image", map[string]any{
				"source_from_index": source, "target_index": target, "binary_image": r.base,
				"overwrite_target_index": true, "overwrite_target_index_token": "robot:secret",
			})
			ids = append(ids, answer["id"])
		}
	}
	for _, id := range ids {
		if build := r.wait(id); build["state"] != "complete" || build["index_image"] != target {
			t.Errorf("request %v: %v %v", id, build["index_image"], build["state_reason"])
		}
	}
	if diff := cmp.Diff(want, r.contents(target)); diff != "" {
		t.Error(diff)
	}
}

func TestMergeKeepsOperatorsThatOptedIn(t *testing.T) {
	r := newReleases(t, startServer(t, ""))
	oneSpecs, one := r.labelled(3, 2, everywhere)
	twoSpecs, two := r.labelled(6, 1, everywhere)
	// A catalog that an owner wrote: no label of a bundle image allows it, and
	// no bundle image need exist.
	owned := func(index, name, version string) string {
		image := fmt.Sprintf("%s/none/%s@sha256:%064d", r.registry(), name, 1)
		text := fmt.Sprintf(`{"schema":"olm.package","name":%[1]q,"defaultChannel":"stable"}
{"schema":"olm.channel","package":%[1]q,"name":"stable","entries":[{"name":"%[1]s.v%[2]s"}]}
{"schema":"olm.bundle","package":%[1]q,"name":"%[1]s.v%[2]s","image":%[3]q,"properties":[{"type":"olm.package","value":{"packageName":%[1]q,"version":%[2]q}}]}
`, name, version, image)
		fragment := r.push("fragment-"+name+":v"+version, imagetest.Image{Files: map[string][]byte{"configs/" + name + "/catalog.json": []byte(text)}})
		r.submit("fbc-operations", map[string]any{"from_index": index, "fbc_fragments": []string{fragment}, "overwrite_from_index": true})
		return index
	}
	source := r.filled("source:v4.14", withHidden, oneSpecs...)
	target := r.filled("target:v4.14", withHidden, twoSpecs...)
	owned(source, "only-source", "1.0.0")
	owned(source, "both", "1.0.0")
	owned(target, "both", "2.0.0")
	owned(target, "only-target", "1.0.0")
	want := names(one, two)
	for _, name := range []string{"only-source.v1.0.0", "both.v2.0.0", "only-target.v1.0.0"} {
		pkg, _, _ := strings.Cut(name, ".")
		want[pkg] = []string{name}
	}
	build := r.submit("merge-index-image", map[string]any{"source_from_index": source, "target_index": target})
	image := build["index_image"].(string)
	if diff := cmp.Diff(want, r.contents(image)); diff != "" {
		t.Error(diff)
	}
	if got := len(r.database(image, "/"+hiddenFile)); got != 3 {
		t.Errorf("the hidden database has %d bundles", got)
	}
}

func TestMergeWithoutATargetWorksOnTheSourceAlone(t *testing.T) {
	r := newReleases(t, startServer(t, ""))
	specs, list := r.labelled(3, 2, func(i int) string { return []string{"=v4.5", "v4.5"}[i] })
	source := r.filled("source:v4.14", sqliteKind, specs...)
	build := r.submit("merge-index-image", map[string]any{"source_from_index": source})
	image := build["index_image"].(string)
	if diff := cmp.Diff(names(list[1:]), r.contents(image)); diff != "" {
		t.Error(diff)
	}
	info, err := r.pusher.Client.Inspect(t.Context(), image, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	if info.Labels[versionLabel] != "v4.6" || info.Labels[scopeLabel] != "prod" {
		t.Errorf("labels %v", info.Labels)
	}
}

// Two merges into one index, of which one lands first: the other one finds the
// bundles that both added under other pull specs than before.
func TestAMergeThatWasOvertakenByAMerge(t *testing.T) {
	t.Parallel()
	r := newReleases(t, startServer(t, ""))
	oneSpecs, one := r.labelled(3, 1, everywhere)
	twoSpecs, two := r.labelled(9, 1, everywhere)
	specs, list := r.labelled(6, 1, everywhere)
	sources := []string{r.filled("one:v4.14", fileBased, oneSpecs...), r.filled("two:v4.14", fileBased, twoSpecs...)}
	// The catalog names the bundle by the digest of its list.
	host, _, open := r.held(specs[0])
	_, digest, _ := strings.Cut(r.pinned(specs[0]), "@")
	text := fmt.Sprintf(`{"schema":"olm.package","name":%[1]q,"defaultChannel":"stable"}
{"schema":"olm.channel","package":%[1]q,"name":"stable","entries":[{"name":%[2]q}]}
{"schema":"olm.bundle","package":%[1]q,"name":%[2]q,"image":%[3]q,"properties":[{"type":"olm.package","value":{"packageName":%[1]q,"version":%[4]q}}]}
`, list[0].Package, list[0].Name, fmt.Sprintf("%s/release/%s@%s", host, list[0].Package, digest), list[0].Version)
	target := r.push("target:v4.14", imagetest.Image{
		Arches: imagetest.Arches, Labels: map[string]string{versionLabel: "v4.14", scopeLabel: "prod", configsLabel: "/configs"},
		Files: map[string][]byte{"configs/" + list[0].Package + "/catalog.json": []byte(text)},
	})
	var ids []any
	for _, source := range sources {
		status, answer := r.post("/api/v1/builds/merge-index-image", map[string]any{
			"source_from_index": source, "target_index": target, "binary_image": r.base,
			"overwrite_target_index": true, "overwrite_target_index_token": "robot:secret",
		})
		if status != http.StatusCreated {
			t.Fatalf("%d %v", status, answer)
		}
		ids = append(ids, answer["id"])
	}
	for _, id := range ids {
		r.awaitReason(id, "Adding 1 bundles that are missing")
	}
	open()
	for _, id := range ids {
		if build := r.wait(id); build["state"] != "complete" {
			t.Errorf("request %v: %v", id, build["state_reason"])
		}
	}
	if diff := cmp.Diff(names(one, two, list), r.contents(target)); diff != "" {
		t.Error(diff)
	}
}
