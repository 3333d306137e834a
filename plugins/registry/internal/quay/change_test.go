package quay_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
)

// means fails unless a tag means a manifest.
func (r *registry) means(tag string, d digest.Digest) {
	r.t.Helper()
	resp, err := http.Head(r.url + "/v2/" + repo + "/manifests/" + tag)
	if err != nil {
		r.t.Fatal(err)
	}
	resp.Body.Close()
	if got := resp.Header.Get("Docker-Content-Digest"); got != d.String() {
		r.t.Errorf("%s means %s, want %s", tag, got, d)
	}
}

func TestChange(t *testing.T) {
	t.Run("creates and moves", func(t *testing.T) {
		r := newRegistry(t)
		a, b := r.push("a", "a"), r.push("b", "b")
		if got := r.want(http.StatusCreated, "writer", "PUT", tag("new"), named(a)); got != `"Updated"` {
			t.Errorf("answer %s", got)
		}
		r.means("new", a)
		r.want(http.StatusCreated, "writer", "PUT", tag("new"), named(b))
		r.means("new", b)
	})
	t.Run("does nothing for an empty object, and ignores what it does not know", func(t *testing.T) {
		r := newRegistry(t)
		a := r.push("a", "v1")
		r.want(http.StatusCreated, "writer", "PUT", tag("v1"), `{}`)
		r.want(http.StatusCreated, "writer", "PUT", tag("v1"), `{"image": "x", "other": [1]}`)
		r.want(http.StatusCreated, "writer", "PUT", tag("absent"), `{}`)
		if names, _ := r.list(""); len(names) != 1 {
			t.Errorf("rows: %v", names)
		}
		r.means("v1", a)
	})
	t.Run("sets, bounds and clears an expiration", func(t *testing.T) {
		r := newRegistry(t)
		r.push("a", "v1")
		for _, c := range []struct {
			sent string
			want any
		}{
			{fmt.Sprint(begin.Unix() + 7200), float64(begin.Unix() + 7200)},
			{fmt.Sprintf("%d.9", begin.Unix()+7300), float64(begin.Unix() + 7300)},
			{fmt.Sprintf("%de0", begin.Unix()+7300), float64(begin.Unix() + 7300)},
			{fmt.Sprint(begin.Unix() + 60), float64(begin.Unix() + 3600)},
			{fmt.Sprint(begin.Unix() + 10*365*86400), float64(begin.Unix() + 62899200)},
			{"null", nil},
			{"null", nil},
		} {
			r.want(http.StatusCreated, "writer", "PUT", tag("v1"), `{"expiration": `+c.sent+`}`)
			_, p := r.list("")
			if got := p.Tags[0]["end_ts"]; got != c.want {
				t.Errorf("expiration %s: end_ts is %v, want %v", c.sent, got, c.want)
			}
		}
	})
	t.Run("refuses what makes no sense, and changes nothing", func(t *testing.T) {
		r := newRegistry(t)
		a := r.push("a", "v1")
		for _, body := range []string{
			``, `[]`, `null`, `"x"`, `{`, `{}{}`, `{"manifest_digest": 5}`, `{"expiration": "soon"}`, `{"expiration": true}`,
			`{"expiration": 1e400}`, `{"expiration": 99999999999999999999}`, `{"expiration": -1e300}`, `{"expiration": NaN}`,
			fmt.Sprintf(`{"expiration": %d}`, begin.Unix()), `{"expiration": 0}`, `{"immutable": "yes"}`, `{"immutable": null}`, `{"immutable": 1}`,
			strings.Repeat("[", 100_000),
		} {
			r.problem(http.StatusBadRequest, "invalid_request", "writer", "PUT", tag("v1"), body)
		}
		r.want(http.StatusRequestEntityTooLarge, "writer", "PUT", tag("v1"), `{"x": "`+strings.Repeat("x", 2<<20)+`"}`)
		for _, bad := range []string{"%20", ".x", "a%0A", "%C3%A4", strings.Repeat("x", 129)} {
			text := r.problem(http.StatusBadRequest, "invalid_request", "writer", "PUT", tag(bad), named(a))
			if !strings.HasPrefix(text, "Invalid tag: ") {
				t.Errorf("tag %s: %s", bad, text)
			}
		}
		for _, body := range []string{named("sha256:0"), named(digest.FromString("missing")), `{"manifest_digest": null}`, `{"manifest_digest": ""}`} {
			r.problem(http.StatusNotFound, "not_found", "writer", "PUT", tag("v2"), body)
		}
		r.problem(http.StatusNotFound, "not_found", "writer", "PUT", tag("v2"), fmt.Sprintf(`{"expiration": %d}`, begin.Unix()+7200))
		r.problem(http.StatusNotFound, "not_found", "writer", "PUT", tag("v2"), `{"immutable": true}`)
		r.problem(http.StatusNotFound, "not_found", "writer", "PUT", "/api/v1/repository/public/nowhere/tag/v1", `{}`)
		names, p := r.list("")
		if diff := cmp.Diff([]string{"v1"}, names); diff != "" || p.Tags[0]["end_ts"] != nil {
			t.Errorf("%v %s", p, diff)
		}
	})
	t.Run("protects a tag until an administrator frees it", func(t *testing.T) {
		r := newRegistry(t)
		a, b := r.push("a", "v1"), r.push("b", "b")
		r.want(http.StatusCreated, "writer", "PUT", tag("v1"), `{"immutable": true}`)
		if _, p := r.list("?specificTag=v1"); p.Tags[0]["immutable"] != true {
			t.Errorf("%v", p.Tags)
		}
		for _, c := range []struct{ method, path, body, text string }{
			{"PUT", tag("v1"), named(b), "Cannot overwrite immutable tag 'v1'"},
			{"PUT", tag("v1"), named(a), "Cannot overwrite immutable tag 'v1'"},
			{"PUT", tag("v1"), fmt.Sprintf(`{"expiration": %d}`, begin.Unix()+7200), "Cannot set expiration on immutable tag 'v1'"},
			{"DELETE", tag("v1"), "", "Cannot delete immutable tag 'v1'"},
			{"POST", tag("v1", "restore"), named(b), "Cannot restore immutable tag 'v1'"},
		} {
			if text := r.problem(http.StatusConflict, "tag_immutable", "writer", c.method, c.path, c.body); text != c.text {
				t.Errorf("%s %s: %s", c.method, c.body, text)
			}
		}
		r.means("v1", a)
		r.problem(http.StatusForbidden, "insufficient_scope", "writer", "PUT", tag("v1"), `{"immutable": false}`)
		r.want(http.StatusCreated, "admin", "PUT", tag("v1"), `{"immutable": false}`)
		r.want(http.StatusNoContent, "writer", "DELETE", tag("v1"), "")
	})
}

func TestDelete(t *testing.T) {
	r := newRegistry(t)
	r.push("a", "v1")
	if got := r.want(http.StatusNoContent, "writer", "DELETE", tag("v1"), ""); got != "" {
		t.Errorf("answer %s", got)
	}
	r.problem(http.StatusNotFound, "not_found", "writer", "DELETE", tag("v1"), "")
	r.problem(http.StatusNotFound, "not_found", "writer", "DELETE", tag("never"), "")
	r.problem(http.StatusNotFound, "not_found", "writer", "DELETE", "/api/v1/repository/public/nowhere/tag/v1", "")
	if names, _ := r.list(""); len(names) != 1 {
		t.Errorf("the history has %v", names)
	}
}

func TestRestore(t *testing.T) {
	r := newRegistry(t)
	a, hidden := r.push("a", "v1"), r.push("hidden", "")
	r.wait(time.Second)
	b := r.push("b", "v1")
	if got := r.want(http.StatusOK, "writer", "POST", tag("v1", "restore"), fmt.Sprintf(`{"manifest_digest": %q, "image": "x"}`, a)); got != `{}` {
		t.Errorf("answer %s", got)
	}
	r.means("v1", a)
	r.want(http.StatusOK, "writer", "POST", tag("never", "restore"), named(hidden))
	r.want(http.StatusNoContent, "writer", "DELETE", tag("v1"), "")
	r.want(http.StatusOK, "writer", "POST", tag("v1", "restore"), named(b))
	r.means("v1", b)

	if text := r.problem(http.StatusBadRequest, "invalid_request", "writer", "POST", tag("v1", "restore"), `{}`); text != "Missing manifest_digest" {
		t.Error(text)
	}
	for _, body := range []string{`{"manifest_digest": 1}`, `{"manifest_digest": null}`, ``, `[]`} {
		r.problem(http.StatusBadRequest, "invalid_request", "writer", "POST", tag("v1", "restore"), body)
	}
	for _, d := range []digest.Digest{digest.FromString("missing"), "sha256:0", ""} {
		r.problem(http.StatusNotFound, "not_found", "writer", "POST", tag("v1", "restore"), named(d))
	}
	r.problem(http.StatusBadRequest, "invalid_request", "writer", "POST", tag("a%0A", "restore"), named(a))
	r.means("v1", b)

	// What the window has passed over is collected, and cannot come back.
	r.wait(2 * week)
	if _, err := r.tags.Store.Collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	names, _ := r.list("")
	r.problem(http.StatusNotFound, "not_found", "writer", "POST", tag("v1", "restore"), named(a))
	r.means("v1", b)
	if after, _ := r.list(""); !cmp.Equal(names, after) {
		t.Errorf("the history was %v and is %v", names, after)
	}
}

func TestPermanentRemoval(t *testing.T) {
	r := newRegistry(t)
	a := r.push("a", "v1")
	r.wait(time.Second)
	r.push("b", "v1")
	removed := 0
	r.tags.Removed = func() { removed++ }
	if got := r.want(http.StatusOK, "writer", "POST", tag("v1", "expire"), named(a)); got != `""` {
		t.Errorf("answer %s", got)
	}
	r.want(http.StatusOK, "writer", "POST", tag("v1", "expire"), `{"is_alive": true, "include_submanifests": true}`)
	if names, _ := r.list(""); len(names) != 0 || removed != 2 {
		t.Errorf("left: %v, told %d times", names, removed)
	}
	r.problem(http.StatusNotFound, "not_found", "writer", "POST", tag("v1", "expire"), `{"is_alive": true}`)
	r.problem(http.StatusNotFound, "not_found", "writer", "POST", tag("v1", "expire"), named(a))
	r.problem(http.StatusNotFound, "not_found", "writer", "POST", tag("v1", "expire"), named(digest.FromString("missing")))
	for _, body := range []string{`{}`, `{"is_alive": 1}`, `{"is_alive": true, "include_submanifests": "x"}`, `{"manifest_digest": 1}`} {
		r.problem(http.StatusBadRequest, "invalid_request", "writer", "POST", tag("v1", "expire"), body)
	}
	r.tags.PermanentRemoval = false
	r.problem(http.StatusNotFound, "not_found", "writer", "POST", tag("v1", "expire"), `{"is_alive": true}`)
}

func TestRights(t *testing.T) {
	r := newRegistry(t)
	a := r.push("a", "v1")
	private := func(path string) string { return "/api/v1/repository/private/index/" + path }
	for _, c := range []struct {
		user, method, path, body string
		status                   int
		kind                     string
	}{
		{"", "GET", private("tag/"), "", 401, "invalid_token"},
		{"stranger", "GET", private("tag/"), "", 403, "insufficient_scope"},
		{"reader", "GET", private("tag/"), "", 404, "not_found"},
		{"", "PUT", tag("v1"), named(a), 401, "invalid_token"},
		{"", "DELETE", tag("v1"), "", 401, "invalid_token"},
		{"", "POST", tag("v1", "restore"), named(a), 401, "invalid_token"},
		{"stranger", "PUT", tag("v1"), named(a), 403, "insufficient_scope"},
		{"reader", "DELETE", private("tag/v1"), "", 403, "insufficient_scope"},
		{"writer", "GET", "/api/v1/repository/" + repo + "/logs", "", 403, "insufficient_scope"},
		{"", "GET", "/api/v1/repository/elsewhere/tag/", "", 401, "invalid_token"},
		{"admin", "GET", "/api/v1/repository/elsewhere/tag/", "", 403, "insufficient_scope"},
		{"", "DELETE", "/api/v1/repository/frozen/tag/v1", "", 503, "downstream_issue"},
		{"admin", "PATCH", tag("v1"), "", 405, "invalid_request"},
		{"admin", "GET", tag("v1"), "", 404, "not_found"},
		{"admin", "GET", "/api/v1/repository/", "", 404, "not_found"},
		{"admin", "GET", "/api/v1/user/", "", 404, "not_found"},
		{"admin", "GET", "/api/v1/repository/UPPER/tag/", "", 403, "insufficient_scope"},
		{"admin", "GET", "/api/v1/repository/public/%2E%2E/tag/", "", 404, "not_found"},
	} {
		r.problem(c.status, c.kind, c.user, c.method, c.path, c.body)
	}
	r.means("v1", a)
}

func TestErrorsAreDescribed(t *testing.T) {
	r := newRegistry(t)
	got := decode[map[string]string](t, r.want(http.StatusOK, "", "GET", "/api/v1/error/tag_immutable", ""))
	if got["title"] != "tag_immutable" || got["type"] != r.url+"/api/v1/error/tag_immutable" || got["description"] == "" {
		t.Errorf("%v", got)
	}
	r.problem(http.StatusNotFound, "not_found", "", "GET", "/api/v1/error/nothing", "")
}
