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

type logs struct {
	StartTime string `json:"start_time"`
	EndTime   string `json:"end_time"`
	NextPage  string `json:"next_page"`
	Logs      []struct {
		Kind, IP, Datetime string
		Metadata           map[string]any
		Performer          map[string]any
	}
}

const logsPath = "/api/v1/repository/" + repo + "/logs"

func TestLogs(t *testing.T) {
	t.Run("tell what was done, with all that the events have", func(t *testing.T) {
		r := newRegistry(t)
		a, b := r.push("a", "v1"), r.push("b", "b")
		r.want(http.StatusCreated, "writer", "PUT", tag("v1"), named(b))
		r.want(http.StatusCreated, "writer", "PUT", tag("new"), named(b))
		r.want(http.StatusOK, "writer", "POST", tag("v1", "restore"), named(a))
		r.want(http.StatusCreated, "writer", "PUT", tag("new"), fmt.Sprintf(`{"expiration": %d}`, begin.Unix()+7200))
		r.want(http.StatusCreated, "writer", "PUT", tag("new"), `{"expiration": null}`)
		r.want(http.StatusCreated, "writer", "PUT", tag("new"), `{"expiration": null}`)
		r.want(http.StatusCreated, "admin", "PUT", tag("new"), `{"immutable": true}`)
		r.want(http.StatusCreated, "admin", "PUT", tag("new"), `{"immutable": false}`)
		r.want(http.StatusNoContent, "admin", "DELETE", tag("new"), "")
		r.want(http.StatusOK, "admin", "POST", tag("v1", "expire"), `{"is_alive": true}`)
		got := decode[logs](t, r.want(http.StatusOK, "admin", "GET", logsPath, ""))
		place := func(m map[string]any) map[string]any {
			m["namespace"], m["repo"] = "public", "index"
			return m
		}
		agent, ends := "Go-http-client/1.1", time.Unix(begin.Unix()+7200, 0).UTC().Format(time.RFC3339)
		want := []struct {
			kind, user string
			metadata   map[string]any
		}{
			{"permanently_delete_tag", "admin", map[string]any{"username": "admin", "tag": "v1", "manifest_digest": a.String()}},
			{"delete_tag", "admin", map[string]any{"username": "admin", "tag": "new", "digest": b.String()}},
			{"change_tag_immutability", "admin", map[string]any{"username": "admin", "tag": "new", "immutable": false, "previous_immutable": true}},
			{"change_tag_immutability", "admin", map[string]any{"username": "admin", "tag": "new", "immutable": true, "previous_immutable": false}},
			{"change_tag_expiration", "writer", map[string]any{"username": "writer", "tag": "new", "expiration_date": nil, "old_expiration_date": ends}},
			{"change_tag_expiration", "writer", map[string]any{"username": "writer", "tag": "new", "expiration_date": ends, "old_expiration_date": nil}},
			{"revert_tag", "writer", map[string]any{"username": "writer", "tag": "v1", "manifest_digest": a.String(), "original_manifest_digest": b.String()}},
			{"create_tag", "writer", map[string]any{"username": "writer", "tag": "new", "manifest_digest": b.String(), "original_manifest_digest": nil}},
			{"move_tag", "writer", map[string]any{"username": "writer", "tag": "v1", "manifest_digest": b.String(), "original_manifest_digest": a.String()}},
			{"push_repo", "", map[string]any{"user-agent": agent, "tag": "b", "mediaType": typeImage}},
			{"push_repo", "", map[string]any{"user-agent": agent, "tag": "v1", "mediaType": typeImage}},
		}
		if len(got.Logs) != len(want) {
			t.Fatalf("%d entries, want %d", len(got.Logs), len(want))
		}
		for i, entry := range got.Logs {
			if entry.Kind != want[i].kind || entry.IP != "127.0.0.1" || entry.Datetime != "Tue, 24 Jan 2023 04:11:04 -0000" {
				t.Errorf("entry %d: %+v", i, entry)
			}
			if diff := cmp.Diff(place(want[i].metadata), entry.Metadata); diff != "" {
				t.Errorf("entry %d, %s: %s", i, entry.Kind, diff)
			}
			var performer map[string]any
			if want[i].user != "" {
				performer = map[string]any{"kind": "user", "name": want[i].user, "is_robot": false}
			}
			if diff := cmp.Diff(performer, entry.Performer); diff != "" {
				t.Errorf("entry %d, %s: %s", i, entry.Kind, diff)
			}
		}
	})
	t.Run("come in pages of twenty", func(t *testing.T) {
		r := newRegistry(t)
		a := r.push("a", "v0")
		for i := range 44 {
			r.want(http.StatusCreated, "writer", "PUT", tag(fmt.Sprint("v", i+1)), named(a))
		}
		seen := make(map[string]bool)
		var sizes []int
		for next := ""; ; {
			p := decode[logs](t, r.want(http.StatusOK, "admin", "GET", logsPath+"?next_page="+url.QueryEscape(next), ""))
			sizes = append(sizes, len(p.Logs))
			for _, entry := range p.Logs {
				seen[fmt.Sprint(entry.Metadata["tag"])] = true
			}
			if next = p.NextPage; next == "" {
				break
			}
		}
		if diff := cmp.Diff([]int{20, 20, 5}, sizes); diff != "" || len(seen) != 45 {
			t.Errorf("%d tags %s", len(seen), diff)
		}
	})
	t.Run("are asked for by days", func(t *testing.T) {
		r := newRegistry(t)
		r.push("a", "v1")
		r.wait(3 * 24 * time.Hour)
		r.push("a", "v2")
		for query, want := range map[string]int{
			"?starttime=01/25/2023": 1, "?starttime=01/24/2023": 2, "?endtime=01/24/2023": 1, "?endtime=01/27/2023": 2,
			"?starttime=01/25/2023&endtime=01/26/2023": 0,
		} {
			p := decode[logs](t, r.want(http.StatusOK, "admin", "GET", logsPath+query, ""))
			if len(p.Logs) != want {
				t.Errorf("%s: %d entries, want %d", query, len(p.Logs), want)
			}
		}
		p := decode[logs](t, r.want(http.StatusOK, "admin", "GET", logsPath+"?starttime=01/25/2023&endtime=01/26/2023", ""))
		if p.StartTime != "Wed, 25 Jan 2023 00:00:00 -0000" || p.EndTime != "Fri, 27 Jan 2023 00:00:00 -0000" || p.Logs == nil {
			t.Errorf("%+v", p)
		}
		for _, bad := range []string{"?starttime=2023-01-24", "?endtime=13/01/2023", "?next_page=x", "?next_page=-1"} {
			r.problem(http.StatusBadRequest, "invalid_request", "admin", "GET", logsPath+bad, "")
		}
	})
}

func TestImages(t *testing.T) {
	r := newRegistry(t)
	r.push("a", "v1")
	got := decode[struct{ Images []map[string]any }](t, r.want(http.StatusOK, "", "GET", tag("v1", "images"), ""))
	if len(got.Images) != 2 {
		t.Fatalf("%v", got.Images)
	}
	top, base := got.Images[0], got.Images[1]
	id, _ := base["id"].(string)
	delete(base, "id")
	delete(top, "id")
	want := []map[string]any{
		{
			"created": "Mon, 02 Jan 2023 00:00:00 -0000", "comment": "", "command": []any{"RUN a"}, "size": float64(len("second layer of a")),
			"uploading": false, "sort_index": 1.0, "ancestors": "/" + id + "/",
		},
		{
			"created": "Sat, 31 Dec 2022 23:59:59 -0000", "comment": "base", "command": []any{"ADD a"}, "size": float64(len("first layer of a")),
			"uploading": false, "sort_index": 0.0, "ancestors": "/",
		},
	}
	if diff := cmp.Diff(want, got.Images); diff != "" || len(id) != 64 {
		t.Errorf("id %q %s", id, diff)
	}
	r.send("/v2/"+repo+"/manifests/list", typeIndex, encode(t, object{"schemaVersion": 2, "mediaType": typeIndex, "manifests": []object{}}))
	same(t, r.want(http.StatusOK, "", "GET", tag("list", "images"), ""), `{"images": []}`)
	r.problem(http.StatusNotFound, "not_found", "", "GET", tag("v2", "images"), "")
}

func TestManifest(t *testing.T) {
	r := newRegistry(t)
	d := r.push("a", "v1")
	path := func(d digest.Digest) string { return "/api/v1/repository/" + repo + "/manifest/" + d.String() }
	got := decode[map[string]any](t, r.want(http.StatusOK, "", "GET", path(d), ""))
	if digest.FromString(got["manifest_data"].(string)) != d {
		t.Error("manifest_data is not the manifest")
	}
	delete(got, "manifest_data")
	sizes := []int{len("first layer of a"), len("second layer of a")}
	layer := func(i int, text, command, created string, comment any) any {
		return map[string]any{
			"index": float64(i), "compressed_size": float64(sizes[i]), "is_remote": false, "urls": nil, "command": []any{command},
			"comment": comment, "author": nil, "blob_digest": digest.FromString(text).String(), "created_datetime": created,
		}
	}
	want := map[string]any{
		"digest": d.String(), "is_manifest_list": false, "config_media_type": "application/vnd.oci.image.config.v1+json",
		"layers_compressed_size": float64(sizes[0] + sizes[1]),
		"layers": []any{
			layer(0, "first layer of a", "ADD a", "Sat, 31 Dec 2022 23:59:59 -0000", "base"),
			layer(1, "second layer of a", "RUN a", "Mon, 02 Jan 2023 00:00:00 -0000", nil),
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	list := encode(t, object{"schemaVersion": 2, "mediaType": typeIndex, "manifests": []object{}})
	r.send("/v2/"+repo+"/manifests/list", typeIndex, list)
	same(t, r.want(http.StatusOK, "", "GET", path(digest.FromBytes(list)), ""), fmt.Sprintf(
		`{"digest": %q, "is_manifest_list": true, "manifest_data": %q, "config_media_type": null, "layers_compressed_size": null, "layers": null}`,
		digest.FromBytes(list), list))

	held := r.push("held", "")
	r.want(http.StatusNoContent, "writer", "DELETE", tag("v1"), "")
	for _, missing := range []digest.Digest{held, d, digest.FromString("missing"), "sha256:0"} {
		r.problem(http.StatusNotFound, "not_found", "", "GET", path(missing), "")
	}
}
