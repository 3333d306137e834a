package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/iib-engine/iib/sdk/image/imagetest"
)

// guarded is a registry that asks for a password; open is the same without.
type guarded struct {
	host, open string
	// inside is called for every request that gives the password.
	inside atomic.Pointer[func(method string)]
}

func newGuarded(t *testing.T, password string) *guarded {
	t.Helper()
	backend := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(backend.Close)
	target, err := url.Parse(backend.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(target)
		p.Out.Header.Del("Authorization")
	}}
	g := &guarded{open: target.Host}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if _, given, _ := request.BasicAuth(); given != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="guarded"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if inside := g.inside.Load(); inside != nil {
			(*inside)(request.Method)
		}
		proxy.ServeHTTP(w, request)
	}))
	t.Cleanup(server.Close)
	g.host = strings.TrimPrefix(server.URL, "http://")
	return g
}

// Two registries with different passwords, which only the request knows: one is
// read, the results are pushed to the other.
func TestRegistryAuthsAreUsedForReadsAndWritesOfOneRequest(t *testing.T) {
	// user:first-canary and user:second-canary.
	passwords := []string{"first-canary", "second-canary"}
	encoded := []string{"dXNlcjpmaXJzdC1jYW5hcnk=", "dXNlcjpzZWNvbmQtY2FuYXJ5"}
	source, results := newGuarded(t, passwords[0]), newGuarded(t, passwords[1])
	shipped, err := os.ReadFile("../../../iib.hcl")
	if err != nil {
		t.Fatal(err)
	}
	config := strings.Replace(string(shipped), "registry {\n", fmt.Sprintf(
		"registry {\n  address = %q\n  output = \"registry.example.com\"\n  plain_http = [%q, %q]\n", results.host, results.host, source.host), 1)
	r := newReleases(t, startWith(t, config, t.TempDir()))
	store := func(name string, i imagetest.Image) string {
		if _, err := r.pusher.Push(t.Context(), source.open+"/private/"+name, i); err != nil {
			t.Fatal(err)
		}
		return source.host + "/private/" + name
	}
	bundle := func(name string, images ...string) string {
		return store(name, imagetest.Image{Arches: imagetest.Arches, Files: bundleFiles(images...), Labels: map[string]string{isBundleLabel: "true"}})
	}
	operand := store("operand:v1", imagetest.Image{})
	related := bundle("related:v1", operand)
	spec := bundle("etcd:v1", operand, related)
	auths := map[string]any{"auths": map[string]any{
		source.host:  map[string]any{"auth": encoded[0]},
		results.host: map[string]any{"auth": encoded[1]},
	}}

	secrets := append(append([]string{"registry_auths"}, passwords...), encoded...)
	var looked, reads, writes atomic.Int32
	// While the request runs its secrets are stored, but not in clear.
	read := func(string) {
		reads.Add(1)
		if looked.CompareAndSwap(0, 1) {
			r.wantNoTrace(t, secrets)
		}
	}
	write := func(method string) {
		if method == http.MethodPut {
			writes.Add(1)
		}
	}
	source.inside.Store(&read)
	results.inside.Store(&write)
	build := r.run("regenerate-bundle", "complete", map[string]any{"from_bundle_image": spec, "registry_auths": auths})
	if reads.Load() == 0 || writes.Load() == 0 {
		t.Errorf("%d reads, %d writes", reads.Load(), writes.Load())
	}
	result := build["bundle_image"].(string)
	path, ok := strings.CutPrefix(result, "registry.example.com/")
	if !ok {
		t.Errorf("bundle_image %s is not at the registry that is shown", result)
	}
	if labels := r.inspect(results.open+"/"+path, "s390x").Labels; labels[pinnedLabel] != "true" {
		t.Errorf("labels %v", labels)
	}
	nested := r.run("recursive-related-bundles", "complete", map[string]any{"parent_bundle_image": spec, "registry_auths": auths})
	if list := r.list(nested, "nested-bundles"); len(list) != 2 || list[0] != related {
		t.Errorf("nested bundles %v", list)
	}

	// What one request of a batch may read, its neighbour may not.
	status, data := r.postBatch(map[string]any{"build_requests": []any{
		map[string]any{"from_bundle_image": spec, "registry_auths": auths},
		map[string]any{"from_bundle_image": spec},
		map[string]any{"from_bundle_image": spec, "registry_auths": map[string]any{"auths": map[string]any{
			source.host: map[string]any{"auth": encoded[1]},
		}}},
	}})
	builds := decodeBuilds(t, status, data)
	for i, want := range []string{"complete", "failed", "failed"} {
		done := r.wait(builds[i]["id"])
		if done["state"] != want {
			t.Errorf("request %d of the batch is %v: %v", i, done["state"], done["state_reason"])
		}
		if reason := done["state_reason"].(string); want == "failed" && !strings.Contains(reason, spec) {
			t.Errorf("reason %s", reason)
		}
	}
	if looked.Load() == 0 {
		t.Error("nobody looked while the request ran")
	}
	r.wantNoTrace(t, secrets[1:])
	for _, path := range []string{"", "?verbose=true"} {
		_, text := r.get("/api/v1/builds" + path)
		for _, secret := range secrets {
			if strings.Contains(string(text), secret) {
				t.Errorf("%s is in the list", secret)
			}
		}
	}
	for _, b := range append(builds, build, nested) {
		_, text := r.get(fmt.Sprintf("/api/v1/builds/%v/logs", b["id"]))
		for _, secret := range secrets[1:] {
			if strings.Contains(string(text), secret) {
				t.Errorf("%s is in the log %s", secret, text)
			}
		}
	}
}

// wantNoTrace fails if a secret is in any file of the engine or in what it
// printed.
func (r *releases) wantNoTrace(t *testing.T, secrets []string) {
	t.Helper()
	err := filepath.WalkDir(r.dataDir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return nil
		}
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		for _, secret := range secrets {
			if strings.Contains(string(data), secret) {
				t.Errorf("%s is in %s", secret, path)
			}
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	for _, secret := range secrets {
		if strings.Contains(r.stderr.String(), secret) {
			t.Errorf("the server printed %s", secret)
		}
	}
}
