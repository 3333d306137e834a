package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/iib-engine/iib/sdk/catalog/catalogtest"
	"github.com/iib-engine/iib/sdk/image/imagetest"
)

type dryRun struct {
	Possible bool
	Problems []string
	Packages []map[string]any
}

// dryRun asks what a request would change.
func (r *releases) dryRun(requestType string, body map[string]any) dryRun {
	r.t.Helper()
	if body["binary_image"] == nil {
		body["binary_image"] = r.base
	}
	data, err := json.Marshal(body)
	if err != nil {
		r.t.Fatal(err)
	}
	status, _, answer := r.do(http.MethodPost, "/api/v1/builds/"+requestType+"?dry_run=true", string(data), nil)
	var found dryRun
	if err := json.Unmarshal(answer, &found); err != nil || status != http.StatusOK {
		r.t.Fatalf("%s: %d: %s", requestType, status, answer)
	}
	return found
}

// total is how many requests there are of a type.
func (r *releases) total(requestType string) int {
	r.t.Helper()
	_, data := r.get("/api/v1/builds?request_type=" + requestType)
	var answer struct{ Meta struct{ Total *int } }
	if err := json.Unmarshal(data, &answer); err != nil || answer.Meta.Total == nil {
		r.t.Fatalf("%v: %s", err, data)
	}
	return *answer.Meta.Total
}

// A dry run tells what the request then does, and leaves nothing behind.
func TestADryRunTellsWhatTheRequestThenDoes(t *testing.T) {
	t.Parallel()
	r := newReleases(t, startServer(t, ""))
	spec := catalogtest.Spec{Packages: 3, Bundles: 2, Text: 100}
	index := r.catalogIndex("index:v4.14", spec, "amd64")
	bundles, list := r.bundles(1, 3)
	d := readOpenAPI(t, r.process)
	merged, _ := r.labelled(5, 2, everywhere)
	source, target := r.filled("source:v4.14", fileBased, merged[0]), r.filled("target:v4.14", fileBased, merged...)
	more, _ := r.labelled(7, 2, everywhere)
	r.submit("add", map[string]any{"bundles": more, "from_index": source, "overwrite_from_index": true})
	fragment := r.push("fragment:v1", imagetest.Image{Files: map[string][]byte{"configs/fresh/catalog.json": []byte(
		`{"schema":"olm.package","name":"fresh","defaultChannel":"stable"}
{"schema":"olm.channel","package":"fresh","name":"stable","entries":[{"name":"fresh.v1.0.0"}]}
{"schema":"olm.bundle","package":"fresh","name":"fresh.v1.0.0","image":"registry.invalid/fresh:v1","properties":[{"type":"olm.package","value":{"packageName":"fresh","version":"1.0.0"}}]}
`)}})
	schema := fmt.Sprintf(`{"schema":"olm.deprecations","package":%q,"entries":[{"reference":{"schema":"olm.package"},"message":"use another"}]}`, spec.Name(1))

	for _, c := range []struct {
		requestType string
		body        map[string]any
		want        string
		// against is what the difference is from.
		against string
	}{
		{"add", map[string]any{"from_index": index, "bundles": bundles}, `"bundles_added"`, index},
		{"rm", map[string]any{"from_index": index, "operators": []string{spec.Name(0)}}, `"removed":true`, index},
		{"create-empty-index", map[string]any{"from_index": index, "output_fbc": true}, `"removed":true`, index},
		{"merge-index-image", map[string]any{"source_from_index": source, "target_index": target}, `"added":true`, target},
		{"fbc-operations", map[string]any{"from_index": index, "fbc_fragments": []string{fragment}}, `"fresh"`, index},
		{"add-deprecations", map[string]any{"from_index": index, "operator_package": spec.Name(1), "deprecation_schema": schema}, `"deprecations_added":[{"message":"use another","schema":"olm.package"}]`, index},
	} {
		t.Run(c.requestType, func(t *testing.T) {
			before := r.total(c.requestType)
			found := r.dryRun(c.requestType, c.body)
			data, _ := json.Marshal(found.Packages)
			if !found.Possible || len(found.Problems) != 0 || !strings.Contains(string(data), c.want) {
				t.Fatalf("%+v", found)
			}
			if c.requestType == "add" && (!strings.Contains(string(data), `"edges_added"`) || !strings.Contains(string(data), list[2].Version)) {
				t.Errorf("the edges and versions of an add: %s", data)
			}
			if after := r.total(c.requestType); after != before {
				t.Errorf("something is stored: %d requests, %d before", after, before)
			}
			built := r.submit(c.requestType, c.body)
			_, diff := r.post("/api/v1/builds/index-diff", map[string]any{"from_index": c.against, "to_index": built["index_image"]})
			r.wait(diff["id"])
			_, raw := r.get(fmt.Sprintf("/api/v1/builds/%v/index-diff", diff["id"]))
			var done struct{ Packages []map[string]any }
			if err := json.Unmarshal(raw, &done); err != nil {
				t.Fatalf("%v: %s", err, raw)
			}
			if !reflect.DeepEqual(done.Packages, found.Packages) {
				t.Errorf("the dry run told\n%v\nand the request did\n%v", found.Packages, done.Packages)
			}
		})
	}
	t.Run("every problem is told", func(t *testing.T) {
		found := r.dryRun("add", map[string]any{"from_index": index, "bundles": []string{
			r.registry() + "/release/missing-one:1", bundles[0], r.registry() + "/release/missing-two:1"}})
		text := strings.Join(found.Problems, "\n")
		if found.Possible || len(found.Problems) != 2 || !strings.Contains(text, "missing-one") || !strings.Contains(text, "missing-two") {
			t.Errorf("%+v", found)
		}
	})
	t.Run("a submission is judged as ever", func(t *testing.T) {
		status, answer := r.post("/api/v1/builds/add?dry_run=true", map[string]any{"from_index": index, "surprise": 1})
		if status != http.StatusBadRequest || !strings.Contains(fmt.Sprint(answer["error"]), "surprise") {
			t.Errorf("%d %v", status, answer)
		}
	})
	t.Run("what cannot be tried dry is refused and not done", func(t *testing.T) {
		for path, body := range map[string]string{
			"regenerate-bundle": `{"from_bundle_image":"q.invalid/b:1"}`,
			"add-rm-batch":      `{"build_requests":[{"operators":["a"],"from_index":"q.invalid/i:1","binary_image":"q.invalid/b:1"}]}`,
		} {
			status, answer := r.post("/api/v1/builds/"+path+"?dry_run=true", body)
			if status != http.StatusBadRequest || answer["field"] != "dry_run" {
				t.Errorf("%s: %d %v", path, status, answer)
			}
		}
		if _, data := r.get("/api/v1/builds?request_type=regenerate-bundle"); !strings.Contains(string(data), `"total":0`) {
			t.Errorf("something is stored: %s", data)
		}
	})
	t.Run("the answer is documented", func(t *testing.T) {
		body := fmt.Sprintf(`{"from_index":%q,"binary_image":%q,"operators":[%q]}`, index, r.base, spec.Name(1))
		call := contractCall{method: http.MethodPost, path: "/api/v1/builds/rm?dry_run=true", body: body}
		call.status, call.header, call.answer = r.do(call.method, call.path, body, nil)
		d.check(t, call)
	})
}
