package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// methodsAndHeads checks HEAD and OPTIONS (section 1).
func (c *contract) methodsAndHeads(t *testing.T) {
	for path, allow := range map[string]string{
		"/builds": "GET, HEAD, OPTIONS", "/builds/1": "GET, HEAD, OPTIONS, PATCH", "/builds/1/logs": "GET, HEAD, OPTIONS",
		"/builds/add": "OPTIONS, POST", "/builds/add-rm-batch": "OPTIONS, POST", "/healthcheck": "GET, HEAD, OPTIONS",
		"/builds/1/nested-bundles": "GET, HEAD, OPTIONS", "/builds/1/related_bundles": "GET, HEAD, OPTIONS",
		"/builds/1/deprecation-schema": "GET, HEAD, OPTIONS",
	} {
		status, header, body := c.p.do(http.MethodOptions, "/api/v1"+path, "", nil)
		if status != http.StatusOK || len(body) != 0 || header.Get("Allow") != allow {
			t.Errorf("OPTIONS %s: %d, Allow %q, %q", path, status, header.Get("Allow"), body)
		}
		if status, header, _ := c.p.do("BREW", "/api/v1"+path, "", nil); status != http.StatusMethodNotAllowed || header.Get("Allow") != allow {
			t.Errorf("BREW %s: %d, Allow %q", path, status, header.Get("Allow"))
		}
	}
	if status, _, _ := c.p.do(http.MethodOptions, "/api/v1/surprise", "", nil); status != http.StatusNotFound {
		t.Errorf("OPTIONS of an unknown path: %d", status)
	}
	for _, path := range []string{"/builds", "/builds/1", "/builds/99999999", "/builds?state=x", "/builds/1/logs", "/healthcheck", "/builds/1/surprise"} {
		status, header, body := c.p.do(http.MethodHead, "/api/v1"+path, "", nil)
		want, wantHeader, _ := c.p.do(http.MethodGet, "/api/v1"+path, "", nil)
		if status != want || len(body) != 0 || header.Get("Content-Type") != wantHeader.Get("Content-Type") {
			t.Errorf("HEAD %s: %d %q, GET: %d %q", path, status, header.Get("Content-Type"), want, wantHeader.Get("Content-Type"))
		}
	}
}

type listPage struct {
	Items []struct {
		ID      int64
		History []any `json:"state_history"`
	}
	Meta struct {
		First, Last             string
		Next, Previous          *string
		Page, Pages, Total, Per int
	}
}

// pages walks a filtered list by its links (section 4.1).
func (c *contract) pages(t *testing.T) {
	read := func(address string) (page listPage) {
		t.Helper()
		status, data := c.p.get(strings.TrimPrefix(address, c.p.url))
		if err := json.Unmarshal(data, &page); err != nil || status != http.StatusOK {
			t.Fatalf("%s: %d: %s", address, status, data)
		}
		return page
	}
	query := "per_page=7&verbose=TRUE&request_type=rm&user=jane%40DOMAIN.LOCAL&from_index=q.invalid%2Fi%3A1&surprise=1"
	page := read("/api/v1/builds?" + query)
	var previous int64 = 1 << 62
	seen := 0
	for number := 1; ; number++ {
		m := page.Meta
		if m.Page != number || m.Pages != (m.Total+6)/7 {
			t.Fatalf("page %d: %+v", number, m)
		}
		for name, link := range map[string]string{"first": m.First, "last": m.Last} {
			address, err := url.Parse(link)
			if err != nil {
				t.Fatal(err)
			}
			want := url.Values{"page": {"1"}, "per_page": {"7"}, "verbose": {"true"}, "request_type": {"rm"}, "user": {jane}, "from_index": {"q.invalid/i:1"}}
			if name == "last" {
				want.Set("page", fmt.Sprint(m.Pages))
			}
			if got := address.Query(); got.Encode() != want.Encode() || !strings.HasPrefix(link, c.p.url+"/api/v1/builds?") {
				t.Errorf("%s is %s", name, link)
			}
		}
		if (m.Previous == nil) != (number == 1) || (m.Next == nil) != (number == m.Pages) {
			t.Errorf("page %d of %d: next %v, previous %v", number, m.Pages, m.Next, m.Previous)
		}
		for _, item := range page.Items {
			if item.ID >= previous || len(item.History) == 0 {
				t.Errorf("build %d comes after %d, with a history of %d", item.ID, previous, len(item.History))
			}
			previous = item.ID
			seen++
		}
		if m.Next == nil {
			break
		}
		page = read(*m.Next)
	}
	if seen != page.Meta.Total || page.Meta.Pages < 3 {
		t.Errorf("saw %d of %d on %d pages", seen, page.Meta.Total, page.Meta.Pages)
	}
	// The same, below IDs.
	below, last := 0, previous
	previous = 1 << 62
	for next := c.p.url + "/api/v1/builds?" + query + "&before=" + fmt.Sprint(previous); ; {
		page := read(next)
		for _, item := range page.Items {
			if item.ID >= previous || len(item.History) == 0 {
				t.Errorf("build %d comes after %d, with a history of %d", item.ID, previous, len(item.History))
			}
			previous = item.ID
			below++
		}
		if page.Meta.Page != 0 || page.Meta.Previous != nil || page.Meta.Total != seen {
			t.Errorf("a page below an ID is described as %+v", page.Meta)
		}
		if page.Meta.Next == nil {
			break
		}
		next = *page.Meta.Next
	}
	if below != seen || previous != last {
		t.Errorf("saw %d of %d below IDs, down to %d", below, seen, previous)
	}
}

// nothingIsLeftOfRefused checks that a refused submission stores nothing, and
// that builds and batches are numbered independently (sections 0.3, 2.11, 3.9).
func (c *contract) nothingIsLeftOfRefused(t *testing.T) {
	const item = `{"operators":["a"],"from_index":"q.invalid/i:1","binary_image":"q.invalid/bin:1"}`
	submit := func(body string) (int, []struct{ ID, Batch int64 }) {
		status, _, data := c.p.do(http.MethodPost, "/api/v1/builds/add-rm-batch", body, map[string]string{identityHeader: jane})
		var builds []struct{ ID, Batch int64 }
		_ = json.Unmarshal(data, &builds)
		return status, builds
	}
	_, before := submit(`{"build_requests":[` + item + `,` + item + `]}`)
	if status, _ := submit(`{"build_requests":[` + item + `,` + item + `,{"operators":["a"]}]}`); status != http.StatusBadRequest {
		t.Fatalf("got %d", status)
	}
	_, after := submit(`{"build_requests":[` + item + `,` + item + `]}`)
	if len(before) != 2 || len(after) != 2 || before[0].Batch != before[1].Batch {
		t.Fatalf("%v, %v", before, after)
	}
	if after[0].ID != before[1].ID+1 || after[1].ID != after[0].ID+1 || after[0].Batch != before[0].Batch+1 || after[0].ID == after[0].Batch {
		t.Errorf("before %v, after %v", before, after)
	}
}

// artifacts checks the files that finished builds leave behind, until they
// expire (section 4.3).
func (c *contract) artifacts(t *testing.T, config string) {
	file := func(id, name string) string {
		return filepath.Join(c.p.dataDir, "artifacts", "0", id, name)
	}
	end := func(id string) {
		t.Helper()
		status, _, data := c.p.do(http.MethodPatch, "/api/v1/builds/"+id, `{"state":"failed","state_reason":"the test ends it"}`, map[string]string{identityHeader: worker})
		if status != http.StatusOK {
			t.Fatalf("%d: %s", status, data)
		}
	}
	want := func(rule, path string, status int, media, body string) {
		t.Helper()
		got, header, data := c.p.do(http.MethodGet, "/api/v1/builds/"+path, "", nil)
		if got != status || header.Get("Content-Type") != media || body != "" && string(data) != body {
			t.Errorf("%s: %s: %d %s: %s", rule, path, got, header.Get("Content-Type"), data)
		}
		if status >= 400 && errorOf(data) == "" {
			t.Errorf("%s: %s has no error: %s", rule, path, data)
		}
	}
	want("the schema verbatim", c.vars["deprecations"]+"/deprecation-schema", 200, "application/json", `{"a": 1 }`)
	for _, a := range []struct{ id, path, name, media, body string }{
		{c.vars["bundle"], "related_bundles", "related_bundles.artifact", "application/json", "[\"q/b:1\"]\n"},
		{c.vars["nested"], "nested-bundles", "recursive_related_bundles.artifact", "application/json", "[]"},
		{c.vars["legacy"], "logs", "request.log", "text/plain; charset=utf-8", "one line\n"},
		{c.vars["rm"], "logs", "request.log", "text/plain; charset=utf-8", ""},
	} {
		end(a.id)
		_ = os.Remove(file(a.id, a.name))
		want("the file is missing", a.id+"/"+a.path, 500, "application/json", "")
		if err := os.MkdirAll(filepath.Dir(file(a.id, a.name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file(a.id, a.name), []byte(a.body), 0o600); err != nil {
			t.Fatal(err)
		}
		want("the file is there", a.id+"/"+a.path, 200, a.media, a.body)
	}
	// A file that nobody has removed yet is served even if it has expired.
	c.p.reload(config + "artifacts { keep = \"1ms\" }\n")
	for _, a := range []struct{ id, path, name, media, body string }{
		{c.vars["bundle"], "related_bundles", "related_bundles.artifact", "application/json", "[\"q/b:1\"]\n"},
		{c.vars["legacy"], "logs", "request.log", "text/plain; charset=utf-8", "one line\n"},
	} {
		got, _, _ := c.p.do(http.MethodGet, "/api/v1/builds/"+a.id+"/"+a.path, "", nil)
		if got != 200 && got != 410 { // the engine may have removed it
			t.Errorf("%s of %s: %d", a.path, a.id, got)
		}
		_ = os.Remove(file(a.id, a.name))
		want("expired and removed", a.id+"/"+a.path, 410, "application/json", "")
	}
	want("parameters do not expire", c.vars["deprecations"]+"/deprecation-schema", 200, "application/json", `{"a": 1 }`)
}
