package quay_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/iib-engine/iib/plugins/registry/internal/access"
	"github.com/iib-engine/iib/plugins/registry/internal/oci"
	"github.com/iib-engine/iib/plugins/registry/internal/quay"
	"github.com/iib-engine/iib/plugins/registry/internal/store"
	"github.com/iib-engine/iib/sdk"
)

const week = 7 * 24 * time.Hour

// registry is a running one, with images by the one protocol and their history
// by the other.
type registry struct {
	t    *testing.T
	url  string
	tags *quay.Handler

	mu sync.Mutex
	at time.Time
}

func (r *registry) now() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at
}

func (r *registry) wait(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at = r.at.Add(d)
}

// begin is when the clock of every test starts: its milliseconds show that
// seconds are cut and not rounded.
var begin = time.Date(2023, 1, 24, 4, 11, 4, 900_000_000, time.UTC)

func newRegistry(t *testing.T) *registry {
	t.Helper()
	r := &registry{t: t, at: begin}
	s, err := store.Open(t.Context(), t.TempDir(), store.Options{
		Now: r.now, Rules: func(string) store.Rules { return store.Rules{Window: week, SparseLists: true} },
	})
	if err != nil {
		t.Fatal(err)
	}
	policy := access.Policy{
		{Repository: "public/**", Readers: []string{access.Anyone}, Writers: []string{"writer"}, Admins: []string{"admin"}},
		{Repository: "private/**", Readers: []string{"reader"}, Writers: []string{"writer"}, Admins: []string{"admin"}},
		{Repository: "frozen", Admins: []string{access.Anyone}},
	}
	readOnly := func(name string) bool { return name == "frozen" }
	r.tags = &quay.Handler{Store: s, Policy: policy, ReadOnly: readOnly, PermanentRemoval: true, Now: r.now}
	mux := http.NewServeMux()
	mux.Handle("/v2/", &oci.Handler{Store: s})
	mux.Handle("/api/v1/", r.tags)
	server := httptest.NewServer(mux)
	r.url = server.URL
	t.Cleanup(func() {
		server.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// do sends a request as a user, "" for none, and returns the status and body.
func (r *registry) do(user, method, path, body string) (int, string) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	if user != "" {
		req.Header.Set(sdk.UserHeader, user)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	if len(content) > 0 && resp.Header.Get("Content-Type") != "application/json" {
		r.t.Errorf("%s %s: content type %q", method, path, resp.Header.Get("Content-Type"))
	}
	return resp.StatusCode, strings.TrimSpace(string(content))
}

func (r *registry) want(status int, user, method, path, body string) string {
	r.t.Helper()
	got, content := r.do(user, method, path, body)
	if got != status {
		r.t.Fatalf("%s %s %s: status %d, want %d: %s", method, path, body, got, status, content)
	}
	return content
}

const repo = "public/index"

// tag is the API's path of a tag.
func tag(parts ...string) string {
	return "/api/v1/repository/" + repo + "/tag/" + strings.Join(parts, "/")
}

// send puts content by the registry's own protocol.
func (r *registry) send(path, contentType string, content []byte) {
	r.t.Helper()
	method := http.MethodPut
	if strings.Contains(path, "/uploads/") {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, bytes.NewReader(content))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		text, _ := io.ReadAll(resp.Body)
		r.t.Fatalf("%s: %s: %s", path, resp.Status, text)
	}
}

type object map[string]any

func encode(t *testing.T, v any) []byte {
	t.Helper()
	encoded, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

const (
	typeImage = "application/vnd.oci.image.manifest.v1+json"
	typeIndex = "application/vnd.oci.image.index.v1+json"
)

// push pushes an image made up from a seed, under a tag or "" for its digest.
func (r *registry) push(seed, tag string) digest.Digest {
	r.t.Helper()
	config := encode(r.t, object{
		"architecture": "amd64", "history": []object{
			{"created": "2022-12-31T23:59:59.5Z", "created_by": "ADD " + seed, "comment": "base"},
			{"created": "2023-01-01T00:00:00Z", "created_by": "ENV x", "empty_layer": true},
			{"created": "2023-01-02T00:00:00Z", "created_by": "RUN " + seed},
		},
	})
	layers := [][]byte{[]byte("first layer of " + seed), []byte("second layer of " + seed)}
	describe := func(mediaType string, content []byte) object {
		r.send("/v2/"+repo+"/blobs/uploads/?digest="+digest.FromBytes(content).String(), "application/octet-stream", content)
		return object{"mediaType": mediaType, "digest": digest.FromBytes(content), "size": len(content)}
	}
	manifest := encode(r.t, object{
		"schemaVersion": 2, "mediaType": typeImage,
		"config": describe("application/vnd.oci.image.config.v1+json", config),
		"layers": []object{
			describe("application/vnd.oci.image.layer.v1.tar+gzip", layers[0]),
			describe("application/vnd.oci.image.layer.v1.tar+gzip", layers[1]),
		},
	})
	d := digest.FromBytes(manifest)
	reference := tag
	if reference == "" {
		reference = d.String()
	}
	r.send("/v2/"+repo+"/manifests/"+reference, typeImage, manifest)
	return d
}

// named is a body that names a manifest.
func named(d digest.Digest) string { return fmt.Sprintf(`{"manifest_digest": %q}`, d) }

func decode[T any](t *testing.T, text string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return v
}

type page struct {
	Tags          []map[string]any
	Page          int
	HasAdditional bool `json:"has_additional"`
}

// list returns the names and starts that a query lists.
func (r *registry) list(query string) (names []string, p page) {
	r.t.Helper()
	p = decode[page](r.t, r.want(http.StatusOK, "", "GET", tag("")+query, ""))
	for _, row := range p.Tags {
		names = append(names, row["name"].(string))
	}
	return names, p
}

// same fails unless two JSON texts say the same.
func same(t *testing.T, got, want string) {
	t.Helper()
	if diff := cmp.Diff(decode[any](t, want), decode[any](t, got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// problem fails unless an answer is an error of a kind, and returns its text.
func (r *registry) problem(status int, kind, user, method, path, body string) string {
	r.t.Helper()
	content := r.want(status, user, method, path, body)
	got := decode[map[string]any](r.t, content)
	text, _ := got["message"].(string)
	want := map[string]any{
		"status": float64(status), "error_type": kind, "title": kind, "type": r.url + "/api/v1/error/" + kind,
		"detail": text, "error_message": text, "message": text,
	}
	if diff := cmp.Diff(want, got); diff != "" || text == "" {
		r.t.Errorf("%s %s %s (-want +got):\n%s", method, path, body, diff)
	}
	return text
}
