package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const newSource = `{"id":"extra","name":"Extra things","type":"yum-baseurl","url":"http://localhost:1/extra/$basearch/","check_ssl":true,
"gpgkey_urls":["http://localhost:1/key"],"proxy":"http://localhost:2"}`

const extraJSON = `{"id":"extra","name":"Extra things","type":"yum-baseurl","url":"http://localhost:1/extra/$basearch/","check_ssl":true,"check_gpg":false,
"gpgkey_urls":["http://localhost:1/key"],"proxy":"http://localhost:2","system":false}`

const baseJSON = `{"id":"base","name":"base","type":"yum-baseurl","url":"http://localhost:1/base/$releasever/$basearch/","check_ssl":true,"check_gpg":false,"system":true}`

func TestSources(t *testing.T) {
	w := newWorld(t, nil)
	wantJSON(t, any(w.get("projects/source/list")), `{"sources":["base"]}`)
	w.push("projects/source/new", newSource)
	wantJSON(t, any(w.get("projects/source/list")), `{"sources":["base","extra"]}`)
	wantJSON(t, any(w.get("projects/source/info/*")), `{"sources":{"base":`+baseJSON+`,"extra":`+extraJSON+`},"errors":[]}`)
	wantJSON(t, any(w.get("projects/source/info/extra,none,ex*")), `{"sources":{"extra":`+extraJSON+`},"errors":[
		{"id":"UnknownSource","msg":"none is not a valid source"},{"id":"UnknownSource","msg":"ex* is not a valid source"}]}`)
	t.Run("version 0 has no id", func(t *testing.T) {
		wantJSON(t, any(w.get("/api/v0/projects/source/info/extra")), `{"sources":{"extra":`+strings.Replace(extraJSON, `"id":"extra","name":"Extra things"`, `"name":"extra"`, 1)+`},"errors":[]}`)
		w.push("/api/v0/projects/source/new", `{"name":"zero","type":"yum-metalink","url":"http://localhost:1/m"}`)
		wantJSON(t, any(w.get("projects/source/info/zero")["sources"]),
			`{"zero":{"id":"zero","name":"zero","type":"yum-metalink","url":"http://localhost:1/m","check_ssl":false,"check_gpg":false,"system":false}}`)
		w.must("DELETE", "/api/v0/projects/source/delete/zero", "")
	})
	t.Run("TOML goes out and in", func(t *testing.T) {
		text := w.ask("GET", "projects/source/info/extra?format=toml", "").text
		if !strings.HasPrefix(text, "[extra]\n") {
			t.Errorf("%s", text)
		}
		w.must("DELETE", "projects/source/delete/extra", "")
		w.push("projects/source/new", text)
		wantJSON(t, any(w.get("projects/source/info/extra")["sources"]), `{"extra":`+extraJSON+`}`)
		w.wantFault("GET", "projects/source/info/extra,none?format=toml", "", "UnknownSource", "none is not a valid source")
	})
	t.Run("the title stands for the id, and the first counts", func(t *testing.T) {
		w.push("projects/source/new", "[zz]\ntype = \"x\"\n[titled]\nname = \"N\"\ntype = \"yum-mirrorlist\"\nurl = \"https://localhost:1/m\"\ngpgkeys = [\"file:///k\"]\n")
		wantJSON(t, any(w.get("projects/source/info/titled")["sources"]),
			`{"titled":{"id":"titled","name":"N","type":"yum-mirrorlist","url":"https://localhost:1/m","check_ssl":false,"check_gpg":false,"gpgkey_urls":["file:///k"],"system":false}}`)
	})
	t.Run("a source is replaced", func(t *testing.T) {
		w.push("projects/source/new", strings.Replace(newSource, "Extra things", "Others", 1))
		if got := w.get("projects/source/info/extra")["sources"].(map[string]any)["extra"].(map[string]any)["name"]; got != "Others" {
			t.Errorf("%v", got)
		}
	})
	t.Run("all are used for a solve, and outlive a restart", func(t *testing.T) {
		w.start(nil)
		wantJSON(t, any(w.get("projects/source/list")), `{"sources":["base","extra","titled"]}`)
		data, _ := w.host.Dirs()
		if info, err := os.Stat(filepath.Join(data, "sources.json")); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info, err)
		}
		w.solver.refuse("http://localhost:1/extra/$basearch/", true)
		w.wantFault("GET", "projects/list", "", "ProjectsError", "source extra")
		w.solver.refuse("http://localhost:1/extra/$basearch/", false)
	})
	t.Run("what is deleted is gone", func(t *testing.T) {
		wantJSON(t, any(w.must("DELETE", "projects/source/delete/extra", "")), `{"status":true}`)
		w.wantFault("DELETE", "projects/source/delete/extra", "", "UnknownSource", "source extra not found")
		wantJSON(t, any(w.get("projects/source/list")), `{"sources":["base","titled"]}`)
	})
}

func TestFaultsOfSources(t *testing.T) {
	w := newWorld(t, nil)
	for name, c := range map[string]struct{ path, body, id, words string }{
		"no id":                       {"", `{"name":"x","type":"yum-baseurl","url":"http://h/"}`, "UnknownSource", "'id' field is missing from API v1 request."},
		"no name in version 0":        {"/api/v0/", `{"id":"x","type":"yum-baseurl","url":"http://h/"}`, "ProjectsError", "name"},
		"no type":                     {"", `{"id":"x","url":"http://h/"}`, "ProjectsError", "type"},
		"no url":                      {"", `{"id":"x","type":"yum-baseurl"}`, "ProjectsError", "url"},
		"an empty url":                {"", `{"id":"x","type":"yum-baseurl","url":""}`, "ProjectsError", "url"},
		"another type":                {"", `{"id":"x","type":"yum","url":"http://h/"}`, "ProjectsError", "yum"},
		"another scheme":              {"", `{"id":"x","type":"yum-baseurl","url":"ftp://h/"}`, "ProjectsError", "url"},
		"a url with a line break":     {"", `{"id":"x","type":"yum-baseurl","url":"http://h/\n[other]"}`, "ProjectsError", "url"},
		"a flag that is a word":       {"", `{"id":"x","type":"yum-baseurl","url":"http://h/","check_ssl":"no"}`, "ProjectsError", "check_ssl"},
		"keys that are no list":       {"", `{"id":"x","type":"yum-baseurl","url":"http://h/","gpgkey_urls":"k"}`, "ProjectsError", "gpgkey_urls"},
		"a key that is no address":    {"", `{"id":"x","type":"yum-baseurl","url":"http://h/","gpgkey_urls":["k"]}`, "ProjectsError", "gpgkey_urls"},
		"a proxy that is none":        {"", `{"id":"x","type":"yum-baseurl","url":"http://h/","proxy":"p q"}`, "ProjectsError", "proxy"},
		"metadata that cannot be had": {"", `{"id":"x","type":"yum-baseurl","url":"http://localhost:1/bad/"}`, "ProjectsError", "cannot download repomd.xml"},
		"a system source":             {"", `{"id":"base","type":"yum-baseurl","url":"http://h/"}`, "SystemSource", "base is a system source, it cannot be changed."},
		"a system source, version 0":  {"/api/v0/", `{"name":"base","type":"yum-baseurl","url":"http://h/"}`, "SystemSource", "base is a system source, it cannot be changed."},
		"an id with a slash":          {"", `{"id":"../x","type":"yum-baseurl","url":"http://h/"}`, "InvalidChars", ""},
		"an id with a space":          {"", `{"id":"a b","type":"yum-baseurl","url":"http://h/"}`, "InvalidChars", ""},
		"an empty object":             {"", `{}`, "UnknownSource", "id"},
		"broken JSON":                 {"", `{`, "ProjectsError", ""},
		"broken TOML":                 {"", `id = `, "ProjectsError", ""},
		"deep TOML":                   {"", "x = " + strings.Repeat("[", 30_000), "ProjectsError", ""},
		"a large body":                {"", "#" + strings.Repeat("x", 100_000), "ProjectsError", "bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.path == "" {
				c.path = "/api/v1/"
			}
			w.wantFault("POST", c.path+"projects/source/new", c.body, c.id, c.words)
		})
	}
	w.send("POST", "projects/source/new", "application/json", "").wantFault(t, "no body", "ProjectsError", "")
	w.wantFault("DELETE", "projects/source/delete/base", "", "SystemSource", "base is a system source, it cannot be deleted.")
	w.wantFault("DELETE", "projects/source/delete/none", "", "UnknownSource", "source none not found")
	wantJSON(t, any(w.get("projects/source/list")), `{"sources":["base"]}`)
}

func project(name string, builds ...string) string {
	var list []string
	for _, evr := range builds {
		p := rpm(name, evr)
		list = append(list, fmt.Sprintf(`{"arch":"x86_64","epoch":%d,"release":%q,"build_time":"2024-02-03T04:05:06","changelog":"- first",
			"build_config_ref":"BUILD_CONFIG_REF","build_env_ref":"BUILD_ENV_REF","metadata":{},
			"source":{"license":"MIT","version":%q,"source_ref":"SOURCE_REF","metadata":{}}}`, p.Epoch, p.Release, p.Version))
	}
	return fmt.Sprintf(`{"name":%q,"summary":"The %s","description":"What it does.","homepage":"https://example.com","upstream_vcs":"UPSTREAM_VCS","builds":[%s]}`,
		name, name, strings.Join(list, ","))
}

func TestProjects(t *testing.T) {
	w := newWorld(t, nil)
	wantJSON(t, any(w.get("projects/list?limit=0")), `{"projects":[],"total":7,"offset":0,"limit":0}`)
	wantJSON(t, any(w.get("projects/list?limit=1&distro=test-1")), `{"projects":[`+project("bash", "5.1-3", "5.2-1")+`],"total":7,"offset":0,"limit":1}`)
	wantJSON(t, any(w.get("projects/info/httpd*,none")), `{"projects":[`+project("httpd", "1:2.4.6-7")+`,`+project("httpd-doc", "1:2.4.6-7")+`]}`)
	w.wantFault("GET", "projects/info/none,neither", "", "UnknownProject", "one of the requested projects does not exist: none, neither")
	wantJSON(t, any(w.get("projects/depsolve/httpd,bash")), `{"projects":[`+strings.Join([]string{
		nevra("bash", "5.2-1"), nevra("glibc", "2.36-9"), nevra("httpd", "1:2.4.6-7"),
	}, ",")+`]}`)
	w.wantFault("GET", "projects/depsolve/bash,broken", "", "ProjectsError", "nothing provides nothing-provides-this")
	w.wantFault("GET", "projects/depsolve/none", "", "ProjectsError", "none-* (No match)")
	for _, path := range []string{"projects/list", "projects/info/bash", "projects/depsolve/bash", "modules/list", "modules/info/bash", "compose/types"} {
		w.wantFault("GET", path+"?distro=other-2", "", "DistroError", "Invalid distro: other-2")
		w.wantFault("GET", path+"?distro=a%20b", "", "InvalidChars", "")
	}
}

func TestModules(t *testing.T) {
	w := newWorld(t, nil)
	wantJSON(t, any(w.get("modules/list?offset=1&limit=2")), `{"modules":[{"name":"broken","group_type":"rpm"},{"name":"glibc","group_type":"rpm"}],"total":7,"offset":1,"limit":2}`)
	wantJSON(t, any(w.get("modules/list/http*,bash")), `{"modules":[{"name":"bash","group_type":"rpm"},{"name":"httpd","group_type":"rpm"},{"name":"httpd-doc","group_type":"rpm"}],"total":3,"offset":0,"limit":20}`)
	wantJSON(t, any(w.get("modules/list/bash?limit=0")), `{"modules":[],"total":1,"offset":0,"limit":0}`)
	w.wantFault("GET", "modules/list/none*,neither", "", "UnknownModule", "one of the requested modules does not exist: none*, neither")
	info := w.get("modules/info/bash")["modules"].([]any)[0].(map[string]any)
	wantJSON(t, info["dependencies"], "["+nevra("bash", "5.2-1")+","+nevra("glibc", "2.36-9")+"]")
	delete(info, "dependencies")
	wantJSON(t, any(info), project("bash", "5.1-3", "5.2-1"))
	w.wantFault("GET", "modules/info/none", "", "UnknownModule", "one of the requested modules does not exist: none")
	w.wantFault("GET", "modules/info/broken", "", "ModulesError", "nothing-provides-this")
	t.Run("without sources there is nothing, which is no error", func(t *testing.T) {
		w := newWorld(t, func(s *Settings) { s.Sources = nil })
		wantJSON(t, any(w.get("modules/list")), `{"modules":[],"total":0,"offset":0,"limit":20}`)
		wantJSON(t, any(w.get("projects/list")), `{"projects":[],"total":0,"offset":0,"limit":20}`)
	})
}

func TestStatus(t *testing.T) {
	w := newWorld(t, nil)
	got := w.get("/api/status")
	if !cmp.Equal(got["msgs"], got["messages"]) {
		t.Errorf("%v", got)
	}
	wantJSON(t, got["msgs"], `["Compose type live-iso is disabled: xorriso is missing"]`)
	for key, want := range map[string]any{"api": "1", "db_supported": true, "db_version": "0", "schema_version": "0"} {
		if got[key] != want {
			t.Errorf("%s is %v", key, got[key])
		}
	}
	for _, key := range []string{"backend", "build"} {
		if text, _ := got[key].(string); text == "" {
			t.Errorf("no %s", key)
		}
	}
	wantJSON(t, any(w.get("distros/list")), `{"distros":["test-1"]}`)
}
