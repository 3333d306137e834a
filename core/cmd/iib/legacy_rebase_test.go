package main

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/sdk/catalog/catalogtest"
	"github.com/iib-engine/iib/sdk/image/imagetest"
)

// oldService plays the push service of old for the legacy export: it numbers
// what is pushed, and a test may hold a push back or have it refused.
type oldService struct {
	t testing.TB

	mu sync.Mutex
	// pushes are the archives' files, and organizations where they went.
	pushes        [][]string
	organizations []string
	refusal       canned
	// arrived gets every push; it is held until the test lets it go on. Nil
	// holds nothing.
	arrived chan chan struct{}
}

func (o *oldService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	file, header, err := r.FormFile("file")
	if err != nil || r.Method != http.MethodPost || r.Header.Get("Authorization") != "basic verbatim==" || header.Filename != "manifests.zip" {
		o.t.Errorf("%s %s: %v", r.Method, r.URL, err)
		return
	}
	data, err := io.ReadAll(file)
	if err != nil {
		o.t.Error(err)
	}
	archive, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		o.t.Error(err)
		return
	}
	var names []string
	for _, f := range archive.File {
		names = append(names, f.Name)
	}
	o.mu.Lock()
	arrived, refusal := o.arrived, o.refusal
	if refusal.status == 0 {
		o.pushes = append(o.pushes, names)
		o.organizations = append(o.organizations, r.URL.Path)
	}
	number := len(o.pushes)
	o.mu.Unlock()
	if arrived != nil {
		goOn := make(chan struct{})
		select {
		case arrived <- goOn:
			<-goOn
		case <-r.Context().Done():
			return
		}
	}
	if refusal.status != 0 {
		refusal.write(w)
		return
	}
	canned{200, fmt.Sprintf(`{"organization": "o", "repo": "r", "version": "%d.0.0", "extracted_files": []}`, number)}.write(w)
}

// set changes how pushes are answered from now on.
func (o *oldService) set(hold bool, refusal canned) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.arrived, o.refusal = nil, refusal
	if hold {
		o.arrived = make(chan chan struct{})
	}
}

// taken returns what was pushed since the last time.
func (o *oldService) taken() (pushes [][]string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	pushes, o.pushes = o.pushes, nil
	return pushes
}

// versionsIn are the directories of an archive, package.yaml left out.
func versionsIn(names []string) []string {
	var versions []string
	for _, name := range names {
		if dir, _, found := strings.Cut(name, "/"); found {
			versions = append(versions, dir)
		}
	}
	return slices.Compact(versions)
}

// firstMarked pushes the versions of an operator; the backport label of the first
// says true.
func (r *releases) firstMarked(operator, n int) (specs []string, pkg string, versions []string) {
	r.t.Helper()
	for i, b := range catalogtest.Operator(11, operator, n) {
		labels := maps.Clone(b.Labels())
		if i == 0 {
			labels["com.redhat.delivery.backport"] = "true"
		}
		specs = append(specs, r.push(fmt.Sprintf("marked-%s:v%s", b.Package, b.Version), imagetest.Image{Labels: labels, Files: b.Files()}))
		pkg, versions = b.Package, append(versions, b.Version)
	}
	return specs, pkg, versions
}

// digest is what a tag is now.
func (r *releases) digest(spec string) string {
	r.t.Helper()
	history := r.tagHistory(spec)
	return history[len(history)-1].Digest
}

func TestTheLegacyExportFollowsTheIndexThatMoves(t *testing.T) {
	t.Parallel()
	old := &oldService{t: t}
	service := httptest.NewServer(old)
	t.Cleanup(service.Close)
	shipped, err := os.ReadFile("../../../iib.hcl")
	if err != nil {
		t.Fatal(err)
	}
	const block = "plugin \"index-add\" {\n  kind = \"handler\"\n"
	config := strings.Replace(string(shipped), block, block+fmt.Sprintf("  config {\n    omps {\n      url = \"%s/v2/\"\n      index_versions = [\"v4.14\"]\n    }\n  }\n", service.URL), 1)
	if config == string(shipped) {
		t.Fatal("the shipped configuration has no such block")
	}
	r := newReleases(t, startWith(t, config, t.TempDir()))
	legacy := func(index string, specs ...string) map[string]any {
		return map[string]any{"bundles": specs, "from_index": index, "binary_image": r.base, "organization": "o", "cnr_token": "basic verbatim==", "overwrite_from_index": true}
	}
	// meanwhile submits a request whose push is held, does something, and lets
	// it go on.
	meanwhile := func(body map[string]any, do func()) map[string]any {
		old.set(true, canned{})
		arrived := old.arrived
		status, answer := r.post("/api/v1/builds/add", body)
		if status != http.StatusCreated {
			t.Fatalf("%d %v", status, answer)
		}
		var goOn chan struct{}
		select {
		case goOn = <-arrived:
		case <-time.After(2 * time.Minute):
			_, build := r.get(fmt.Sprintf("/api/v1/builds/%v", answer["id"]))
			t.Fatalf("nothing was pushed: %s", build)
		}
		do()
		old.set(false, canned{})
		close(goOn)
		return r.wait(answer["id"])
	}
	complete := func(t *testing.T, build map[string]any, pkg, version string) {
		t.Helper()
		if build["state"] != "complete" || !cmp.Equal(build["omps_operator_version"], any(map[string]any{pkg: version})) {
			t.Fatalf("%v: %v, omps_operator_version %v", build["state"], build["state_reason"], build["omps_operator_version"])
		}
	}

	plain, _ := r.bundles(6, 1)
	others, otherPackage, _ := r.firstMarked(5, 1)
	t.Run("by another package: it is not pushed again", func(t *testing.T) {
		index := r.emptyIndex("moved-a:v4.14", fileBased, false)
		specs, pkg, versions := r.firstMarked(1, 2)
		before := r.digest(index)
		build := meanwhile(legacy(index, specs...), func() {
			if now := r.digest(index); now != before {
				t.Error("the index was overwritten before the export")
			}
			r.submit("add", map[string]any{"bundles": plain, "from_index": index, "overwrite_from_index": true})
			if now := r.digest(index); now == before {
				t.Error("the index did not move")
			}
		})
		complete(t, build, pkg, "1.0.0")
		pushes := old.taken()
		if len(pushes) != 1 || !cmp.Equal(versionsIn(pushes[0]), versions) || !slices.Contains(pushes[0], "package.yaml") {
			t.Errorf("pushed %v, want once %v", pushes, versions)
		}
		if got := r.contents(index); len(got[pkg]) != 2 {
			t.Error(got)
		}
	})
	t.Run("by the same package: what the index has at last is pushed", func(t *testing.T) {
		index := r.emptyIndex("moved-b:v4.14", fileBased, false)
		specs, pkg, versions := r.firstMarked(2, 3)
		first := legacy(index, specs[:2]...)
		build := r.attempt("add", first)
		complete(t, build, pkg, "1.0.0")
		old.taken()
		build = meanwhile(legacy(index, specs[:2]...), func() {
			// The third one's label does not say true, so nothing is exported.
			r.submit("add", map[string]any{"bundles": specs[2:], "from_index": index, "overwrite_from_index": true})
		})
		pushes := old.taken()
		if len(pushes) != 2 || !cmp.Equal(versionsIn(pushes[0]), versions[:2]) || !cmp.Equal(versionsIn(pushes[1]), versions) {
			t.Fatalf("pushed %v, want %v, then %v", pushes, versions[:2], versions)
		}
		complete(t, build, pkg, "2.0.0")
		if got := r.contents(index); len(got[pkg]) != 3 {
			t.Error(got)
		}
	})
	t.Run("a refusal fails the request, and the index stays", func(t *testing.T) {
		index := r.emptyIndex("refused:v4.14", fileBased, false)
		specs, _, _ := r.firstMarked(3, 1)
		before := r.digest(index)
		old.set(false, canned{400, `{"status": 400, "error": "PackageValidationError", "message": "bundle is invalid, they say", "validation_info": {}}`})
		build := r.attempt("add", legacy(index, specs...))
		old.set(false, canned{})
		if reason := fmt.Sprint(build["state_reason"]); build["state"] != "failed" || !strings.Contains(reason, "organization o ") || !strings.Contains(reason, "bundle is invalid, they say") || !cmp.Equal(build["omps_operator_version"], any(map[string]any{})) {
			t.Errorf("%v: %s, omps_operator_version %v", build["state"], reason, build["omps_operator_version"])
		}
		if now := r.digest(index); now != before {
			t.Error("the index was overwritten")
		}
	})
	t.Run("what is missing is told before anything is built or pushed", func(t *testing.T) {
		index := r.emptyIndex("missing:v4.14", fileBased, false)
		before := r.digest(index)
		for _, missing := range []string{"organization", "cnr_token"} {
			body := legacy(index, others...)
			delete(body, missing)
			build := r.attempt("add", body)
			reason := fmt.Sprint(build["state_reason"])
			if build["state"] != "failed" || !strings.Contains(reason, otherPackage) || !strings.Contains(reason, missing) || build["index_image"] != nil {
				t.Errorf("without %s: %v: %s", missing, build["state"], reason)
			}
			states, _ := r.stateHistory(int64(build["id"].(float64)))
			for _, state := range states {
				if strings.Contains(state, "Building") {
					t.Errorf("without %s there is the state %q", missing, state)
				}
			}
		}
		if pushes := old.taken(); len(pushes) != 0 || r.digest(index) != before {
			t.Errorf("pushed %v", pushes)
		}
	})
	t.Run("the states tell what is forced and pushed", func(t *testing.T) {
		index := r.emptyIndex("forced:v4.14", fileBased, false)
		specs, pkg, _ := r.firstMarked(4, 2)
		body := legacy(index, specs[0], others[0])
		body["force_backport"] = true
		build := r.attempt("add", body)
		if build["state"] != "complete" || len(build["omps_operator_version"].(map[string]any)) != 2 {
			t.Fatalf("%v: %v, %v", build["state"], build["state_reason"], build["omps_operator_version"])
		}
		states, _ := r.stateHistory(int64(build["id"].(float64)))
		for _, want := range []string{"is forced", pkg, otherPackage} {
			if !strings.Contains(strings.Join(states, "\n"), want) {
				t.Errorf("no %q in the states %q", want, states)
			}
		}
		for _, state := range states {
			if strings.Contains(state, "verbatim") {
				t.Errorf("the token is in %q", state)
			}
		}
	})
}
