package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/plugins/composer/internal/compose"
	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/sdktest"
)

const web = "name = \"web\"\ndescription = \"\"\nversion = \"1.0.0\"\n[[packages]]\nname = \"bash\"\nversion = \"*\"\n[customizations.kernel]\nappend = \"quiet\"\n"

const start = `{"blueprint_name":"web","compose_type":"tar","branch":"master","size":0}`

var uuid4 = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

const noUUID = "00000000-0000-4000-8000-000000000000"

func newComposes(t *testing.T) *world {
	w := newWorld(t, nil)
	w.push("blueprints/new", web)
	return w
}

func TestStart(t *testing.T) {
	w := newComposes(t)
	t.Run("answers in both versions", func(t *testing.T) {
		got := w.must("POST", "compose", start)
		if id, _ := got["build_id"].(string); !uuid4.MatchString(id) {
			t.Errorf("build_id %q", id)
		}
		delete(got, "build_id")
		wantJSON(t, any(got), `{"status":true,"upload_id":"","warnings":[]}`)
		got = w.must("POST", "/api/v0/compose", start)
		delete(got, "build_id")
		wantJSON(t, any(got), `{"status":true}`)
	})
	t.Run("solves at once, with fresh metadata", func(t *testing.T) {
		before := w.solver.fresh
		w.must("POST", "compose", `{"blueprint_name":"web","compose_type":"tar"}`)
		if w.solver.fresh != before+1 {
			t.Errorf("%d fresh solves", w.solver.fresh-before)
		}
	})
	t.Run("takes what the client sends for ostree", func(t *testing.T) {
		w.must("POST", "compose", `{"blueprint_name":"web","compose_type":"tar","branch":"","size":12345678901,"ostree":{"ref":"","parent":"","url":""}}`)
		all, _ := w.host.Requests(t.Context(), compose.Type, 0, 1)
		var params compose.Params
		if err := all[0].Decode(&params); err != nil || params.Size != 12345678901 {
			t.Errorf("%+v, %v", params, err)
		}
	})
	t.Run("tests are asked for by the query", func(t *testing.T) {
		for _, test := range []int{0, 1, 2} {
			w.must("POST", fmt.Sprintf("compose?test=%d", test), strings.Replace(start, "{", `{"test":1,`, 1))
			all, _ := w.host.Requests(t.Context(), compose.Type, 0, 1)
			var params compose.Params
			if err := all[0].Decode(&params); err != nil || params.Test != test {
				t.Errorf("%+v, %v", params, err)
			}
		}
	})
	t.Run("version 0 knows no uploads", func(t *testing.T) {
		w.must("POST", "/api/v0/compose", strings.Replace(start, "{", `{"upload":{"provider":"aws"},`, 1))
	})
	t.Run("warns", func(t *testing.T) {
		w.push("blueprints/new", `{"name":"cont","description":"","containers":[{"source":"quay.io/x"}]}`)
		warnings := w.must("POST", "compose", `{"blueprint_name":"cont","compose_type":"qcow2"}`)["warnings"].([]any)
		if len(warnings) != 2 || !strings.Contains(warnings[0].(string), "containers") || !strings.Contains(warnings[1].(string), "kernel") {
			t.Errorf("%v", warnings)
		}
		w.push("blueprints/new", `{"name":"boots","description":"","packages":[{"name":"kernel","version":"*"}]}`)
		wantJSON(t, w.must("POST", "compose", `{"blueprint_name":"boots","compose_type":"qcow2"}`)["warnings"], `[]`)
	})
	t.Run("takes the commit, not the workspace copy", func(t *testing.T) {
		w.push("blueprints/workspace", strings.Replace(web, "1.0.0", "7.0.0", 1))
		id, _ := w.compose(start)
		if got := w.get("compose/info/" + id)["blueprint"].(map[string]any)["version"]; got != "1.0.0" {
			t.Errorf("%v", got)
		}
	})
	t.Run("takes the branch's", func(t *testing.T) {
		w.push("blueprints/new?branch=dev", strings.Replace(web, "1.0.0", "9.0.0", 1))
		id, _ := w.compose(strings.Replace(start, "master", "dev", 1))
		if got := w.get("compose/info/" + id)["blueprint"].(map[string]any)["version"]; got != "9.0.0" {
			t.Errorf("%v", got)
		}
	})
}

func TestFaultsOfStart(t *testing.T) {
	w := newComposes(t)
	w.push("blueprints/new", "name = \"bad\"\ndescription = \"\"\n[[packages]]\nname = \"broken\"\nversion = \"*\"\n")
	w.push("blueprints/new", `{"name":"arm","description":"","arch":"aarch64"}`)
	git := t.TempDir()
	repo := func(ref string) string {
		return fmt.Sprintf("name = \"git\"\ndescription = \"\"\n[[repos.git]]\nrpmname = \"r\"\nrpmversion = \"1\"\nrpmrelease = \"1\"\nsummary = \"s\"\nrepo = %q\nref = %q\ndestination = \"/opt/r\"\n", git, ref)
	}
	w.push("blueprints/new", repo("main"))
	for name, c := range map[string]struct{ body, id, words string }{
		"an empty object":         {`{}`, "MissingPost", ""},
		"null":                    {`null`, "MissingPost", ""},
		"no JSON":                 {`{"blueprint_name"`, "HTTPError", ""},
		"no object":               {`[1]`, "HTTPError", ""},
		"two objects":             {start + start, "HTTPError", ""},
		"no name":                 {`{"compose_type":"tar"}`, "UnknownBlueprint", "No 'blueprint_name' in the JSON request"},
		"an empty name":           {`{"blueprint_name":"","compose_type":"tar"}`, "UnknownBlueprint", "No 'blueprint_name' in the JSON request"},
		"a name that is none":     {`{"blueprint_name":7,"compose_type":"tar"}`, "UnknownBlueprint", ""},
		"no type":                 {`{"blueprint_name":"web"}`, "BadComposeType", "No 'compose_type' in the JSON request"},
		"another type":            {`{"blueprint_name":"web","compose_type":"x"}`, "BadComposeType", "Invalid compose type (x), must be one of ['live-iso', 'qcow2', 'tar']"},
		"a disabled type":         {`{"blueprint_name":"web","compose_type":"live-iso"}`, "BuildFailed", "xorriso is missing"},
		"an unknown blueprint":    {`{"blueprint_name":"none","compose_type":"tar"}`, "UnknownBlueprint", "Unknown blueprint name: none"},
		"an unknown branch":       {`{"blueprint_name":"web","compose_type":"tar","branch":"none"}`, "UnknownBlueprint", "Unknown blueprint name: web"},
		"a branch that is a path": {`{"blueprint_name":"web","compose_type":"tar","branch":"../../x"}`, "UnknownBlueprint", ""},
		"a name with a slash":     {`{"blueprint_name":"../web","compose_type":"tar"}`, "InvalidChars", "Invalid characters"},
		"what cannot be solved":   {`{"blueprint_name":"bad","compose_type":"tar"}`, "BuildFailed", "Problem depsolving bad: There was a problem depsolving broken"},
		"another architecture":    {`{"blueprint_name":"arm","compose_type":"tar"}`, "BuildFailed", "aarch64"},
		"an upload":               {`{"blueprint_name":"web","compose_type":"tar","upload":{"provider":"aws"}}`, "UploadError", ""},
		"a negative size":         {`{"blueprint_name":"web","compose_type":"tar","size":-1}`, "ComposeError", "size"},
		"half a byte":             {`{"blueprint_name":"web","compose_type":"tar","size":0.5}`, "ComposeError", "size"},
		"too large a size":        {`{"blueprint_name":"web","compose_type":"tar","size":9000000000000000000}`, "ComposeError", "size"},
		"a size that is a word":   {`{"blueprint_name":"web","compose_type":"tar","size":"1"}`, "ComposeError", "size"},
		"no repository":           {`{"blueprint_name":"git","compose_type":"tar"}`, "BuildFailed", "Failed to clone " + git},
		"a large body":            {`{"x":"` + strings.Repeat("x", 2<<20) + `"}`, "ComposeError", "bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			w.send("POST", "compose", "application/json", c.body).wantFault(t, name, c.id, c.words)
		})
	}
	w.wantFault("POST", "compose?test=3", start, "ComposeError", "test")
	t.Run("all faults are in one answer", func(t *testing.T) {
		a := w.ask("POST", "compose", `{"blueprint_name":"none","compose_type":"x","upload":{},"size":-1}`)
		for _, id := range []string{"UnknownBlueprint", "BadComposeType", "UploadError", "ComposeError"} {
			a.wantFault(t, id, id, "")
		}
	})
	t.Run("a source that is down", func(t *testing.T) {
		const base = "http://localhost:1/base/$releasever/$basearch/"
		w.solver.refuse(base, true)
		defer w.solver.refuse(base, false)
		w.wantFault("POST", "compose", start, "BuildFailed", "Problem depsolving web: source base")
	})
	t.Run("no sources", func(t *testing.T) {
		w := newWorld(t, func(s *Settings) { s.Sources = nil })
		w.push("blueprints/new", web)
		w.wantFault("POST", "compose", start, "BuildFailed", "sources")
	})
	t.Run("nothing was started", func(t *testing.T) {
		wantJSON(t, any(w.get("compose/queue")), `{"new":[],"run":[]}`)
	})
}

func TestReposOfGit(t *testing.T) {
	w := newComposes(t)
	origin := t.TempDir()
	git := func(args ...string) string {
		t.Helper()
		c := exec.Command("git", append([]string{"-C", origin, "-c", "user.name=n", "-c", "user.email=e"}, args...)...)
		c.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null")
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("init", "--quiet", "--initial-branch=main")
	git("commit", "--quiet", "--allow-empty", "-m", "one")
	git("tag", "v1")
	git("checkout", "--quiet", "-b", "side")
	git("commit", "--quiet", "--allow-empty", "-m", "two")
	git("checkout", "--quiet", "main")
	main, side := git("rev-parse", "main"), git("rev-parse", "side")
	marker := filepath.Join(t.TempDir(), "marker")
	for name, c := range map[string]struct{ repo, ref, commit, words string }{
		"a branch":                        {origin, "main", main, ""},
		"a tag":                           {"file://" + origin, "v1", main, ""},
		"a commit":                        {origin, side, side, ""},
		"a branch of the origin":          {origin, "origin/side", side, ""},
		"no ref":                          {origin, "nothing", "", fmt.Sprintf("Failed to archive %s from ref %q", origin, "nothing")},
		"a ref that looks like an option": {origin, "--output=" + marker, "", "Failed to archive"},
		"no repository":                   {origin + "/none", "main", "", "Failed to clone " + origin + "/none"},
		"an address that is an option":    {"--upload-pack=touch " + marker, "main", "", "Failed to clone"},
		"an address that is a command":    {"ext::touch " + marker, "main", "", "Failed to clone"},
	} {
		t.Run(name, func(t *testing.T) {
			body, err := json.Marshal(map[string]any{
				"name": "git", "description": "", "repos": map[string]any{"git": []any{map[string]any{
					"rpmname": "r", "rpmversion": "1", "rpmrelease": "1", "summary": "s", "repo": c.repo, "ref": c.ref, "destination": "/opt/r",
				}}},
			})
			if err != nil {
				t.Fatal(err)
			}
			w.push("blueprints/new", string(body))
			if c.commit == "" {
				w.wantFault("POST", "compose", strings.Replace(start, "web", "git", 1), "BuildFailed", c.words)
				return
			}
			_, request := w.compose(strings.Replace(start, "web", "git", 1))
			view, err := w.host.Request(t.Context(), request)
			if err != nil {
				t.Fatal(err)
			}
			var params compose.Params
			if err := view.Decode(&params); err != nil || len(params.Repos) != 1 || params.Repos[0].Commit != c.commit || params.Repos[0].Ref != c.ref {
				t.Errorf("%+v, %v; want commit %s", params.Repos, err, c.commit)
			}
			deps := w.get("compose/info/" + params.UUID)["deps"].(map[string]any)["packages"]
			wantJSON(t, deps, `[{"name":"r","epoch":0,"version":"1","release":"1","arch":"noarch"}]`)
		})
	}
	if _, err := os.Stat(marker); !errors.Is(err, os.ErrNotExist) {
		t.Error("a command of the blueprint was run")
	}
	_, cache := w.host.Dirs()
	if left, err := os.ReadDir(filepath.Join(cache, "git")); err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

// life starts four composes and brings each to another state.
func life(t *testing.T, w *world) (ids map[string]string, requests map[string]int64) {
	t.Helper()
	w.push("blueprints/new", strings.Replace(web, "web", "other", 1))
	ids, requests = make(map[string]string), make(map[string]int64)
	for _, state := range []string{"FINISHED", "FAILED", "RUNNING", "WAITING"} {
		body := start
		if state == "FAILED" {
			body = `{"blueprint_name":"other","compose_type":"qcow2"}`
		}
		ids[state], requests[state] = w.compose(body)
		if state != "WAITING" {
			w.begin(requests[state])
		}
	}
	w.end(requests["FINISHED"], "complete", "the image")
	w.end(requests["FAILED"], "failed", "")
	return ids, requests
}

func TestLists(t *testing.T) {
	w := newComposes(t)
	ids, _ := life(t, w)
	detail := func(state, more string) string {
		blueprint, kind, size, started, finished := "web", "tar", 0, "1700000000.25", "null"
		switch state {
		case "WAITING":
			started = "null"
		case "FINISHED":
			size, finished = 9, "1700000100.5"
		case "FAILED":
			blueprint, kind, finished = "other", "qcow2", "1700000100.5"
		}
		return fmt.Sprintf(`{"id":%q,"blueprint":%q,"version":"1.0.0","compose_type":%q,"image_size":%d,"queue_status":%q,"job_created":0,"job_started":%s,"job_finished":%s%s}`,
			ids[state], blueprint, kind, size, state, started, finished, more)
	}
	// zero makes the time of creation comparable.
	zero := func(v any) any {
		var walk func(any)
		walk = func(v any) {
			switch v := v.(type) {
			case []any:
				for _, e := range v {
					walk(e)
				}
			case map[string]any:
				if created, ok := v["job_created"].(float64); ok {
					if created < 1.7e9 {
						t.Errorf("job_created is %v", created)
					}
					v["job_created"] = 0.0
				}
				for _, e := range v {
					walk(e)
				}
			}
		}
		walk(v)
		return v
	}
	for version, more := range map[string]string{"/api/v1/": `,"uploads":[]`, "/api/v0/": ""} {
		list := func(states ...string) string {
			var parts []string
			for _, state := range states {
				parts = append(parts, detail(state, more))
			}
			return "[" + strings.Join(parts, ",") + "]"
		}
		wantJSON(t, zero(any(w.get(version+"compose/queue"))), `{"new":`+list("WAITING")+`,"run":`+list("RUNNING")+`}`)
		wantJSON(t, zero(any(w.get(version+"compose/finished"))), `{"finished":`+list("FINISHED")+`}`)
		wantJSON(t, zero(any(w.get(version+"compose/failed"))), `{"failed":`+list("FAILED")+`}`)
		all := []string{"WAITING", "RUNNING", "FINISHED", "FAILED"}
		for query, want := range map[string]string{
			"*":                                  list(all...),
			"*?blueprint=other":                  list("FAILED"),
			"*?status=RUNNING":                   list("RUNNING"),
			"*?type=tar&status=FINISHED":         list("FINISHED"),
			"*?type=qcow2&status=FINISHED":       list(),
			ids["FAILED"] + "," + ids["WAITING"]: list("FAILED", "WAITING"),
			ids["FAILED"] + "," + ids["WAITING"] + "?status=WAITING": list("WAITING"),
		} {
			t.Run(version+"status/"+query, func(t *testing.T) {
				wantJSON(t, zero(any(w.get(version+"compose/status/"+query))), `{"uuids":`+want+`,"errors":[]}`)
			})
		}
	}
	wantJSON(t, any(w.get("compose/status/"+noUUID+",nonsense")), `{"uuids":[],"errors":[
		{"id":"UnknownUUID","msg":"`+noUUID+` is not a valid build uuid"},{"id":"UnknownUUID","msg":"nonsense is not a valid build uuid"}]}`)
	w.wantFault("GET", "compose/status/*?status=a%20b", "", "InvalidChars", "")
}

func TestInfo(t *testing.T) {
	w := newComposes(t)
	commit := w.commits("web")[0]
	ids, _ := life(t, w)
	const config = `{"image_name":"root.tar.xz","compression":"xz","compress_args":[],"image_type":"tar","extra_boot_args":"quiet","title":"web","project":"test-1","releasever":"1","size":0,"timeout":0}`
	for _, state := range []string{"WAITING", "RUNNING", "FINISHED"} {
		size := 0
		if state == "FINISHED" {
			size = 9
		}
		want := fmt.Sprintf(`{"id":%q,"blueprint":{"name":"web","description":"","version":"1.0.0","packages":[{"name":"bash","version":"5.2-1.x86_64"}],"modules":[],"groups":[],
			"customizations":{"kernel":{"append":"quiet"}}},"commit":%q,"deps":{"packages":[%s,%s]},"compose_type":"tar","queue_status":%q,"image_size":%d`,
			ids[state], commit, nevra("bash", "5.2-1"), nevra("glibc", "2.36-9"), state, size)
		got := w.get("/api/v0/compose/info/" + ids[state])
		wantJSON(t, any(got), want+`,"config":`+config+`}`)
		got = w.get("compose/info/" + ids[state])
		text, ok := got["config"].(string)
		if !ok {
			t.Fatalf("config is %v", got["config"])
		}
		var inner any
		if err := json.Unmarshal([]byte(text), &inner); err != nil {
			t.Error(err)
		}
		wantJSON(t, inner, config)
		delete(got, "config")
		wantJSON(t, any(got), want+`,"uploads":[]}`)
	}
	for _, id := range []string{noUUID, "x", strings.ToUpper(ids["FINISHED"])} {
		w.wantFault("GET", "compose/info/"+id, "", "UnknownUUID", id+" is not a valid build uuid")
	}
}

// members unpacks a tar.
func members(t *testing.T, data string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	for r := tar.NewReader(strings.NewReader(data)); ; {
		header, err := r.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[header.Name] = string(content)
	}
}

func packed(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for name, content := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(w, content)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestResults(t *testing.T) {
	w := newComposes(t)
	ids, requests := life(t, w)
	metadata := map[string]string{"COMMIT": "abc", "blueprint.toml": "x", "repo/r.rpm": "rpm"}
	logs := map[string]string{"logs/a.log": "one", "logs/sub/b.log": "two"}
	done := requests["FINISHED"]
	w.host.PutArtifact(done, compose.ArtifactMetadata, packed(t, metadata))
	w.host.PutArtifact(done, compose.ArtifactLogs, packed(t, logs))
	all := map[string]string{"root.tar.xz": "the image"}
	for _, m := range []map[string]string{metadata, logs} {
		for name, content := range m {
			all[name] = content
		}
	}
	id := ids["FINISHED"]
	for route, c := range map[string]struct {
		file, kind string
		want       map[string]string
	}{
		"metadata": {id + "-metadata.tar", "application/x-tar", metadata},
		"logs":     {id + "-logs.tar", "application/x-tar", logs},
		"results":  {id + ".tar", "application/x-tar", all},
		"image":    {id + "-root.tar.xz", "application/octet-stream", nil},
	} {
		t.Run(route, func(t *testing.T) {
			a := w.ask("GET", "compose/"+route+"/"+id, "")
			if a.code != 200 || a.err != nil || a.header.Get("Content-Disposition") != "attachment; filename="+c.file || a.header.Get("Content-Type") != c.kind {
				t.Errorf("%d %v %v", a.code, a.err, a.header)
			}
			if c.want == nil {
				if a.text != "the image" || a.header.Get("Content-Length") != "9" {
					t.Errorf("%q, %v", a.text, a.header)
				}
				return
			}
			if diff := cmp.Diff(c.want, members(t, a.text)); diff != "" {
				t.Error(diff)
			}
		})
		for _, state := range []string{"WAITING", "RUNNING"} {
			w.wantFault("GET", "compose/"+route+"/"+ids[state], "", "BuildInWrongState", "Build "+ids[state]+" not in FINISHED or FAILED state.")
		}
		w.wantFault("GET", "compose/"+route+"/"+noUUID, "", "UnknownUUID", noUUID+" is not a valid build uuid")
	}
	failed := ids["FAILED"]
	w.wantFault("GET", "compose/image/"+failed, "", "BuildMissingFile", "Build "+failed+" is missing image file disk.qcow2")

	t.Run("a failed compose has what is known of it", func(t *testing.T) {
		w.host.PutLog(requests["FAILED"], []byte("it broke\n"))
		files := members(t, w.ask("GET", "compose/results/"+failed, "").text)
		for _, name := range []string{"blueprint.toml", "frozen.toml", "deps.toml", "config.toml", "COMMIT", "times.toml", "STATUS"} {
			if files[name] == "" {
				t.Errorf("no %s", name)
			}
		}
		if files["logs/compose.log"] != "it broke\n" || files["STATUS"] != "FAILED" || files["COMMIT"] != w.commits("other")[0] {
			t.Errorf("%q", files)
		}
		if !strings.Contains(files["deps.toml"], "[[packages]]\nname = \"bash\"") {
			t.Errorf("%s", files["deps.toml"])
		}
		if files := members(t, w.ask("GET", "compose/metadata/"+failed, "").text); files["logs/compose.log"] != "" || files["COMMIT"] == "" {
			t.Errorf("%q", files)
		}
	})
	t.Run("an image that ends too early is seen to", func(t *testing.T) {
		w.host.PutArtifact(done, compose.ArtifactImage, []byte("the ima"))
		for _, route := range []string{"image", "results"} {
			if a := w.ask("GET", "compose/"+route+"/"+id, ""); a.err == nil {
				t.Errorf("%s: %d bytes without an error", route, len(a.text))
			}
		}
	})
	t.Run("an image that has expired is missing", func(t *testing.T) {
		if err := w.host.Forget(t.Context(), done); err != nil {
			t.Fatal(err)
		}
		w.wantFault("GET", "compose/image/"+id, "", "BuildMissingFile", "Build "+id+" is missing image file root.tar.xz")
		if files := members(t, w.ask("GET", "compose/results/"+id, "").text); files["COMMIT"] == "" || len(files) != 7 {
			t.Errorf("%q", files)
		}
	})
}

func TestLog(t *testing.T) {
	w := newComposes(t)
	ids, requests := life(t, w)
	var log strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&log, "%04d %s\n", i, strings.Repeat("x", 994)) // 1000 bytes a line
	}
	w.host.PutLog(requests["RUNNING"], []byte(log.String()))
	w.host.PutLog(requests["FINISHED"], []byte("short\nlog\n"))
	for query, want := range map[string]string{
		"":                           log.String()[3000*1000-1048*1000:],
		"?size=1":                    log.String()[2999*1000:],
		"?size=125":                  log.String()[3000*1000-128*1000:], // exactly 128 lines
		"?size=2930":                 log.String(),
		"?size=99999999999999999999": log.String(),
	} {
		t.Run("size"+query, func(t *testing.T) {
			a := w.ask("GET", "compose/log/"+ids["RUNNING"]+query, "")
			if a.code != 200 || a.text != want || !strings.HasPrefix(a.header.Get("Content-Type"), "text/plain") {
				t.Errorf("%d, %d bytes from %.10q; want %d bytes from %.10q", a.code, len(a.text), a.text, len(want), want)
			}
		})
	}
	if a := w.ask("GET", "compose/log/"+ids["FINISHED"]+"?size=1024", ""); a.text != "short\nlog\n" {
		t.Errorf("%q", a.text)
	}
	wantJSON(t, any(w.get("compose/log/"+ids["WAITING"])), `{"status":false,"errors":[{"id":"BuildInWrongState","msg":"Build `+ids["WAITING"]+` has not started yet. No logs to view"}]}`)
	for _, size := range []string{"x", "0", "-1", "", "1.5"} {
		w.wantFault("GET", "compose/log/"+ids["RUNNING"]+"?size="+size, "", "ComposeError", "size")
	}
	w.wantFault("GET", "compose/log/"+ids["FAILED"], "", "ComposeError", "log")
	w.wantFault("GET", "compose/log/"+noUUID, "", "UnknownUUID", "")
}

func TestCancel(t *testing.T) {
	w := newComposes(t)
	ids, requests := life(t, w)
	for _, state := range []string{"FINISHED", "FAILED"} {
		w.wantFault("DELETE", "compose/cancel/"+ids[state], "", "BuildInWrongState", "Build "+ids[state]+" is not in WAITING or RUNNING.")
	}
	w.wantFault("DELETE", "compose/cancel/"+noUUID, "", "UnknownUUID", "")
	unknown := func(id string) {
		t.Helper()
		w.wantFault("GET", "compose/info/"+id, "", "UnknownUUID", "")
		wantJSON(t, any(w.get("compose/status/"+id)), `{"uuids":[],"errors":[{"id":"UnknownUUID","msg":"`+id+` is not a valid build uuid"}]}`)
		w.wantFault("DELETE", "compose/cancel/"+id, "", "UnknownUUID", "")
	}
	t.Run("one that waits", func(t *testing.T) {
		id := ids["WAITING"]
		wantJSON(t, any(w.must("DELETE", "compose/cancel/"+id, "")), `{"status":true,"uuid":"`+id+`"}`)
		unknown(id)
		if v, _ := w.host.Request(t.Context(), requests["WAITING"]); v.State != "failed" || !strings.Contains(v.Reason, "cancelled") {
			t.Errorf("%+v", v)
		}
	})
	t.Run("one that runs: it is over before the answer", func(t *testing.T) {
		id, request := ids["RUNNING"], requests["RUNNING"]
		begun, stopped := make(chan struct{}), make(chan struct{})
		w.build = func(ctx context.Context, _ *sdk.Job, _ *compose.Params) error {
			close(begun)
			<-ctx.Done()
			close(stopped)
			return ctx.Err()
		}
		view, err := w.host.Request(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
		handled := make(chan error, 1)
		go func() {
			handled <- w.host.handler.Handle(ctx, sdktest.NewJob(t, view.Request, new(sdktest.Recorder)))
		}()
		<-begun
		asked := make(chan answer, 1)
		go func() { asked <- w.ask("DELETE", "compose/cancel/"+id, "") }()
		// The engine ends the context of a request that was cancelled.
		for {
			if v, _ := w.host.Request(ctx, request); v.State == "failed" {
				break
			}
		}
		select {
		case a := <-asked:
			t.Errorf("the answer came while it ran: %d %s", a.code, a.text)
			asked <- a
		case <-time.After(200 * time.Millisecond): // long enough for one that does not wait
		}
		cancel()
		<-stopped
		<-handled
		if a := <-asked; a.code != 200 {
			t.Errorf("%d %s", a.code, a.text)
		}
		unknown(id)
	})
	t.Run("the other composes are still there", func(t *testing.T) {
		if n := len(w.get("compose/status/*")["uuids"].([]any)); n != 2 {
			t.Errorf("%d composes", n)
		}
	})
}

func TestDelete(t *testing.T) {
	w := newComposes(t)
	ids, requests := life(t, w)
	got := w.must("DELETE", "compose/delete/"+strings.ToUpper(ids["FINISHED"])+","+noUUID+","+ids["RUNNING"]+","+ids["FAILED"], "")
	wantJSON(t, any(got), `{"uuids":[{"uuid":"`+ids["FINISHED"]+`","status":true},{"uuid":"`+ids["FAILED"]+`","status":true}],"errors":[
		{"id":"UnknownUUID","msg":"`+noUUID+` is not a valid build uuid"},{"id":"BuildInWrongState","msg":"Build `+ids["RUNNING"]+` is not in FINISHED or FAILED."}]}`)
	if _, err := w.host.Artifact(t.Context(), requests["FINISHED"], compose.ArtifactImage); sdk.CodeOf(err) != sdk.NotFound {
		t.Errorf("the image is still there: %v", err)
	}
	check := func(t *testing.T) {
		t.Helper()
		var left []string
		for _, d := range w.get("compose/status/*")["uuids"].([]any) {
			left = append(left, d.(map[string]any)["id"].(string))
		}
		if diff := cmp.Diff([]string{ids["WAITING"], ids["RUNNING"]}, left); diff != "" {
			t.Error(diff)
		}
		w.wantFault("GET", "compose/image/"+ids["FINISHED"], "", "UnknownUUID", "")
	}
	check(t)
	data, _ := w.host.Dirs()
	index := filepath.Join(data, "composes.json")
	for name, prepare := range map[string]func() error{
		"a restart":                     func() error { return nil },
		"the loss of the index":         func() error { return os.Remove(index) },
		"damage to the index":           func() error { return os.WriteFile(index, []byte(`{"entries":[{"uuid":"../x"}]}`), 0o600) },
		"the index of another database": func() error { return os.WriteFile(index, []byte(`{"through":1000000,"entries":[]}`), 0o600) },
	} {
		t.Run("and after "+name, func(t *testing.T) {
			if err := prepare(); err != nil {
				t.Fatal(err)
			}
			w.start(nil)
			check(t)
		})
	}
}

func TestTypes(t *testing.T) {
	w := newWorld(t, nil)
	const types = `{"types":[{"name":"live-iso","enabled":false},{"name":"qcow2","enabled":%t},{"name":"tar","enabled":%t}]}`
	wantJSON(t, any(w.get("compose/types")), fmt.Sprintf(types, true, true))
	wantJSON(t, any(w.get("compose/types?distro=test-1&arch=x86_64")), fmt.Sprintf(types, true, true))
	wantJSON(t, any(w.get("compose/types?arch=s390x")), fmt.Sprintf(types, false, false))
	w.wantFault("GET", "compose/types?arch=a%20b", "", "InvalidChars", "")
}

func TestManyComposes(t *testing.T) {
	w := newComposes(t)
	const n = 25 // more than a page of the ledger
	var ids []string
	for i := range n {
		id, request := w.compose(start)
		ids = append(ids, id)
		if i%2 == 0 {
			w.end(request, "failed", "")
		}
	}
	list := func() (got []string) {
		for _, key := range []string{"new", "failed"} {
			path := map[string]string{"new": "compose/queue", "failed": "compose/failed"}[key]
			for _, d := range w.get(path)[key].([]any) {
				got = append(got, d.(map[string]any)["id"].(string))
			}
		}
		return got
	}
	var want []string
	for _, odd := range []int{1, 0} {
		for i := odd; i < n; i += 2 {
			want = append(want, ids[i])
		}
	}
	if diff := cmp.Diff(want, list()); diff != "" {
		t.Error(diff)
	}
	data, _ := w.host.Dirs()
	for name, index := range map[string]string{"its own index": "", "that of another database": `{"through":1000000,"entries":[]}`} {
		if index != "" {
			if err := os.WriteFile(filepath.Join(data, "composes.json"), []byte(index), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		w.start(nil)
		if diff := cmp.Diff(want, list()); diff != "" {
			t.Errorf("after a restart with %s: %s", name, diff)
		}
	}
	seen := slices.Clone(ids)
	slices.Sort(seen)
	if len(slices.Compact(seen)) != n {
		t.Error("a uuid is there twice")
	}
}
