package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/sdk/catalog/catalogtest"
	"github.com/iib-engine/iib/sdk/image/imagetest"
)

// catalogIndex pushes a file-based index with a generated catalog.
func (r *releases) catalogIndex(name string, spec catalogtest.Spec, arches ...string) string {
	r.t.Helper()
	files := make(map[string][]byte)
	catalog := spec.FS()
	for i := range spec.Packages {
		file := spec.Name(i) + "/catalog.json"
		data, err := fs.ReadFile(catalog, file)
		if err != nil {
			r.t.Fatal(err)
		}
		files["configs/"+file] = data
	}
	return r.push(name, imagetest.Image{Arches: arches, Files: files,
		Labels: map[string]string{versionLabel: "v4.14", scopeLabel: "prod", configsLabel: "/configs"}})
}

// tagPoint is what the API tells of a tag at a time.
type tagPoint struct {
	Digest  string
	Request int64
}

// tagHistory returns what a tag has been, oldest first.
func (r *releases) tagHistory(spec string) []tagPoint {
	r.t.Helper()
	var all []tagPoint
	for page := 1; ; page++ {
		status, data := r.get(fmt.Sprintf("/api/v1/tags/history?tag=%s&page=%d", url.QueryEscape(spec), page))
		var answer struct {
			Items []tagPoint
			More  bool `json:"has_additional"`
		}
		if err := json.Unmarshal(data, &answer); err != nil || status != http.StatusOK {
			r.t.Fatalf("the history of %s: %d %s", spec, status, data)
		}
		all = append(all, answer.Items...)
		if !answer.More {
			slices.Reverse(all)
			return all
		}
	}
}

// Fifty requests, adds and removes of different packages, overwrite one index
// at the same time: none is lost, and each is a step of the tag's history.
func TestFiftyRequestsAtOnceAllLand(t *testing.T) {
	const each = 25
	r := newReleases(t, startServer(t, ""))
	spec := catalogtest.Spec{Packages: each, Bundles: 1, Text: 100}
	index := r.catalogIndex("index:v4.14", spec, "amd64", "s390x")
	before := r.tagHistory(index)
	want := make(map[string][]string)
	var bodies []map[string]any
	for i := range each {
		b := catalogtest.Bundle{
			Package: fmt.Sprintf("added-%02d", i), Name: fmt.Sprintf("added-%02d.v1.0.0", i), Version: "1.0.0",
			Channels: []string{"stable"}, DefaultChannel: "stable",
		}
		want[b.Package] = []string{b.Name}
		bundle := r.push(b.Package+":v1", imagetest.Image{Labels: b.Labels(), Files: b.Files()})
		bodies = append(bodies, map[string]any{"bundles": []string{bundle}}, map[string]any{"operators": []string{spec.Name(i)}})
	}
	var ids []int64
	for _, body := range bodies {
		requestType := "add"
		if body["operators"] != nil {
			requestType = "rm"
		}
		maps.Copy(body, map[string]any{"from_index": index, "binary_image": r.base, "overwrite_from_index": true})
		status, answer := r.post("/api/v1/builds/"+requestType, body)
		if status != http.StatusCreated {
			t.Fatalf("%d %v", status, answer)
		}
		ids = append(ids, int64(answer["id"].(float64)))
	}
	digests := make(map[int64]string)
	for _, id := range ids {
		build := r.wait(id)
		if build["state"] != "complete" || build["index_image"] != index {
			t.Errorf("request %d: %v %v", id, build["index_image"], build["state_reason"])
			continue
		}
		_, digests[id], _ = strings.Cut(build["index_image_resolved"].(string), "@")
	}
	if diff := cmp.Diff(want, r.contents(index)); diff != "" {
		t.Error(diff)
	}
	// The registry's own account: every request moved the tag, each once.
	moves := r.tagHistory(index)[len(before):]
	if len(moves) != len(ids) {
		t.Errorf("the tag was moved %d times by %d requests", len(moves), len(ids))
	}
	seen := make(map[string]bool)
	for _, m := range moves {
		seen[m.Digest] = true
	}
	for id, digest := range digests {
		if !seen[digest] {
			t.Errorf("request %d is complete with %s, which the tag never was", id, digest)
		}
		delete(seen, digest)
	}
	if len(seen) > 0 {
		t.Errorf("the tag was also %v", slices.Sorted(maps.Keys(seen)))
	}
}

// held puts a door before the embedded registry that lets nobody read the
// layers of an image until it is opened. It tells when somebody waits.
func (r *releases) held(spec string) (host string, waits <-chan struct{}, open func()) {
	r.t.Helper()
	target, err := url.Parse(r.url)
	if err != nil {
		r.t.Fatal(err)
	}
	info, err := r.pusher.Client.Inspect(r.t.Context(), spec, "")
	if err != nil {
		r.t.Fatal(err)
	}
	isLayer := func(path string) bool {
		for _, l := range info.Layers {
			if strings.HasSuffix(path, "/blobs/"+string(l.Digest)) {
				return true
			}
		}
		return false
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(target) }}
	reached, opened := make(chan struct{}), make(chan struct{})
	var once sync.Once
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if request.Method == http.MethodGet && isLayer(request.URL.Path) {
			once.Do(func() { close(reached) })
			select {
			case <-opened:
			case <-request.Context().Done():
				return
			}
		}
		proxy.ServeHTTP(w, request)
	}))
	open = sync.OnceFunc(func() { close(opened) })
	r.t.Cleanup(func() { open(); server.Close() })
	return strings.TrimPrefix(server.URL, "http://"), reached, open
}

// await waits until something has happened, but not for ever.
func await(t testing.TB, happened <-chan struct{}) {
	t.Helper()
	for range poll(t) {
		select {
		case <-happened:
			return
		default:
		}
	}
}

// Two requests edit one package in ways that cannot both hold: the later one is
// told which package and which request.
func TestATrueConflictNamesThePackageAndTheOtherRequest(t *testing.T) {
	r := newReleases(t, startServer(t, ""))
	for i, kind := range []indexKind{fileBased, withHidden, sqliteKind} {
		t.Run(string(kind), func(t *testing.T) {
			specs, list := r.bundles(i, 2)
			first, second, pkg := specs[0], specs[1], list[0].Package
			index := r.filled("conflict-"+mergeNames(kind)+":v4.14", kind, first)
			// The second version reaches the first one in its graph: the request is
			// held when it has resolved the index and reads the bundle.
			host, waits, open := r.held(second)
			status, late := r.post("/api/v1/builds/add", map[string]any{
				"bundles": []string{strings.Replace(second, r.registry(), host, 1)}, "from_index": index,
				"binary_image": r.base, "overwrite_from_index": true,
			})
			if status != http.StatusCreated {
				t.Fatalf("%d %v", status, late)
			}
			await(t, waits)
			other := r.submit("rm", map[string]any{"operators": []string{pkg}, "from_index": index, "overwrite_from_index": true})
			open()
			failed := r.wait(late["id"])
			reason := fmt.Sprint(failed["state_reason"])
			if failed["state"] != "failed" {
				t.Fatalf("%v: %s", failed["state"], reason)
			}
			for _, word := range []string{pkg, fmt.Sprintf("request %v ", other["id"]), index} {
				if !strings.Contains(reason, word) {
					t.Errorf("%q does not tell %q", reason, word)
				}
			}
			if diff := cmp.Diff(map[string][]string{}, r.contents(index)); diff != "" {
				t.Errorf("the index was changed: %s", diff)
			}
		})
	}
}
