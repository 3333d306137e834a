package main

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/sdk/catalog/catalogtest"
	"github.com/iib-engine/iib/sdk/image/imagetest"
	"github.com/iib-engine/iib/sdk/sdktest/loopback"
)

func TestBackportedBundlesReachTheApplicationRegistry(t *testing.T) {
	t.Parallel()
	own := loopback.Address(t)
	shipped, err := os.ReadFile("../../../iib.hcl")
	if err != nil {
		t.Fatal(err)
	}
	const block = "plugin \"index-add\" {\n  kind = \"handler\"\n"
	if !strings.Contains(string(shipped), block) {
		t.Fatal("the shipped configuration has no such block")
	}
	config := strings.Replace(string(shipped), block, block+fmt.Sprintf(`  config {
    omps {
      url            = "http://%s/v2/"
      index_versions = ["v4.14"]
    }
  }
`, own), 1) + fmt.Sprintf(pushService, own, filepath.Join(shortDir(t), "omps.sock"))
	r := newReleases(t, startWith(t, config, t.TempDir()))
	registry := &pusher{t: t, base: "http://" + own, client: http.DefaultClient, auth: "basic dXNlcjpwYXNzd29yZA=="}

	specs, want, pkg := r.backported(1, 3, "true")
	for i, kind := range []indexKind{fileBased, sqliteKind} {
		t.Run(fmt.Sprintf("%s index: the package is pulled as it was released", kind), func(t *testing.T) {
			index := r.emptyIndex(fmt.Sprintf("legacy-%d:v4.14", i), kind, false)
			build := r.submit("add", map[string]any{"bundles": specs, "from_index": index, "organization": "legacy", "cnr_token": registry.auth})
			version := fmt.Sprintf("%d.0.0", i+1)
			if got := build["omps_operator_version"]; !cmp.Equal(got, any(map[string]any{pkg: version})) {
				t.Fatalf("omps_operator_version is %v", got)
			}
			_, data := registry.do(http.MethodGet, "/cnr/api/v1/packages/legacy/"+pkg+"/"+version+"/helm/pull", "", nil)
			got := untar(t, data)
			if !strings.Contains(got["package.yaml"], "packageName: "+pkg) || !strings.Contains(got["package.yaml"], "currentCSV: ") {
				t.Errorf("package.yaml is %s", got["package.yaml"])
			}
			delete(got, "package.yaml")
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	index := r.emptyIndex("legacy:v4.14", fileBased, false)
	t.Run("without a token the request fails before anything is built", func(t *testing.T) {
		build := r.attempt("add", map[string]any{"bundles": specs, "from_index": index, "organization": "legacy"})
		if build["state"] != "failed" || !strings.Contains(build["state_reason"].(string), pkg) || !strings.Contains(build["state_reason"].(string), "cnr_token") || build["index_image"] != nil {
			t.Errorf("%v: %v", build["state"], build["state_reason"])
		}
	})
	plain, _, plainPackage := r.backported(2, 1, "false")
	t.Run("a bundle whose label says false is not exported", func(t *testing.T) {
		build := r.submit("add", map[string]any{"bundles": plain, "from_index": index, "organization": "legacy", "cnr_token": registry.auth})
		if got := build["omps_operator_version"]; !cmp.Equal(got, any(map[string]any{})) {
			t.Errorf("omps_operator_version is %v", got)
		}
	})
	t.Run("it is when that is forced", func(t *testing.T) {
		build := r.submit("add", map[string]any{"bundles": plain, "from_index": index, "organization": "legacy", "cnr_token": registry.auth, "force_backport": true})
		if got := build["omps_operator_version"]; !cmp.Equal(got, any(map[string]any{plainPackage: "1.0.0"})) {
			t.Errorf("omps_operator_version is %v", got)
		}
	})
	t.Run("what the push service refuses fails the request with its words", func(t *testing.T) {
		build := r.attempt("add", map[string]any{"bundles": plain, "from_index": index, "organization": "-", "cnr_token": registry.auth, "force_backport": true})
		if reason := fmt.Sprint(build["state_reason"]); build["state"] != "failed" || !strings.Contains(reason, "organization - of the legacy application registry") {
			t.Errorf("%v: %s", build["state"], reason)
		}
	})
	t.Run("the token is nowhere", func(t *testing.T) {
		if strings.Contains(r.stderr.String(), "dXNlcjpwYXNzd29yZA") {
			t.Error("it is in the log")
		}
	})
}

// TestWithoutAPushServiceNothingIsExported is how an engine answers clients that
// still send the legacy parameters: it takes them, says so, and does the rest.
func TestWithoutAPushServiceNothingIsExported(t *testing.T) {
	t.Parallel()
	r := newReleases(t, startServer(t, ""))
	specs, _, _ := r.backported(1, 1, "true")
	index := r.emptyIndex("ignored:v4.5", fileBased, false)
	build := r.submit("add", map[string]any{"bundles": specs, "from_index": index, "organization": "legacy", "cnr_token": "basic dXNlcjpwYXNzd29yZA==", "force_backport": true})
	if got := build["omps_operator_version"]; !cmp.Equal(got, any(map[string]any{})) {
		t.Errorf("omps_operator_version is %v", got)
	}
	if _, log := r.get(fmt.Sprintf("/api/v1/builds/%v/logs", build["id"])); !strings.Contains(string(log), "force_backport is ignored") {
		t.Errorf("the log does not say that: %s", log)
	}
}

// backported pushes versions of an operator that are marked for the legacy
// application registry, and returns the files that it shall have.
func (r *releases) backported(operator, n int, label string) (specs []string, files map[string]string, pkg string) {
	r.t.Helper()
	files = make(map[string]string)
	for _, b := range catalogtest.Operator(11, operator, n) {
		labels := maps.Clone(b.Labels())
		labels["com.redhat.delivery.backport"] = label
		specs = append(specs, r.push(fmt.Sprintf("legacy-%s:v%s", b.Package, b.Version), imagetest.Image{Labels: labels, Files: b.Files()}))
		for _, name := range slices.Sorted(maps.Keys(b.Files())) {
			if manifest, ok := strings.CutPrefix(name, "manifests/"); ok {
				files[b.Version+"/"+manifest] = string(b.Files()[name])
			}
		}
		pkg = b.Package
	}
	return specs, files, pkg
}
