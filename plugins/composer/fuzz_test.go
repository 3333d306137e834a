package main

import (
	"encoding/json"
	"strings"
	"testing"
)

// FuzzPath holds that every path gets an answer of the API's form, and that none
// is a fault of the service.
func FuzzPath(f *testing.F) {
	for _, seed := range []string{
		"GET /api/v1/blueprints/info/a,b?format=toml&branch=x", "DELETE /api/v0/compose/delete/%2e%2e", "POST /api/v1/blueprints/undo/a/b",
		"GET /api/v1/compose/status/*?status=x", "GET /composer/api/status", "GET /api/v1/blueprints/diff/a/NEWEST/WORKSPACE?branch=..",
		"GET /api/v1/blueprints/changes/a?limit=-1&offset=%00", "HEAD /api/v1/modules/list/[", "GET /api/v1/projects/info/[a-",
	} {
		f.Add(seed)
	}
	w := newWorld(f, nil)
	w.push("blueprints/new", web)
	f.Fuzz(func(t *testing.T, line string) {
		method, path, _ := strings.Cut(line, " ")
		if !strings.HasPrefix(path, "/") || strings.ContainsFunc(line, func(c rune) bool { return c <= ' ' && c != ' ' || c == '#' || c > '~' }) ||
			strings.Contains(path, " ") || strings.Contains(strings.ReplaceAll(path, "%", ""), "//") || !validEscapes(path) {
			return
		}
		switch method {
		case "GET", "POST", "DELETE", "HEAD", "PUT":
		default:
			return
		}
		a := w.of(t).ask(method, path, "")
		if a.code >= 500 {
			t.Errorf("%s: %d %s", line, a.code, a.text)
		}
		if method != "HEAD" && a.header.Get("Content-Type") == "application/json" && !json.Valid([]byte(a.text)) {
			t.Errorf("%s: %s", line, a.text)
		}
	})
}

func validEscapes(path string) bool {
	for i := 0; i < len(path); i++ {
		if path[i] != '%' {
			continue
		}
		if i+2 >= len(path) || !strings.ContainsRune("0123456789abcdefABCDEF", rune(path[i+1])) || !strings.ContainsRune("0123456789abcdefABCDEF", rune(path[i+2])) {
			return false
		}
	}
	return true
}

// FuzzStart holds that every body gets an answer of the API's form.
func FuzzStart(f *testing.F) {
	for _, seed := range []string{start, "null", "[]", "{}", `{"blueprint_name":{},"compose_type":[]}`, `{"blueprint_name":"web","compose_type":"tar","size":1e3}`} {
		f.Add(seed)
	}
	w := newWorld(f, nil)
	w.push("blueprints/new", web)
	f.Fuzz(func(t *testing.T, body string) {
		a := w.of(t).send("POST", "compose", "application/json", body)
		if a.code != 200 && a.code != 400 || !json.Valid([]byte(a.text)) {
			t.Errorf("%q: %d %s", body, a.code, a.text)
		}
	})
}
