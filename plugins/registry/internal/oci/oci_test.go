package oci_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/iib-engine/iib/plugins/registry/internal/oci"
	"github.com/iib-engine/iib/plugins/registry/internal/store"
)

// registry is a running one, with what a test needs to talk to it.
type registry struct {
	t     testing.TB
	url   string
	store *store.Store
}

func newRegistry(t testing.TB, options store.Options) *registry {
	t.Helper()
	return newRegistryWith(t, options, func(*oci.Handler) {})
}

// newRegistryWith runs one whose handler is changed first.
func newRegistryWith(t testing.TB, options store.Options, change func(*oci.Handler)) *registry {
	t.Helper()
	s, err := store.Open(t.Context(), t.TempDir(), options)
	if err != nil {
		t.Fatal(err)
	}
	handler := &oci.Handler{Store: s}
	change(handler)
	server := httptest.NewServer(handler)
	t.Cleanup(func() {
		server.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &registry{t: t, url: server.URL, store: s}
}

// answer is a response that has been read.
type answer struct {
	*http.Response
	body []byte
}

// codes returns the error codes of the answer.
func (a *answer) codes() []string {
	var list struct {
		Errors []struct{ Code, Message string }
	}
	_ = json.Unmarshal(a.body, &list)
	var codes []string
	for _, e := range list.Errors {
		codes = append(codes, e.Code)
	}
	return codes
}

// do sends a request to a path, or to a location, and reads the response.
// Headers are given in pairs.
func (r *registry) do(method, location string, body []byte, headers ...string) *answer {
	r.t.Helper()
	base, err := url.Parse(r.url)
	if err != nil {
		r.t.Fatal(err)
	}
	target, err := base.Parse(location)
	if err != nil {
		r.t.Fatal(err)
	}
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(r.t.Context(), method, target.String(), reader)
	if err != nil {
		r.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
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
	return &answer{resp, content}
}

// want is do with the status that must come.
func (r *registry) want(status int, method, location string, body []byte, headers ...string) *answer {
	r.t.Helper()
	a := r.do(method, location, body, headers...)
	if a.StatusCode != status {
		r.t.Fatalf("%s %s: status %d, want %d: %s", method, location, a.StatusCode, status, a.body)
	}
	return a
}

// withDigest adds the digest to an upload's location.
func withDigest(location string, d digest.Digest) string {
	separator := "?"
	if strings.Contains(location, "?") {
		separator = "&"
	}
	return location + separator + "digest=" + url.QueryEscape(d.String())
}

// pushBlob sends a blob and returns its digest.
func (r *registry) pushBlob(repository string, content []byte) digest.Digest {
	r.t.Helper()
	d := digest.FromBytes(content)
	start := r.want(http.StatusAccepted, "POST", "/v2/"+repository+"/blobs/uploads/", nil)
	r.want(http.StatusCreated, "PUT", withDigest(start.Header.Get("Location"), d), content)
	return d
}

const (
	typeImage       = "application/vnd.oci.image.manifest.v1+json"
	typeIndex       = "application/vnd.oci.image.index.v1+json"
	typeConfig      = "application/vnd.oci.image.config.v1+json"
	typeLayer       = "application/vnd.oci.image.layer.v1.tar+gzip"
	typeDockerImage = "application/vnd.docker.distribution.manifest.v2+json"
	typeDockerList  = "application/vnd.docker.distribution.manifest.list.v2+json"
)

// object is a JSON object in the making.
type object map[string]any

func descriptorOf(mediaType string, content []byte) object {
	return object{"mediaType": mediaType, "digest": digest.FromBytes(content), "size": len(content)}
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	encoded, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

// image sends the blobs of an image that is like no other, and returns its
// manifest; change may alter that before it is encoded.
func (r *registry) image(repository, seed string, change func(object)) []byte {
	r.t.Helper()
	config := []byte(fmt.Sprintf(`{"architecture":"amd64","os":"linux","config":{"Labels":{"seed":%q}}}`, seed))
	layer := []byte("layer of " + seed)
	r.pushBlob(repository, config)
	r.pushBlob(repository, layer)
	manifest := object{
		"schemaVersion": 2, "mediaType": typeImage,
		"config": descriptorOf(typeConfig, config),
		"layers": []object{descriptorOf(typeLayer, layer)},
	}
	if change != nil {
		change(manifest)
	}
	return encode(r.t, manifest)
}

// pushManifest puts a manifest under a reference.
func (r *registry) pushManifest(repository, reference string, manifest []byte) *answer {
	r.t.Helper()
	var m struct{ MediaType string }
	if err := json.Unmarshal(manifest, &m); err != nil {
		r.t.Fatal(err)
	}
	return r.want(http.StatusCreated, "PUT", "/v2/"+repository+"/manifests/"+reference, manifest, "Content-Type", m.MediaType)
}

func TestAnImageComesBackAsItWasPushed(t *testing.T) {
	r := newRegistry(t, store.Options{})
	manifest := r.image("team/app", "one", nil)
	pushed := r.pushManifest("team/app", "v1", manifest)
	for _, location := range []string{"/v2/team/app/manifests/v1", pushed.Header.Get("Location")} {
		got := r.want(http.StatusOK, "GET", location, nil)
		if !bytes.Equal(got.body, manifest) {
			t.Errorf("GET %s returned %s, want %s", location, got.body, manifest)
		}
		if ct := got.Header.Get("Content-Type"); ct != typeImage {
			t.Errorf("content type is %q", ct)
		}
	}
	problems, err := r.store.Scrub(t.Context(), true)
	if err != nil || len(problems) > 0 {
		t.Errorf("scrub: %v %v", problems, err)
	}
}

// TestManyTags lists a repository with more tags than one answer has, as
// clients do: without saying how many they want.
func TestManyTags(t *testing.T) {
	r := newRegistryWith(t, store.Options{}, func(h *oci.Handler) { h.MaxNames = 40 })
	manifest := r.image("app", "many", nil)
	query := make(url.Values)
	for i := range 100 {
		query.Add("tag", fmt.Sprintf("t%03d", i))
	}
	r.want(http.StatusCreated, "PUT", "/v2/app/manifests/"+digest.FromBytes(manifest).String()+"?"+query.Encode(), manifest, "Content-Type", typeImage)
	var all []string
	pages := 0
	for location := "/v2/app/tags/list"; location != ""; pages++ {
		tags, a := r.tagList(location)
		all = append(all, tags...)
		location = r.next(a)
	}
	if pages != 3 || !slices.Equal(all, query["tag"]) {
		t.Errorf("%d pages with %d tags", pages, len(all))
	}
	// More than is given at once is not given to who asks for more either.
	if tags, a := r.tagList("/v2/app/tags/list?n=1000"); len(tags) != 40 || r.next(a) == "" {
		t.Errorf("%d tags", len(tags))
	}
}
