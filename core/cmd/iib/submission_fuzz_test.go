package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzSubmission sends what it likes to every handler of the real program.
func FuzzSubmission(f *testing.F) {
	files, err := filepath.Glob("testdata/contract/*.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		// One body of each rule is enough to begin with.
		rule := true
		for line := range strings.Lines(string(text)) {
			if i := strings.Index(line, " {"); strings.HasPrefix(line, "  ") && rule && i > 0 {
				body, _, _ := strings.Cut(strings.TrimSpace(line[i:]), " -> ")
				f.Add(body)
				rule = false
			} else if !strings.HasPrefix(line, "  ") {
				rule = true
			}
		}
	}
	f.Add(`{"bundles":["q.invalid/b:1"],"from_index":"q.invalid/i:1","binary_image":"q.invalid/b:1","build_tags":["\u0000"]}`)
	f.Add(`{"from_bundle_image":"q.invalid/\ud800:1","registry_auths":{"auths":{"\u0000":{"auth":"\u0000"}}}}`)
	p := startServer(f, "")
	f.Fuzz(func(t *testing.T, body string) {
		p.t = t
		for _, path := range []string{
			"add", "rm", "merge-index-image", "create-empty-index", "fbc-operations", "add-deprecations", "regenerate-bundle",
			"recursive-related-bundles", "index-diff", "add-rm-batch", "regenerate-bundle-batch",
		} {
			status, _, answer := p.do(http.MethodPost, "/api/v1/builds/"+path, body, map[string]string{"Content-Type": "application/json"})
			if status != http.StatusCreated && status != http.StatusBadRequest && status != http.StatusForbidden || !json.Valid(answer) {
				t.Errorf("%s: %q: %d %s", path, body, status, answer)
			}
		}
	})
}
