package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/catalog/catalogtest"
	"github.com/iib-engine/iib/sdk/image"
	"github.com/iib-engine/iib/sdk/image/imagetest"
	"github.com/iib-engine/iib/sdk/sdktest/distribution"
)

func (p *process) mustCLI(args ...string) string {
	p.t.Helper()
	out, errs, code := p.cli(args...)
	if code != exitOK {
		p.t.Fatalf("iib %s: %d\n%s", strings.Join(args, " "), code, errs)
	}
	return out
}

// point is what the command line says of a point.
type point struct {
	Digest   string
	From     *time.Time
	Until    *time.Time
	Alive    bool
	Restored bool
	Request  *int64
}

func (p *process) history(tag string) (registry string, points []point) {
	p.t.Helper()
	var answer struct {
		Registry string
		Items    []point
	}
	if err := json.Unmarshal([]byte(p.mustCLI("tag", "history", tag, "-o", "json")), &answer); err != nil {
		p.t.Fatal(err)
	}
	return answer.Registry, answer.Items
}

// digestOf asks a registry what a tag is, and not the engine.
func digestOf(t testing.TB, tag string) string {
	t.Helper()
	host, rest, _ := strings.Cut(tag, "/")
	name, version, _ := strings.Cut(rest, ":")
	request, err := http.NewRequest(http.MethodHead, "http://"+host+"/v2/"+name+"/manifests/"+version, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", "application/vnd.docker.distribution.manifest.list.v2+json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response.Header.Get("Docker-Content-Digest")
}

// TestTagsGoBackInAnyRegistry publishes an index twice and goes back, in each of
// the three kinds of registries. One engine's registry stands in for Quay's API
// of another engine.
func TestTagsGoBackInAnyRegistry(t *testing.T) {
	other := strings.TrimPrefix(startServer(t, "").url, "http://")
	plain := distribution.Start(t)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("anything\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const line = "registry {\n"
	config := strings.Replace(shippedWithout(t, line), "  push = ", fmt.Sprintf(
		"registry {\n  plain_http = [%q, %q]\n  quay %q {\n    url = \"http://%s\"\n    token_file = %q\n  }\n  push = ", other, plain, other, other, token), 1)
	r := newReleases(t, startWith(t, config, t.TempDir()))
	specs, list := r.bundles(1, 2)
	for host, kind := range map[string]string{r.registry(): "embedded", other: "quay", plain: "plain"} {
		t.Run(kind, func(t *testing.T) { goBack(t, r, host, kind, specs, list) })
	}
}

func goBack(t *testing.T, r *releases, host, kind string, specs []string, list []catalogtest.Bundle) {
	tag := host + "/release/history:v4.14"
	if _, err := r.pusher.Push(t.Context(), tag, imagetest.Image{
		Arches: imagetest.Arches,
		Labels: map[string]string{versionLabel: "v4.14", scopeLabel: "prod", configsLabel: "/configs"},
		Files:  map[string][]byte{"configs/.indexignore": nil},
	}); err != nil {
		t.Fatal(err)
	}
	empty := digestOf(t, tag)
	var requests []int64
	var digests []string
	for _, spec := range specs {
		build := r.submit("add", map[string]any{"bundles": []string{spec}, "from_index": tag, "overwrite_from_index": true})
		requests = append(requests, int64(build["id"].(float64)))
		digests = append(digests, digestOf(t, tag))
	}

	registry, points := r.history(tag)
	if registry != kind || len(points) != 3 {
		t.Fatalf("%s has the history %+v", registry, points)
	}
	for i, want := range []string{digests[1], digests[0], empty} {
		if points[i].Digest != want || points[i].Alive != (i == 0) || points[i].Restored {
			t.Errorf("point %d is %+v, want %s", i, points[i], want)
		}
	}
	for i, want := range []int64{requests[1], requests[0]} {
		if points[i].Request == nil || *points[i].Request != want {
			t.Errorf("point %d was published by %v, want request %d", i, points[i].Request, want)
		}
	}

	t.Run("differs in what was added", func(t *testing.T) {
		out := r.mustCLI("tag", "diff", tag, digests[0])
		if !strings.Contains(out, "  + bundle "+list[1].Name+"\n") || strings.Contains(out, list[0].Name+"\n") {
			t.Errorf("the difference is\n%s", out)
		}
		out = r.mustCLI("tag", "diff", tag, digests[1], empty)
		if !strings.Contains(out, "- package "+list[0].Package+"\n") {
			t.Errorf("the difference is\n%s", out)
		}
		if out := r.mustCLI("tag", "diff", tag, digests[1]); !strings.Contains(out, "no difference") {
			t.Errorf("the difference is\n%s", out)
		}
	})
	t.Run("by digest, at once, as history and event", func(t *testing.T) {
		began := time.Now()
		r.mustCLI("tag", "restore", tag, digests[0])
		if took := time.Since(began); took > time.Second {
			t.Errorf("the restore took %s", took)
		} else {
			t.Logf("the restore took %s", took)
		}
		if now := digestOf(t, tag); now != digests[0] {
			t.Errorf("the tag is %s, want %s", now, digests[0])
		}
		_, points := r.history(tag)
		if len(points) != 4 || points[0].Digest != digests[0] || !points[0].Restored || !points[0].Alive {
			t.Errorf("the history is %+v", points)
		}
		if e := r.event(t, tag); e["action"] != "restore" || e["to_digest"] != digests[0] || e["from_digest"] != digests[1] {
			t.Errorf("the event is %v", e)
		}
	})
	t.Run("by time", func(t *testing.T) {
		// The middle of the second publication's life.
		_, points := r.history(tag)
		from, until := *points[1].From, *points[1].Until
		at := from.Add(until.Sub(from) / 2).Format(time.RFC3339Nano)
		if from.Equal(until) {
			at = from.Format(time.RFC3339Nano)
		}
		_, errs, code := r.cli("tag", "restore", tag, at)
		if from.Equal(until) {
			t.Logf("the registry tells no times below a second: %d %s", code, errs)
			return
		}
		if now := digestOf(t, tag); now != digests[1] {
			t.Errorf("at %s the tag was %s, and it is %s now: %s", at, digests[1], now, errs)
		}
	})
	t.Run("not to what never was", func(t *testing.T) {
		before := digestOf(t, tag)
		_, was := r.history(tag)
		for args, want := range map[string]string{
			"sha256:" + strings.Repeat("0", 64): "the registry",
			"sha256:12":                         "want a digest",
			"yesterday":                         "want a digest",
			"1999-01-01T00:00:00Z":              "nothing is known of what it was",
		} {
			if kind == "plain" && strings.HasPrefix(args, "1999") {
				continue // what was found there may be older than anybody knows
			}
			_, errs, code := r.cli("tag", "restore", tag, args)
			if code != exitFault || !strings.Contains(errs, want) {
				t.Errorf("restore to %s: %d %s", args, code, errs)
			}
		}
		if _, is := r.history(tag); digestOf(t, tag) != before || len(is) != len(was) {
			t.Errorf("a refused restore changed the tag")
		}
	})
	t.Run("and ends when it is told to", func(t *testing.T) {
		soon := time.Now().Add(2 * time.Hour).UTC().Truncate(time.Second)
		_, errs, code := r.cli("tag", "expire", tag, soon.Format(time.RFC3339))
		if kind == "plain" {
			if code != exitFault || !strings.Contains(errs, "keeps no dates") {
				t.Errorf("%d %s", code, errs)
			}
		} else if _, points := r.history(tag); code != exitOK || points[0].Until == nil || !points[0].Until.Equal(soon) {
			t.Errorf("%d %s: %+v", code, errs, points[0])
		}
		if _, _, code := r.cli("tag", "expire", tag, "2001-01-01T00:00:00Z"); code != exitFault {
			t.Error("an end in the past was taken")
		}
		before := digestOf(t, tag)
		_, errs, code = r.cli("tag", "expire", tag, "now")
		if kind == "plain" && code != exitOK {
			t.Logf("this version of docker-registry deletes no tags: %s", errs)
			return
		}
		if code != exitOK || digestOf(t, tag) != "" {
			t.Fatalf("%d %s", code, errs)
		}
		e := r.event(t, tag)
		for e["action"] == "restore" {
			e = r.event(t, tag)
		}
		if e["action"] != "delete" || e["to_digest"] != nil {
			t.Errorf("the event is %v", e)
		}
		r.mustCLI("tag", "restore", tag, before)
		r.event(t, tag)
		if digestOf(t, tag) != before {
			t.Error("a tag that was ended did not come back")
		}
	})
}

// event returns the next event about a tag that GET /events tells of.
func (p *process) event(t *testing.T, tag string) map[string]any {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+"/api/v1/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Last-Event-ID", p.heard)
	if p.heard == "" {
		request.Header.Set("Last-Event-ID", "0")
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	id, named := "", ""
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch name {
		case "id":
			id = value
		case "event":
			named = value
		case "data":
			if named != "tag" {
				continue
			}
			p.heard = id
			var e map[string]any
			if err := json.Unmarshal([]byte(value), &e); err != nil {
				t.Fatal(err)
			}
			if e["tag"] == tag {
				return e
			}
		}
	}
	t.Fatalf("no event of %s came", tag)
	return nil
}

// The own registry moves a tag only if it is what it should be, for those who
// say so: a late write of somebody who stood still changes nothing.
func TestATagIsMovedUnderACondition(t *testing.T) {
	t.Parallel()
	r := newReleases(t, startServer(t, ""))
	one := r.emptyIndex("one:v1", fileBased, false)
	two := r.emptyIndex("two:v1", withHidden, false)
	tag := r.registry() + "/release/moved:v1"
	digest := func(spec string) sdk.Digest {
		d, err := r.pusher.Client.Digest(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	none, first, second := sdk.Digest(""), digest(one), digest(two)
	for _, c := range []struct {
		name, from string
		was        *sdk.Digest
		refused    bool
	}{
		{"to nothing that is there", one, &second, true},
		{"where nothing is", one, &none, false},
		{"where nothing is, again", one, &none, false},
		{"where something is", two, &none, true},
		{"from something else", two, &second, true},
	} {
		_, err := r.pusher.Client.CopyWhen(t.Context(), c.from, tag, image.Condition{Was: c.was})
		if (sdk.CodeOf(err) == sdk.Conflict) != c.refused || err != nil && !c.refused {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if now := digest(tag); now != first {
		t.Errorf("the tag is %s, want %s", now, first)
	}
	if _, err := r.pusher.Client.CopyWhen(t.Context(), two, tag, image.Condition{Was: &first}); err != nil {
		t.Error(err)
	}
	if now := digest(tag); now != second {
		t.Errorf("the tag is %s, want %s", now, second)
	}
	if status, _, body := r.do(http.MethodPut, "/v2/release/moved/manifests/v1", "{}", map[string]string{"If-Match": `"nothing"`}); status != http.StatusBadRequest {
		t.Errorf("%d %s", status, body)
	}
}
