package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const simple = "name = \"%s\"\ndescription = \"\"\nversion = \"%s\"\n"

func TestTransport(t *testing.T) {
	w := newWorld(t, nil)
	for _, c := range []struct {
		method, path string
		code         int
		msg          string
	}{
		{"GET", "/", 404, "Not Found"},
		{"GET", "/api/v2/blueprints/list", 404, "Not Found"},
		{"GET", "/api/v1/nothing", 404, "Not Found"},
		{"GET", "/api/v1/blueprints/listing", 404, "Not Found"},
		{"GET", "/api/v1/blueprints/info/", 404, "Not Found"},
		{"GET", "/api/v1/blueprints/list/", 404, "Not Found"},
		{"GET", "/api/v1/blueprints/info/a/b", 404, "Not Found"},
		{"GET", "/api/v1/blueprints/diff/a//b", 404, "Not Found"},
		{"GET", "/api/v1/modules/list/", 404, "Not Found"},
		{"GET", "/api/v1/blueprints/info/a%2Fb", 404, "Not Found"},
		{"GET", "/api/v0/distros/list", 404, "Not Found"},
		{"GET", "/api/v0/blueprints/change/a/b", 404, "Not Found"},
		{"GET", "/api/v1/upload/providers", 404, "Not Found"},
		{"POST", "/api/v1/compose/uploads/schedule/x", 404, "Not Found"},
		{"GET", "/api/v1/upload/info/x", 404, "Not Found"},
		{"POST", "/api/v1/blueprints/list", 405, "Method Not Allowed"},
		{"GET", "/api/v1/blueprints/new", 405, "Method Not Allowed"},
		{"GET", "/api/v1/compose", 405, "Method Not Allowed"},
		{"PUT", "/api/v1/compose/types", 405, "Method Not Allowed"},
		{"GET", "/api/v1/blueprints/delete/a", 405, "Method Not Allowed"},
		{"GET", "/api/v1/blueprints/workspace/a", 405, "Method Not Allowed"},
		{"POST", "/api/status", 405, "Method Not Allowed"},
	} {
		t.Run(c.method+" "+c.path, func(t *testing.T) {
			a := w.ask(c.method, c.path, "")
			want := fmt.Sprintf(`{"status":false,"errors":[{"id":"HTTPError","code":%d,"msg":%q}]}`, c.code, c.msg)
			if a.code != c.code {
				t.Errorf("code %d", a.code)
			}
			wantJSON(t, any(a.object(t)), want)
		})
	}
	for _, path := range []string{
		"GET blueprints/info", "GET blueprints/changes", "GET blueprints/change", "GET blueprints/change/a", "GET blueprints/diff/a/b",
		"GET blueprints/depsolve", "GET blueprints/freeze", "POST blueprints/undo", "POST blueprints/undo/a", "POST blueprints/tag",
		"DELETE blueprints/delete", "DELETE blueprints/workspace", "GET projects/info", "GET projects/depsolve", "GET projects/source/info",
		"DELETE projects/source/delete", "GET modules/info", "GET compose/status", "GET compose/info", "GET compose/metadata",
		"GET compose/results", "GET compose/logs", "GET compose/image", "GET compose/log", "DELETE compose/cancel", "DELETE compose/delete",
	} {
		t.Run("an argument is left out in "+path, func(t *testing.T) {
			method, path, _ := strings.Cut(path, " ")
			w.wantFault(method, path, "", "HTTPError", "argument")
		})
	}
	t.Run("below the mount, the paths are the same", func(t *testing.T) {
		if a := w.ask("GET", "/composer/api/v1/blueprints/list", ""); a.code != 200 {
			t.Errorf("%d %s", a.code, a.text)
		}
	})
	t.Run("HEAD is a GET without its body", func(t *testing.T) {
		if a := w.ask("HEAD", "blueprints/list", ""); a.code != 200 || a.text != "" {
			t.Errorf("%d %q", a.code, a.text)
		}
	})
}

func TestNames(t *testing.T) {
	w := newWorld(t, nil)
	for _, name := range []string{"a%20b", "a,", ",a", "a,,b", "%2e%2e;", "a*", "a:b", "a+b", "%C3%A4", "a%00"} {
		for _, path := range []string{"GET blueprints/info/%s", "GET blueprints/changes/%s", "GET blueprints/depsolve/%s", "GET blueprints/freeze/%s"} {
			method, path, _ := strings.Cut(fmt.Sprintf(path, name), " ")
			w.wantFault(method, path, "", "InvalidChars", "Invalid characters in API path")
		}
	}
	for _, path := range []string{
		"DELETE blueprints/delete/a,b", "DELETE blueprints/workspace/a%20b", "POST blueprints/tag/a:b", "POST blueprints/undo/a/b:c",
		"POST blueprints/undo/a:c/b", "GET blueprints/change/a/b:c", "GET blueprints/diff/a/b/c:d", "GET blueprints/diff/a:b/c/d",
		"GET projects/info/a%20b", "GET projects/info/a,,b", "GET projects/depsolve/a;b", "GET modules/list/a%7Cb", "GET modules/info/%60",
		"GET projects/source/info/a%20b", "DELETE projects/source/delete/a%20b", "GET compose/status/a%20b", "GET compose/info/a%20b",
		"GET compose/log/%24", "GET compose/image/a%20", "DELETE compose/cancel/%24", "DELETE compose/delete/a,,b",
	} {
		method, path, _ := strings.Cut(path, " ")
		w.wantFault(method, path, "", "InvalidChars", "Invalid characters in API path")
	}
	for _, path := range []string{"blueprints/list", "blueprints/info/a", "blueprints/changes/a", "blueprints/depsolve/a", "blueprints/freeze/a", "blueprints/diff/a/b/c"} {
		for _, branch := range []string{"a%20b", "a/b", "", "%2e%2e%2f"} {
			w.wantFault("GET", path+"?branch="+branch, "", "InvalidChars", "Invalid characters in branch argument")
		}
	}
	for _, path := range []string{"blueprints/info/a", "blueprints/freeze/a", "projects/source/info/a", "blueprints/change/a/b"} {
		w.wantFault("GET", path+"?format=a%20b", "", "InvalidChars", "Invalid characters in format argument")
	}
	for _, path := range []string{"blueprints/list", "blueprints/changes/a", "projects/list", "modules/list", "modules/list/bash"} {
		for _, page := range []string{"limit=x", "offset=x", "limit=", "limit=1.5", "offset=-1", "limit=-1", "limit=99999999999999999999"} {
			w.wantFault("GET", path+"?"+page, "", "BadLimitOrOffset", "")
		}
	}
	t.Run("branches that git cannot have are not written", func(t *testing.T) {
		for _, branch := range []string{"..", ".", "a..b", "a:b", "*", "a.lock", ".a", "a.", "-a"} {
			for _, route := range []string{"blueprints/new", "blueprints/workspace"} {
				w.wantFault("POST", route+"?branch="+branch, fmt.Sprintf(simple, "x", "1.0.0"), "InvalidChars", "branch")
			}
			w.wantFault("GET", "blueprints/list?branch="+branch, "", "BlueprintsError", "")
		}
	})
}

func TestPaging(t *testing.T) {
	w := newWorld(t, nil)
	for _, name := range []string{"c", "a", "B"} {
		w.push("blueprints/new", fmt.Sprintf(simple, name, "1.0.0"))
	}
	for query, want := range map[string]string{
		"":                   `{"blueprints":["B","a","c"],"total":3,"offset":0,"limit":20}`,
		"?limit=0":           `{"blueprints":[],"total":3,"offset":0,"limit":0}`,
		"?offset=1&limit=1":  `{"blueprints":["a"],"total":3,"offset":1,"limit":1}`,
		"?offset=7":          `{"blueprints":[],"total":3,"offset":7,"limit":20}`,
		"?branch=master":     `{"blueprints":["B","a","c"],"total":3,"offset":0,"limit":20}`,
		"?limit=1000&x=%20y": `{"blueprints":["B","a","c"],"total":3,"offset":0,"limit":1000}`,
	} {
		t.Run("list"+query, func(t *testing.T) { wantJSON(t, any(w.get("blueprints/list"+query)), want) })
	}
	w.push("blueprints/new", fmt.Sprintf(simple, "a", "1.0.0"))
	changes := w.get("blueprints/changes/a?limit=0")
	wantJSON(t, any(changes), `{"blueprints":[{"name":"a","total":2,"changes":[]}],"errors":[],"offset":0,"limit":0}`)
}

const full = `
name = "full"
description = "All of it"
version = "1.2.3"
unknown = "is dropped"

[[packages]]
name = "Zlib"
version = "*"
arch = "dropped"

[[packages]]
name = "bash"
version = "5.*"

[[modules]]
name = "httpd"
version = "2.4.*"

[[modules]]
name = "Glibc"
version = "*"

[[groups]]
name = "core"

[customizations]
hostname = "h"
anything = { goes = [1, 2.5, true, "x"] }

[[customizations.user]]
name = "u"
uid = 1001

[[repos.git]]
rpmname = "r"
rpmversion = "1"
rpmrelease = "1"
summary = "s"
repo = "https://example.com/r"
ref = "main"
destination = "/opt/r"
`

const fullJSON = `{"name":"full","description":"All of it","version":"1.2.3",
"packages":[{"name":"bash","version":"5.*"},{"name":"Zlib","version":"*"}],
"modules":[{"name":"Glibc","version":"*"},{"name":"httpd","version":"2.4.*"}],"groups":[{"name":"core"}],
"customizations":{"hostname":"h","anything":{"goes":[1,2.5,true,"x"]},"user":[{"name":"u","uid":1001}]},
"repos":{"git":[{"rpmname":"r","rpmversion":"1","rpmrelease":"1","summary":"s","repo":"https://example.com/r","ref":"main","destination":"/opt/r"}]}}`

func TestNormalForm(t *testing.T) {
	w := newWorld(t, nil)
	blueprint := func(name string) any {
		list := w.get("blueprints/info/" + name)["blueprints"].([]any)
		if len(list) != 1 {
			t.Fatalf("%s: %v", name, list)
		}
		return list[0]
	}
	w.push("blueprints/new", full)
	wantJSON(t, blueprint("full"), fullJSON)

	t.Run("TOML gives the same back", func(t *testing.T) {
		text := w.ask("GET", "blueprints/info/full?format=toml", "").text
		w.push("blueprints/new?branch=again", text)
		var want any
		_ = json.Unmarshal([]byte(strings.Replace(fullJSON, "1.2.3", "1.2.4", 1)), &want)
		list := w.get("blueprints/info/full?branch=again")["blueprints"].([]any)
		if diff := cmp.Diff(want, list[0]); diff != "" {
			t.Error(diff, text)
		}
	})
	t.Run("JSON gives the same back", func(t *testing.T) {
		w.push("blueprints/new", strings.Replace(fullJSON, "full", "fromjson", 1))
		wantJSON(t, blueprint("fromjson"), strings.Replace(fullJSON, "full", "fromjson", 1))
	})
	t.Run("empty lists are there", func(t *testing.T) {
		w.push("blueprints/new", `{"name":"bare","description":"","customizations":{},"repos":{"git":[]},"version":null}`)
		wantJSON(t, blueprint("bare"), `{"name":"bare","description":"","version":"0.0.1","packages":[],"modules":[],"groups":[]}`)
	})
	t.Run("customizations may be an array of tables", func(t *testing.T) {
		w.push("blueprints/new", "name=\"arr\"\ndescription=\"\"\n[[customizations]]\nhostname=\"one\"\n[[customizations]]\nhostname=\"two\"\n")
		wantJSON(t, blueprint("arr"), `{"name":"arr","description":"","version":"0.0.1","packages":[],"modules":[],"groups":[],"customizations":{"hostname":"one"}}`)
	})
	t.Run("distro, arch and containers are kept", func(t *testing.T) {
		w.push("blueprints/new", `{"name":"succ","description":"","distro":"test-1","arch":"x86_64","containers":[{"source":"quay.io/x"}]}`)
		wantJSON(t, blueprint("succ"), `{"name":"succ","description":"","version":"0.0.1","packages":[],"modules":[],"groups":[],"distro":"test-1","arch":"x86_64","containers":[{"source":"quay.io/x"}]}`)
		w.wantFault("POST", "blueprints/new", `{"name":"succ","description":"","distro":"other"}`, "BlueprintsError", "other")
	})
	t.Run("the content type may have parameters", func(t *testing.T) {
		if a := w.send("POST", "blueprints/new", "text/x-toml; charset=utf-8", fmt.Sprintf(simple, "p", "1.0.0")); a.code != 200 {
			t.Errorf("%d %s", a.code, a.text)
		}
	})
}

func TestFaultsOfBlueprints(t *testing.T) {
	w := newWorld(t, nil)
	head := "name = \"n\"\ndescription = \"\"\n"
	for name, c := range map[string]struct{ body, id, words string }{
		"no name, no description, no version": {"version = \"1\"", "BlueprintsError", "Missing 'name'\nMissing 'description'\nInvalid 'version', must use Semantic Versioning"},
		"a version of two numbers":            {head + "version = \"1.2\"", "BlueprintsError", "Invalid 'version', must use Semantic Versioning"},
		"a version with a leading zero":       {head + "version = \"1.02.3\"", "BlueprintsError", "Invalid 'version'"},
		"a version that is a number":          {head + "version = 1", "BlueprintsError", "Invalid 'version'"},
		"an entry without both":               {head + "[[packages]]\nname=\"a\"\nversion=\"*\"\n[[packages]]\n", "BlueprintsError", "'packages' errors:\n2 is missing 'name', 'version'"},
		"an entry in upper case":              {head + "[[modules]]\nname=\"a\"\nversion=\"*\"\n[[modules]]\nName=\"a\"\nversion=\"*\"", "BlueprintsError", "'modules' errors:\n2 Name should be name"},
		"a group without a name":              {head + "[[groups]]\nid=\"a\"\n", "BlueprintsError", "'groups' errors:\n1 is missing 'name'"},
		"several lists":                       {head + "[[groups]]\n[[packages]]\nname=\"a\"", "BlueprintsError", "'packages' errors:\n1 is missing 'version'\n'groups' errors:\n1 is missing 'name'"},
		"a repository with nothing":           {head + "[[repos.git]]\n", "BlueprintsError", "'repos.git' errors:\n1 is missing 'rpmname', 'rpmversion', 'rpmrelease', 'summary', 'repo', 'ref', 'destination'"},
		"a key without its user":              {head + "[[customizations.sshkey]]\nkey=\"k\"", "BlueprintsError", "'customizations.sshkey' errors:\n1 is missing 'user'"},
		"a user without a name":               {head + "[[customizations.user]]\nkey=\"k\"", "BlueprintsError", "'customizations.user' errors:\n1 is missing 'name'"},
		"a group of users without a name":     {head + "[[customizations.group]]\ngid=1", "BlueprintsError", "'customizations.group' errors:\n1 is missing 'name'"},
		"a kernel without append":             {head + "[customizations.kernel]\n", "BlueprintsError", "'customizations.kernel': missing append field."},
		"a kernel in upper case":              {head + "[customizations.kernel]\nappenD=\"x\"", "BlueprintsError", "kernel appenD should be append\n'customizations.kernel': missing append field."},
		"an empty timezone":                   {head + "[customizations.timezone]\n", "BlueprintsError", "'customizations.timezone': missing timezone or ntpservers fields."},
		"a timezone in upper case":            {head + "[customizations.timezone]\nNTPservers=[]", "BlueprintsError", "timezone NTPservers should be ntpservers"},
		"an empty locale":                     {head + "[customizations.locale]\n", "BlueprintsError", "'customizations.locale': missing languages or keyboard fields."},
		"a locale in upper case":              {head + "[customizations.locale]\nKeyboard=\"us\"", "BlueprintsError", "locale Keyboard should be keyboard"},
		"an empty firewall":                   {head + "[customizations.firewall]\n", "BlueprintsError", "'customizations.firewall': missing ports field or services section."},
		"a firewall in upper case":            {head + "[customizations.firewall]\nPorts=[]", "BlueprintsError", "firewall Ports should be ports"},
		"empty services of a firewall":        {head + "[customizations.firewall.services]\n", "BlueprintsError", "'customizations.firewall.services': missing enabled or disabled fields."},
		"services of a firewall, upper case":  {head + "[customizations.firewall.services]\nEnabled=[]", "BlueprintsError", "firewall.services Enabled should be enabled"},
		"empty services":                      {head + "[customizations.services]\n", "BlueprintsError", "'customizations.services': missing enabled or disabled fields."},
		"services in upper case":              {head + "[customizations.services]\nDisabled=[]", "BlueprintsError", "services Disabled should be disabled"},
		"packages that are no list":           {head + "packages = \"bash\"", "BlueprintsError", "packages"},
		"an entry that is no table":           {head + "packages = [\"bash\"]", "BlueprintsError", "'packages' errors:\n1 "},
		"a package's version is a number":     {head + "[[packages]]\nname=\"a\"\nversion=5", "BlueprintsError", "'packages' errors:\n1 version must be a string"},
		"customizations that are no table":    {head + "customizations = 5", "BlueprintsError", "customizations"},
		"a kernel that is no table":           {head + "[customizations]\nkernel = 5", "BlueprintsError", "customizations.kernel"},
		"users that are no list":              {head + "[customizations]\nuser = 5", "BlueprintsError", "customizations.user"},
		"repos that are no table":             {head + "repos = 5", "BlueprintsError", "repos"},
		"a number that is none":               {head + "[customizations]\nx = nan", "BlueprintsError", "number"},
		"broken TOML":                         {"name = ", "BlueprintsError", ""},
		"broken JSON":                         {"{", "BlueprintsError", ""},
		"JSON with something after":           {`{"name":"a","description":""} {}`, "BlueprintsError", ""},
		"a name with a space":                 {"name = \"a b\"\ndescription = \"\"", "InvalidChars", "Invalid characters"},
		"a name with a slash":                 {"name = \"../a\"\ndescription = \"\"", "InvalidChars", "Invalid characters"},
		"an empty name":                       {"name = \"\"\ndescription = \"\"", "InvalidChars", "Invalid characters"},
		"a name that is too long":             {"name = \"" + strings.Repeat("x", 300) + "\"\ndescription = \"\"", "BlueprintsError", "name"},
		"deep arrays":                         {head + "x = " + strings.Repeat("[", 100_000), "BlueprintsError", "deep"},
		"deep tables":                         {head + "x = " + strings.Repeat("{a=", 100_000), "BlueprintsError", "deep"},
		"deep keys":                           {head + strings.Repeat("a.", 100_000) + "a = 1", "BlueprintsError", "deep"},
		"deep headers":                        {head + "[" + strings.Repeat("a.", 100_000) + "a]", "BlueprintsError", "deep"},
		"deep JSON":                           {`{"name":"a","description":"","x":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + "}", "BlueprintsError", "deep"},
		"very deep JSON":                      {`{"x":` + strings.Repeat("[", 400_000), "BlueprintsError", ""},
		"a large body":                        {head + "#" + strings.Repeat("x", 2<<20), "BlueprintsError", "bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, route := range []string{"blueprints/new", "blueprints/workspace"} {
				w.wantFault("POST", route, c.body, c.id, c.words)
			}
		})
	}
	for name, kind := range map[string]string{"no content type": "", "another content type": "text/plain", "a malformed content type": ";;"} {
		t.Run(name, func(t *testing.T) {
			w.send("POST", "blueprints/new", kind, fmt.Sprintf(simple, "x", "1.0.0")).wantFault(t, name, "BlueprintsError", "Content-Type")
		})
	}
	t.Run("an empty body", func(t *testing.T) {
		for _, kind := range []string{"text/x-toml", "application/json"} {
			w.send("POST", "blueprints/new", kind, "").wantFault(t, kind, "BlueprintsError", "")
		}
	})
	t.Run("nothing was kept", func(t *testing.T) {
		wantJSON(t, any(w.get("blueprints/list")), `{"blueprints":[],"total":0,"offset":0,"limit":20}`)
	})
}

func TestVersions(t *testing.T) {
	w := newWorld(t, nil)
	for _, c := range []struct{ sent, stored string }{
		{"", "0.0.1"}, {"", "0.0.2"}, {"1.2.3", "1.2.3"}, {"1.2.3", "1.2.4"}, {"1.2.3", "1.2.3"}, {"0.1.0", "0.1.0"},
		{"2.0.0-rc1+b7", "2.0.0-rc1+b7"}, {"2.0.0-rc1+b7", "2.0.0"}, {"2.0.0-a", "2.0.0-a"}, {"", "2.0.0"}, {"", "2.0.1"},
		{"99999999999999999999.0.9", "99999999999999999999.0.9"}, {"99999999999999999999.0.9", "99999999999999999999.0.10"},
	} {
		text := "name = \"v\"\ndescription = \"\"\n"
		if c.sent != "" {
			text += "version = \"" + c.sent + "\"\n"
		}
		w.push("blueprints/new", text)
		got := w.get("blueprints/info/v")["blueprints"].([]any)[0].(map[string]any)["version"]
		if got != c.stored {
			t.Errorf("sent %q: stored %v, want %s", c.sent, got, c.stored)
		}
	}
	w.must("DELETE", "blueprints/delete/v", "")
	w.push("blueprints/new", "name = \"v\"\ndescription = \"\"\n")
	if got := w.get("blueprints/info/v")["blueprints"].([]any)[0].(map[string]any)["version"]; got != "0.0.1" {
		t.Errorf("after a delete: %v", got)
	}
}

func TestHistory(t *testing.T) {
	w := newWorld(t, nil)
	data, _ := w.host.Dirs()
	repo := filepath.Join(data, "blueprints", "git")
	git := func(args ...string) string {
		t.Helper()
		c := exec.Command("git", append([]string{"-C", repo}, args...)...)
		c.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null")
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	if got := git("log", "--format=%s|%an|%ae|%cn|%ce", "master"); got != "Initial Recipe repository commit|bdcs-api-server|user-email|bdcs-api-server|user-email" {
		t.Errorf("the first commit: %s", got)
	}
	const n = 6
	for i := range n {
		w.push("blueprints/new", fmt.Sprintf("name = \"h\"\ndescription = \"%d\"\nversion = \"1.0.%d\"\n", i, i))
	}
	w.push("blueprints/new", fmt.Sprintf(simple, "other", "1.0.0"))
	changes := w.get("blueprints/changes/h")["blueprints"].([]any)[0].(map[string]any)["changes"].([]any)
	stamp := regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$`)
	for i, c := range changes {
		c := c.(map[string]any)
		if c["message"] != fmt.Sprintf("Recipe h, version 1.0.%d saved.", n-1-i) || c["revision"] != nil ||
			!stamp.MatchString(c["timestamp"].(string)) || len(c["commit"].(string)) != 40 {
			t.Errorf("change %d: %v", i, c)
		}
	}
	if len(changes) != n {
		t.Errorf("%d changes", len(changes))
	}
	commits := w.commits("h")

	t.Run("a commit shows the blueprint as it was", func(t *testing.T) {
		wantJSON(t, any(w.get("blueprints/change/h/"+commits[4])), `{"name":"h","description":"1","version":"1.0.1","packages":[],"modules":[],"groups":[]}`)
		if got := w.ask("GET", "blueprints/change/h/"+commits[4]+"?format=toml", "").text; got != git("show", commits[4]+":h.toml")+"\n" {
			t.Errorf("%q", got)
		}
		for _, path := range []string{"h/" + strings.Repeat("0", 40), "h/abc", "h/" + commits[0][:10], "none/" + commits[0], "other/" + commits[0], "h/NEWEST"} {
			w.wantFault("GET", "blueprints/change/"+path, "", "UnknownCommit", "")
		}
	})
	t.Run("a tag is given once, and counts", func(t *testing.T) {
		tag := func() {
			t.Helper()
			if a := w.send("POST", "blueprints/tag/h", "application/json", ""); a.code != 200 || a.text != `{"status":true}` {
				t.Fatalf("%d %s", a.code, a.text)
			}
		}
		revisions := func() (list []any) {
			for _, c := range w.get("blueprints/changes/h?limit=3")["blueprints"].([]any)[0].(map[string]any)["changes"].([]any) {
				list = append(list, c.(map[string]any)["revision"])
			}
			return list
		}
		tag()
		tag()
		wantJSON(t, any(revisions()), `[1, null, null]`)
		if got := git("for-each-ref", "--format=%(refname) %(objecttype) %(contents:subject) %(taggername) %(taggeremail) %(*objectname)", "refs/tags"); got !=
			"refs/tags/master/h.toml/r1 tag master/h.toml/r1 bdcs-api-server <user-email> "+commits[0] {
			t.Errorf("tags: %s", got)
		}
		w.push("blueprints/new", fmt.Sprintf(simple, "h", "2.0.0"))
		wantJSON(t, any(revisions()), `[null, 1, null]`)
		tag()
		wantJSON(t, any(revisions()), `[2, 1, null]`)
		git("pack-refs", "--all")
		tag()
		wantJSON(t, any(revisions()), `[2, 1, null]`)
		w.wantFault("POST", "blueprints/tag/none", "", "UnknownBlueprint", "Unknown blueprint")
	})
	t.Run("undo makes a commit with the old content", func(t *testing.T) {
		before := len(w.commits("h"))
		if a := w.send("POST", "blueprints/undo/h/"+commits[5], "application/json", ""); a.code != 200 {
			t.Fatalf("%d %s", a.code, a.text)
		}
		after := w.commits("h")
		if len(after) != before+1 || git("log", "-1", "--format=%s", after[0]) != "h.toml reverted to commit "+commits[5] {
			t.Errorf("%d commits after %d: %s", len(after), before, git("log", "-1", "--format=%s", after[0]))
		}
		info := w.get("blueprints/info/h")
		wantJSON(t, info["blueprints"], `[{"name":"h","description":"0","version":"1.0.0","packages":[],"modules":[],"groups":[]}]`)
		wantJSON(t, info["changes"], `[{"name":"h","changed":false}]`)
		w.wantFault("POST", "blueprints/undo/h/"+strings.Repeat("a", 40), "", "UnknownCommit", "")
		w.wantFault("POST", "blueprints/undo/none/"+commits[0], "", "UnknownCommit", "")
		w.wantFault("POST", "blueprints/undo/h/x", "", "UnknownCommit", "")
	})
	t.Run("a deleted blueprint has its history, and comes back", func(t *testing.T) {
		before := w.commits("h")
		wantJSON(t, any(w.must("DELETE", "blueprints/delete/h", "")), `{"status":true}`)
		if got := git("log", "-1", "--format=%s", "master"); got != "Recipe h.toml deleted" {
			t.Errorf("the commit: %s", got)
		}
		if diff := cmp.Diff(before, w.commits("h")); diff != "" {
			t.Error(diff)
		}
		wantJSON(t, any(w.get("blueprints/list")["blueprints"]), `["other"]`)
		wantJSON(t, any(w.get("blueprints/info/h")), `{"blueprints":[],"changes":[],"errors":[{"id":"UnknownBlueprint","msg":"h: "}]}`)
		w.wantFault("DELETE", "blueprints/delete/h", "", "BlueprintsError", "h")
		w.wantFault("POST", "blueprints/tag/h", "", "UnknownBlueprint", "Unknown blueprint")
		w.must("POST", "blueprints/undo/h/"+commits[0], "")
		wantJSON(t, any(w.get("blueprints/list")["blueprints"]), `["h","other"]`)
	})
	t.Run("git finds nothing wrong", func(t *testing.T) {
		if out := git("fsck", "--full", "--strict"); out != "" && !strings.HasPrefix(out, "notice") {
			t.Errorf("fsck: %s", out)
		}
	})
	t.Run("who has no history is unknown", func(t *testing.T) {
		wantJSON(t, any(w.get("blueprints/changes/none,other?limit=0")),
			`{"blueprints":[{"name":"other","total":1,"changes":[]}],"errors":[{"id":"UnknownBlueprint","msg":"none"}],"offset":0,"limit":0}`)
	})
}

func TestBranches(t *testing.T) {
	w := newWorld(t, nil)
	w.push("blueprints/new", fmt.Sprintf(simple, "a", "1.0.0"))
	w.wantFault("GET", "blueprints/list?branch=dev", "", "BlueprintsError", "dev")
	wantJSON(t, any(w.get("blueprints/info/a?branch=dev")["errors"]), `[{"id":"UnknownBlueprint","msg":"a: "}]`)
	wantJSON(t, any(w.get("blueprints/changes/a?branch=dev")["errors"]), `[{"id":"UnknownBlueprint","msg":"a"}]`)
	w.push("blueprints/new?branch=dev", fmt.Sprintf(simple, "b", "1.0.0"))
	wantJSON(t, any(w.get("blueprints/list?branch=dev")["blueprints"]), `["a","b"]`)
	wantJSON(t, any(w.get("blueprints/list")["blueprints"]), `["a"]`)
	w.push("blueprints/new?branch=dev", fmt.Sprintf(simple, "a", "1.0.0"))
	versions := func(branch string) any {
		return w.get("blueprints/info/a?branch=" + branch)["blueprints"].([]any)[0].(map[string]any)["version"]
	}
	if versions("dev") != "1.0.1" || versions("master") != "1.0.0" {
		t.Errorf("%v on dev, %v on master", versions("dev"), versions("master"))
	}
	t.Run("a new branch knows the versions of master", func(t *testing.T) {
		w.push("blueprints/new?branch=fresh", fmt.Sprintf(simple, "a", "1.0.0"))
		if got := versions("fresh"); got != "1.0.1" {
			t.Errorf("%v", got)
		}
	})
}

func TestWorkspace(t *testing.T) {
	w := newWorld(t, nil)
	state := func() (version any, changed any) {
		t.Helper()
		info := w.get("blueprints/info/w")
		return info["blueprints"].([]any)[0].(map[string]any)["version"], info["changes"].([]any)[0].(map[string]any)["changed"]
	}
	want := func(version, changed any) {
		t.Helper()
		if v, c := state(); v != version || c != changed {
			t.Errorf("version %v, changed %v; want %v, %v", v, c, version, changed)
		}
	}
	w.push("blueprints/workspace", "name = \"w\"\ndescription = \"\"\n")
	want(nil, true)
	if text := w.ask("GET", "blueprints/info/w?format=toml", "").text; strings.Contains(text, "version") {
		t.Errorf("%s", text)
	}
	wantJSON(t, any(w.get("blueprints/list")["blueprints"]), `[]`)
	wantJSON(t, w.get("blueprints/depsolve/w")["errors"], `[]`)
	w.wantFault("POST", "compose", `{"blueprint_name":"w","compose_type":"tar"}`, "UnknownBlueprint", "Unknown blueprint name: w")
	w.wantFault("GET", "blueprints/diff/w/NEWEST/WORKSPACE", "", "UnknownBlueprint", "Unknown blueprint name: w")
	w.wantFault("POST", "blueprints/tag/w", "", "UnknownBlueprint", "")

	w.push("blueprints/new", fmt.Sprintf(simple, "w", "1.0.0"))
	want("1.0.0", false)
	w.push("blueprints/workspace", fmt.Sprintf(simple, "w", "1.0.0")) // no bump
	want("1.0.0", false)
	w.push("blueprints/workspace", fmt.Sprintf(simple, "w", "3.0.0"))
	want("3.0.0", true)
	if n := len(w.commits("w")); n != 1 {
		t.Errorf("%d commits", n)
	}
	w.push("blueprints/workspace?branch=dev", fmt.Sprintf(simple, "w", "9.0.0"))
	want("3.0.0", true)
	w.must("DELETE", "blueprints/workspace/w", "")
	want("1.0.0", false)
	w.wantFault("DELETE", "blueprints/workspace/w", "", "BlueprintsError", "Unknown blueprint: w")
	w.push("blueprints/workspace", fmt.Sprintf(simple, "w", "3.0.0"))
	w.must("POST", "blueprints/undo/w/"+w.commits("w")[0], "")
	want("1.0.0", false)
	w.push("blueprints/workspace", fmt.Sprintf(simple, "w", "3.0.0"))
	w.must("DELETE", "blueprints/delete/w", "")
	wantJSON(t, w.get("blueprints/info/w")["blueprints"], `[]`)
	t.Run("outlives a restart", func(t *testing.T) {
		w.push("blueprints/workspace", fmt.Sprintf(simple, "w", "4.0.0"))
		w.start(nil)
		want("4.0.0", true)
	})
}

func TestInfoOfSeveral(t *testing.T) {
	w := newWorld(t, nil)
	for _, name := range []string{"b", "A"} {
		w.push("blueprints/new", fmt.Sprintf(simple, name, "1.0.0"))
	}
	info := w.get("blueprints/info/b,none,A")
	var names []any
	for _, b := range info["blueprints"].([]any) {
		names = append(names, b.(map[string]any)["name"])
	}
	wantJSON(t, any(names), `["A","b"]`)
	wantJSON(t, info["changes"], `[{"name":"A","changed":false},{"name":"b","changed":false}]`)
	wantJSON(t, info["errors"], `[{"id":"UnknownBlueprint","msg":"none: "}]`)
	one := w.ask("GET", "blueprints/info/A?format=toml", "").text
	other := w.ask("GET", "blueprints/info/b?format=toml", "").text
	if got := w.ask("GET", "blueprints/info/b,A?format=toml", "").text; got != one+"\n"+other || !strings.HasSuffix(one, "]\n") {
		t.Errorf("%q", got)
	}
	w.wantFault("GET", "blueprints/info/b,none?format=toml", "", "UnknownBlueprint", "none: ")
	if a := w.ask("GET", "blueprints/info/b?format=yaml", ""); a.code != 200 || !strings.HasPrefix(a.text, "{") {
		t.Errorf("another format: %d %s", a.code, a.text)
	}
}

func TestDiff(t *testing.T) {
	w := newWorld(t, nil)
	entry := func(list, name, version string) string {
		if version == "" {
			return fmt.Sprintf("[[%s]]\nname = %q\n", list, name)
		}
		return fmt.Sprintf("[[%s]]\nname = %q\nversion = %q\n", list, name, version)
	}
	w.push("blueprints/new", "name = \"d\"\ndescription = \"one\"\nversion = \"1.0.0\"\n"+
		entry("packages", "same", "1")+entry("packages", "gone", "1")+entry("packages", "Other", "1")+entry("modules", "m", "1")+entry("groups", "g", "")+
		"[customizations]\nhostname = \"h\"\ndropped = 1\n[[customizations.user]]\nname = \"u\"\nuid = 1\n[[customizations.user]]\nname = \"v\"\n[[customizations.sshkey]]\nuser = \"t\"\nkey = \"same\"\n[[customizations.sshkey]]\nuser = \"u\"\nkey = \"k\"\n")
	w.push("blueprints/new", "name = \"d\"\ndescription = \"two\"\n"+
		entry("packages", "same", "1")+entry("packages", "Other", "2")+entry("packages", "new", "1")+entry("packages", "Added", "1")+entry("modules", "m", "2")+
		"[customizations]\nhostname = \"i\"\nadded = [1]\n[[customizations.user]]\nname = \"u\"\nuid = 2\n[[customizations.user]]\nname = \"w\"\n[[customizations.sshkey]]\nuser = \"u\"\nkey = \"l\"\n[[customizations.sshkey]]\nuser = \"t\"\nkey = \"same\"\n"+
		"[[repos.git]]\nrpmname = \"r\"\nrpmversion = \"1\"\nrpmrelease = \"1\"\nsummary = \"s\"\nrepo = \"u\"\nref = \"f\"\ndestination = \"/d\"\n")
	commits := w.commits("d")
	want := `[
	{"old":{"Description":"one"},"new":{"Description":"two"}},
	{"old":{"Version":"1.0.0"},"new":{"Version":"1.0.1"}},
	{"old":{"Module":{"name":"m","version":"1"}},"new":{"Module":{"name":"m","version":"2"}}},
	{"old":null,"new":{"Package":{"name":"Added","version":"1"}}},
	{"old":null,"new":{"Package":{"name":"new","version":"1"}}},
	{"old":{"Package":{"name":"gone","version":"1"}},"new":null},
	{"old":{"Package":{"name":"Other","version":"1"}},"new":{"Package":{"name":"Other","version":"2"}}},
	{"old":{"Group":{"name":"g"}},"new":null},
	{"old":null,"new":{"Customizations.added":[1]}},
	{"old":{"Customizations.dropped":1},"new":null},
	{"old":{"Customizations.hostname":"h"},"new":{"Customizations.hostname":"i"}},
	{"old":{"Customizations.sshkey":{"user":"u","key":"k"}},"new":{"Customizations.sshkey":{"user":"u","key":"l"}}},
	{"old":null,"new":{"Customizations.user":{"name":"w"}}},
	{"old":{"Customizations.user":{"name":"v"}},"new":null},
	{"old":{"Customizations.user":{"name":"u","uid":1}},"new":{"Customizations.user":{"name":"u","uid":2}}},
	{"old":null,"new":{"Repos.git":{"rpmname":"r","rpmversion":"1","rpmrelease":"1","summary":"s","repo":"u","ref":"f","destination":"/d"}}}]`
	for _, to := range []string{"NEWEST", commits[0], "WORKSPACE"} {
		wantJSON(t, w.get("blueprints/diff/d/" + commits[1] + "/" + to)["diff"], want)
	}
	wantJSON(t, any(w.get("blueprints/diff/d/NEWEST/NEWEST")), `{"diff":[]}`)
	text := w.ask("GET", "blueprints/info/d?format=toml", "").text
	w.push("blueprints/workspace", strings.Replace(text, `"two"`, `"three"`, 1))
	wantJSON(t, w.get("blueprints/diff/d/NEWEST/WORKSPACE")["diff"], `[{"old":{"Description":"two"},"new":{"Description":"three"}}]`)
	w.must("DELETE", "blueprints/workspace/d", "")
	wantJSON(t, w.get("blueprints/diff/d/NEWEST/WORKSPACE")["diff"], `[]`)
	w.wantFault("GET", "blueprints/diff/d/WORKSPACE/NEWEST", "", "UnknownCommit", "")
	w.wantFault("GET", "blueprints/diff/d/"+strings.Repeat("1", 40)+"/NEWEST", "", "UnknownCommit", "")
	w.wantFault("GET", "blueprints/diff/d/NEWEST/x", "", "UnknownCommit", "")
	w.wantFault("GET", "blueprints/diff/none/NEWEST/NEWEST", "", "UnknownBlueprint", "Unknown blueprint name: none")
	w.wantFault("GET", "blueprints/diff/d/NEWEST/NEWEST?branch=none", "", "UnknownBlueprint", "Unknown blueprint name: d")
}

func nevra(name, evr string) string {
	p := rpm(name, evr)
	return fmt.Sprintf(`{"name":%q,"epoch":%d,"version":%q,"release":%q,"arch":"x86_64"}`, name, p.Epoch, p.Version, p.Release)
}

func TestDepsolveAndFreeze(t *testing.T) {
	w := newWorld(t, nil)
	const head = "name = %q\ndescription = \"\"\nversion = \"1.0.0\"\n"
	w.push("blueprints/new", fmt.Sprintf(head, "good")+"[[packages]]\nname = \"bash\"\nversion = \"*\"\n[[packages]]\nname = \"httpd*\"\nversion = \"2.4.*\"\n[[modules]]\nname=\"webserver\"\nversion=\"*\"\n[[groups]]\nname = \"core\"\n")
	w.push("blueprints/new", fmt.Sprintf(head, "bad")+"[[packages]]\nname = \"nope\"\nversion = \"1\"\n")
	w.push("blueprints/new", fmt.Sprintf(head, "conflict")+"[[packages]]\nname = \"broken\"\nversion = \"*\"\n")
	got := w.get("blueprints/depsolve/good,none,bad,conflict")
	list := got["blueprints"].([]any)
	if len(list) != 3 {
		t.Fatalf("%d blueprints", len(list))
	}
	for i, name := range []string{"bad", "conflict"} {
		part := list[i].(map[string]any)
		wantJSON(t, part["dependencies"], `[]`)
		wantJSON(t, part["modules"], `[]`)
		if part["blueprint"].(map[string]any)["name"] != name {
			t.Errorf("%v", part)
		}
	}
	good := list[2].(map[string]any)
	wantJSON(t, good["dependencies"], "["+strings.Join([]string{
		nevra("bash", "5.2-1"), nevra("glibc", "2.36-9"), nevra("httpd", "1:2.4.6-7"), nevra("httpd-doc", "1:2.4.6-7"), nevra("Zlib", "1.2-1"),
	}, ",")+"]")
	wantJSON(t, good["modules"], "["+strings.Join([]string{nevra("bash", "5.2-1"), nevra("httpd", "1:2.4.6-7"), nevra("httpd-doc", "1:2.4.6-7")}, ",")+"]")
	wantJSON(t, got["errors"], `[
		{"id":"BlueprintsError","msg":"bad: The following package(s) had problems: nope-1 (No match)"},
		{"id":"BlueprintsError","msg":"conflict: There was a problem depsolving broken: nothing provides nothing-provides-this needed by broken-1.0-1.x86_64"},
		{"id":"UnknownBlueprint","msg":"none: blueprint not found"}]`)

	frozen := w.get("blueprints/freeze/good,none,bad")
	wantJSON(t, frozen["blueprints"], `[{"blueprint":{"name":"good","description":"","version":"1.0.0",
		"packages":[{"name":"bash","version":"5.2-1.x86_64"},{"name":"httpd","version":"1:2.4.6-7.x86_64"},{"name":"httpd-doc","version":"1:2.4.6-7.x86_64"}],
		"modules":[{"name":"httpd","version":"1:2.4.6-7.x86_64"}],"groups":[{"name":"core"}]}}]`)
	wantJSON(t, frozen["errors"], `[
		{"id":"BlueprintsError","msg":"bad: The following package(s) had problems: nope-1 (No match)"},
		{"id":"UnknownBlueprint","msg":"none: blueprint_not_found"}]`)

	t.Run("what is frozen and pushed back solves to the same", func(t *testing.T) {
		text := w.ask("GET", "blueprints/freeze/good?format=toml", "").text
		w.push("blueprints/new", text)
		again := w.get("blueprints/depsolve/good")["blueprints"].([]any)[0].(map[string]any)
		if diff := cmp.Diff(good["dependencies"], again["dependencies"]); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("TOML of what cannot be frozen is empty", func(t *testing.T) {
		if a := w.ask("GET", "blueprints/freeze/bad,none?format=toml", ""); a.code != 200 || a.text != "" {
			t.Errorf("%d %q", a.code, a.text)
		}
	})
	t.Run("an unknown group is an error of the solver", func(t *testing.T) {
		w.push("blueprints/new", fmt.Sprintf(head, "group")+"[[groups]]\nname = \"nogroup\"\n")
		wantJSON(t, w.get("blueprints/depsolve/group")["errors"], `[{"id":"BlueprintsError","msg":"group: The following package(s) had problems: Group nogroup (not found)"}]`)
	})
	t.Run("a source that is down is told", func(t *testing.T) {
		w.solver.refuse("http://localhost:1/base/$releasever/$basearch/", true)
		defer w.solver.refuse("http://localhost:1/base/$releasever/$basearch/", false)
		wantJSON(t, w.get("blueprints/depsolve/good")["errors"], `[{"id":"BlueprintsError","msg":"good: source base: cannot download repomd.xml"}]`)
	})
	t.Run("the workspace copy counts", func(t *testing.T) {
		w.push("blueprints/workspace", fmt.Sprintf(head, "good"))
		wantJSON(t, w.get("blueprints/depsolve/good")["blueprints"].([]any)[0].(map[string]any)["dependencies"], `[]`)
	})
}

func TestImport(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("one.toml", fmt.Sprintf(simple, "one", "1.0.0"))
	write("broken.toml", "name = ")
	write("spaces.toml", fmt.Sprintf(simple, "with spaces", "1.0.0"))
	write("evil.toml", fmt.Sprintf(simple, "../evil", "1.0.0"))
	write("ignored.txt", fmt.Sprintf(simple, "ignored", "1.0.0"))
	if err := os.Symlink("/dev/zero", filepath.Join(dir, "endless.toml")); err != nil {
		t.Fatal(err)
	}
	set := func(s *Settings) { s.Blueprints = dir }
	w := newWorld(t, set)
	wantJSON(t, w.get("blueprints/list")["blueprints"], `["one","with-spaces"]`)
	wantJSON(t, w.get("blueprints/info/with-spaces")["blueprints"], `[{"name":"with spaces","description":"","version":"1.0.0","packages":[],"modules":[],"groups":[]}]`)
	w.start(set)
	if n := len(w.commits("one")); n != 1 {
		t.Errorf("%d commits after a restart", n)
	}
	if n := len(w.commits("with-spaces")); n != 1 {
		t.Errorf("%d commits after a restart", n)
	}
}

func TestManyClientsWriteAtOnce(t *testing.T) {
	w := newWorld(t, nil)
	const clients, each = 6, 5
	codes := make(chan int, clients*each)
	for i := range clients {
		go func() {
			for range each {
				codes <- w.ask("POST", "blueprints/new", fmt.Sprintf(simple, []string{"x", "y"}[i%2], "1.0.0")).code
			}
		}()
	}
	for range clients * each {
		if code := <-codes; code != 200 {
			t.Errorf("code %d", code)
		}
	}
	if n := len(w.commits("x")) + len(w.commits("y")); n != clients*each {
		t.Errorf("%d commits", n)
	}
	commits := w.commits("x")
	slices.Sort(commits)
	if len(slices.Compact(commits)) != clients/2*each {
		t.Error("a commit is there twice")
	}
}
