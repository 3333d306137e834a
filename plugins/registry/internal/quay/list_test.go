package quay_test

import (
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
)

func TestList(t *testing.T) {
	t.Run("shows rows that are alive, dead and to end", func(t *testing.T) {
		r := newRegistry(t)
		a := r.push("a", "v1")
		r.wait(10 * time.Second)
		b := r.push("b", "v1")
		ends := begin.Unix() + 86400
		r.want(http.StatusCreated, "writer", "PUT", tag("v1"), fmt.Sprintf(`{"expiration": %d}`, ends))
		r.wait(time.Second)
		r.want(http.StatusOK, "writer", "POST", tag("old", "restore"), named(a))
		size := len("first layer of a") + len("second layer of a")
		same(t, r.want(http.StatusOK, "", "GET", tag(""), ""), fmt.Sprintf(`{
			"page": 1, "has_additional": false, "tags": [
			{"name": "old", "reversion": true, "start_ts": %[1]d, "manifest_digest": %[4]q, "is_manifest_list": false,
			 "size": %[6]d, "last_modified": "Tue, 24 Jan 2023 04:11:15 -0000", "immutable": false},
			{"name": "v1", "reversion": false, "start_ts": %[2]d, "end_ts": %[7]d, "manifest_digest": %[5]q, "is_manifest_list": false,
			 "size": %[6]d, "last_modified": "Tue, 24 Jan 2023 04:11:14 -0000", "expiration": "Wed, 25 Jan 2023 04:11:04 -0000", "immutable": false},
			{"name": "v1", "reversion": false, "start_ts": %[3]d, "end_ts": %[2]d, "manifest_digest": %[4]q, "is_manifest_list": false,
			 "size": %[6]d, "last_modified": "Tue, 24 Jan 2023 04:11:04 -0000", "expiration": "Tue, 24 Jan 2023 04:11:14 -0000", "immutable": false}
		]}`, begin.Unix()+11, begin.Unix()+10, begin.Unix(), a, b, size, ends))
	})
	t.Run("shows what lists are made of", func(t *testing.T) {
		r := newRegistry(t)
		image := r.push("a", "")
		missing := digest.FromString("missing")
		list := encode(t, object{"schemaVersion": 2, "mediaType": typeIndex, "manifests": []object{
			{"mediaType": typeImage, "digest": image, "size": r.size(image)}, {"mediaType": typeImage, "digest": missing, "size": 7},
		}})
		r.send("/v2/"+repo+"/manifests/v1", typeIndex, list)
		_, p := r.list("")
		row := p.Tags[0]
		want := map[string]any{
			"is_manifest_list": true, "size": nil, "is_sparse": true, "child_manifest_count": 2.0, "present_child_count": 1.0,
			"child_manifests_presence": map[string]any{image.String(): true, missing.String(): false},
		}
		for name, value := range want {
			if diff := cmp.Diff(value, row[name]); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
	})
	t.Run("turns pages", func(t *testing.T) {
		r := newRegistry(t)
		for i := range 7 {
			r.push("a", fmt.Sprint("v", i))
		}
		for _, c := range []struct {
			query string
			names []string
			page  int
			more  bool
		}{
			{"?limit=3", []string{"v6", "v5", "v4"}, 1, true},
			{"?limit=3&page=2", []string{"v3", "v2", "v1"}, 2, true},
			{"?limit=3&page=3", []string{"v0"}, 3, false},
			{"?limit=3&page=4", nil, 4, false},
			{"?limit=7", []string{"v6", "v5", "v4", "v3", "v2", "v1", "v0"}, 1, false},
			{"?limit=0", []string{"v6"}, 1, true},
			{"?limit=-5&page=-5", []string{"v6"}, 1, true},
			{"?limit=1000", []string{"v6", "v5", "v4", "v3", "v2", "v1", "v0"}, 1, false},
			{"?limit=100&page=9223372036854775807", nil, 1 << 40, false},
			{"?unknown=1", []string{"v6", "v5", "v4", "v3", "v2", "v1", "v0"}, 1, false},
		} {
			names, p := r.list(c.query)
			if diff := cmp.Diff(c.names, names); diff != "" || p.Page != c.page || p.HasAdditional != c.more || p.Tags == nil {
				t.Errorf("%s: %+v %s", c.query, p, diff)
			}
		}
		for _, bad := range []string{"?limit=x", "?page=x", "?limit=1.5", "?limit=", "?page=99999999999999999999"} {
			r.problem(http.StatusBadRequest, "invalid_request", "", "GET", tag("")+bad, "")
		}
	})
	t.Run("filters", func(t *testing.T) {
		r := newRegistry(t)
		for _, name := range []string{"v4.1", "v4.2", "V4.10", "latest", "a_b", "axb", "100%"[:3], "gone"} {
			r.push("a", name)
		}
		r.want(http.StatusNoContent, "writer", "DELETE", tag("gone"), "")
		r.push("b", "latest")
		for _, c := range []struct {
			query string
			names []string
		}{
			{"?specificTag=v4.1", []string{"v4.1"}},
			{"?specificTag=v4", nil},
			{"?specificTag=latest", []string{"latest", "latest"}},
			{"?specificTag=latest&onlyActiveTags=true", []string{"latest"}},
			{"?specificTag=gone", []string{"gone"}},
			{"?specificTag=gone&onlyActiveTags=yes", nil},
			{"?filter_tag_name=eq:v4.1", []string{"v4.1"}},
			{"?filter_tag_name=like:v4", []string{"V4.10", "v4.2", "v4.1"}},
			{"?filter_tag_name=like:V4.1", []string{"V4.10", "v4.1"}},
			{"?filter_tag_name=like:4.2&onlyActiveTags=1", []string{"v4.2"}},
			{"?filter_tag_name=" + url.QueryEscape("like:a_b"), []string{"a_b"}},
			{"?filter_tag_name=" + url.QueryEscape("like:%"), nil},
			{"?filter_tag_name=" + url.QueryEscape(`like:\`), nil},
			{"?filter_tag_name=like:absent", nil},
			{"?filter_tag_name=eq:v4.1&specificTag=v4.2", nil},
			{"?filter_tag_name=like:.1&specificTag=v4.1", []string{"v4.1"}},
			{"?filter_tag_name=like:.2&specificTag=v4.1", nil},
			{"?onlyActiveTags=true", []string{"latest", "100", "axb", "a_b", "V4.10", "v4.2", "v4.1"}},
			{"?onlyActiveTags=false", []string{"latest", "gone", "100", "axb", "a_b", "latest", "V4.10", "v4.2", "v4.1"}},
		} {
			names, _ := r.list(c.query)
			if diff := cmp.Diff(c.names, names); diff != "" {
				t.Errorf("%s: %s", c.query, diff)
			}
		}
		for _, bad := range []string{"?filter_tag_name=v4", "?filter_tag_name=", "?filter_tag_name=regex:v4"} {
			r.problem(http.StatusBadRequest, "invalid_request", "", "GET", tag("")+bad, "")
		}
	})
	t.Run("counts a tag that will end as alive until then", func(t *testing.T) {
		r := newRegistry(t)
		r.push("a", "v1")
		r.want(http.StatusCreated, "writer", "PUT", tag("v1"), fmt.Sprintf(`{"expiration": %d}`, begin.Unix()+7200))
		if names, _ := r.list("?onlyActiveTags=true"); len(names) != 1 {
			t.Errorf("before its end: %v", names)
		}
		r.wait(2 * time.Hour)
		if names, _ := r.list("?onlyActiveTags=true"); len(names) != 0 {
			t.Errorf("after its end: %v", names)
		}
		if names, _ := r.list(""); len(names) != 1 {
			t.Errorf("in the history: %v", names)
		}
	})
	t.Run("is the same with and without the last slash", func(t *testing.T) {
		r := newRegistry(t)
		r.push("a", "v1")
		same(t, r.want(http.StatusOK, "", "GET", tag("")[:len(tag(""))-1], ""), r.want(http.StatusOK, "", "GET", tag(""), ""))
	})
	t.Run("finds repositories that are named like parts of the path", func(t *testing.T) {
		r := newRegistry(t)
		for _, name := range []string{"public/tag", "public/tag/tag", "public/a/manifest/logs"} {
			r.problem(http.StatusNotFound, "not_found", "", "GET", "/api/v1/repository/"+name+"/tag/", "")
			r.problem(http.StatusNotFound, "not_found", "writer", "DELETE", "/api/v1/repository/"+name+"/tag/restore", "")
		}
	})
}

// size returns the size of a manifest.
func (r *registry) size(d digest.Digest) int {
	r.t.Helper()
	resp, err := http.Get(r.url + "/v2/" + repo + "/manifests/" + d.String())
	if err != nil {
		r.t.Fatal(err)
	}
	resp.Body.Close()
	return int(resp.ContentLength)
}
