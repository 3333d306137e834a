package image

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/iib-engine/iib/sdk"
)

func TestConcurrentPushesOfOneLayerAreOne(t *testing.T) {
	r, c, ctx := newTestRegistry(t), newTestClient(t), background(t)
	layer := layerFile(t, file("a", noise(100_000)))
	const pushers = 16
	var sent atomic.Int64
	var wg sync.WaitGroup
	for range pushers {
		wg.Go(func() {
			n, err := c.PushLayer(ctx, r.host+"/a/b", layer)
			if err != nil {
				t.Error(err)
			}
			sent.Add(n)
		})
	}
	wg.Wait()
	if sent.Load() != layer.Size {
		t.Errorf("sent %d bytes in all, want %d", sent.Load(), layer.Size)
	}
	if n := len(r.requests("PATCH")); n != 1 {
		t.Errorf("sent the layer %d times", n)
	}
}

func TestPushingWhatIsThereSendsNothing(t *testing.T) {
	r, c, ctx := newTestRegistry(t), newTestClient(t), background(t)
	layer := layerFile(t, file("a", noise(1000)))
	for i, want := range []int64{layer.Size, 0} {
		n, err := c.PushLayer(ctx, r.host+"/a/b", layer)
		if err != nil || n != want {
			t.Errorf("push %d sent %d, %v, want %d", i, n, err, want)
		}
	}
}

func TestFaultsOfAPushAreOvercome(t *testing.T) {
	answer := func(status int, code string) func(w http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.WriteHeader(status)
			fmt.Fprintf(w, `{"errors":[{"code":%q}]}`, code)
		}
	}
	reset := func(w http.ResponseWriter) {
		if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
			conn.Close()
		}
	}
	tests := map[string]struct {
		method, path string
		answer       func(http.ResponseWriter)
	}{
		"a 500 when the upload begins":            {"POST", "/uploads/", answer(500, "UNKNOWN")},
		"a 503 in the middle":                     {"PATCH", "/uploads/", answer(503, "UNAVAILABLE")},
		"a reset in the middle":                   {"PATCH", "/uploads/", reset},
		"an upload that the registry forgot":      {"PATCH", "/uploads/", answer(404, "BLOB_UPLOAD_UNKNOWN")},
		"a digest that a race spoiled":            {"PUT", "/uploads/", answer(400, "DIGEST_INVALID")},
		"a 500 at the end":                        {"PUT", "/uploads/", answer(500, "UNKNOWN")},
		"a blob that the manifest does not see":   {"PUT", "/manifests/", answer(404, "BLOB_UNKNOWN")},
		"a blob that the manifest does not see 2": {"PUT", "/manifests/", answer(400, "MANIFEST_BLOB_UNKNOWN")},
		"a reset at the manifest":                 {"PUT", "/manifests/", reset},
		"a 500 when blobs are looked for":         {"HEAD", "/blobs/", answer(500, "")},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r, c, ctx := newTestRegistry(t), newTestClient(t), background(t)
			b := mustAssemble(t, Assembly{Arch: "amd64", Layers: []sdk.Layer{layerFile(t, file("a", noise(200_000)))}})
			var broken sync.Map
			r.setFault(func(w http.ResponseWriter, req *http.Request) bool {
				if req.Method != tt.method || !strings.Contains(req.URL.Path, tt.path) {
					return false
				}
				if _, before := broken.LoadOrStore(req.Method, true); before {
					return false
				}
				tt.answer(w)
				return true
			})
			if _, err := c.Push(ctx, r.host+"/a/b", b); err != nil {
				t.Fatal(err)
			}
			if _, err := newTestClient(t).ReadFile(ctx, r.host+"/a/b@"+string(b.Digest), "", "a", 1<<20); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestPushesThatCannotSucceed(t *testing.T) {
	tests := map[string]struct {
		method string
		status int
		body   string
		code   sdk.Code
		tries  int
	}{
		"denied":             {"POST", 403, `{"errors":[{"code":"DENIED"}]}`, sdk.Denied, 1},
		"a quota":            {"POST", 413, `{"errors":[{"code":"DENIED","message":"quota exceeded"}]}`, sdk.Invalid, 1},
		"down":               {"POST", 502, `bad gateway`, sdk.Unavailable, 3},
		"never the digest":   {"PUT", 400, `{"errors":[{"code":"DIGEST_INVALID"}]}`, sdk.Unavailable, 3},
		"no uploads offered": {"POST", 405, `{"errors":[{"code":"UNSUPPORTED"}]}`, sdk.Invalid, 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r, c, ctx := newTestRegistry(t), newTestClient(t), background(t)
			r.setFault(func(w http.ResponseWriter, req *http.Request) bool {
				if req.Method != tt.method {
					return false
				}
				w.WriteHeader(tt.status)
				fmt.Fprint(w, tt.body)
				return true
			})
			layer := layerFile(t, file("a", "1"))
			_, err := c.PushLayer(ctx, r.host+"/a/b", layer)
			wantCode(t, err, tt.code, layer.Digest, r.host+"/a/b")
			if n := len(r.requests(tt.method + " ")); n != tt.tries {
				t.Errorf("tried %d times, want %d", n, tt.tries)
			}
		})
	}
}

func TestLayerFilesThatAreNotWhatTheySay(t *testing.T) {
	r, c, ctx := newTestRegistry(t), newTestClient(t), background(t)
	good := layerFile(t, file("a", noise(1000)))

	wrong := good
	wrong.Digest = someDigest
	_, err := c.PushLayer(ctx, r.host+"/a/b", wrong)
	wantCode(t, err, sdk.Invalid, "does not match "+someDigest)
	if n := len(r.requests("POST")); n != 1 {
		t.Errorf("tried %d times", n)
	}

	short := good
	short.Size--
	_, err = c.PushLayer(ctx, r.host+"/a/b", short)
	wantCode(t, err, sdk.Invalid, "does not have the")

	named := good
	named.Digest = "sha256:abc"
	_, err = c.PushLayer(ctx, r.host+"/a/b", named)
	wantCode(t, err, sdk.Invalid, "not a sha256 digest")

	if err := os.Remove(good.Path); err != nil {
		t.Fatal(err)
	}
	_, err = c.PushLayer(ctx, r.host+"/a/b", good)
	wantCode(t, err, sdk.Internal, "no such file")
}

func TestDigestsOfManifestsAreHonoured(t *testing.T) {
	r, c, ctx := newTestRegistry(t), newTestClient(t), background(t)
	b := mustAssemble(t, Assembly{Arch: "amd64"})
	_, err := c.PutManifest(ctx, r.host+"/a/b@"+someDigest, b.MediaType, b.Manifest)
	wantCode(t, err, sdk.Invalid, string(b.Digest))
}

func TestTags(t *testing.T) {
	r, c, ctx := newTestRegistry(t), newTestClient(t), background(t)
	repo := r.host + "/a/b"
	var digests []sdk.Digest
	for _, arch := range []string{"amd64", "arm64"} {
		b := mustAssemble(t, Assembly{Arch: arch})
		if _, err := c.Push(ctx, repo, b); err != nil {
			t.Fatal(err)
		}
		digests = append(digests, b.Digest)
	}
	_, err := c.Digest(ctx, repo+":v1")
	wantCode(t, err, sdk.NotFound, repo+":v1")
	for _, d := range digests {
		if err := c.Tag(ctx, repo+"@"+string(d), "v1"); err != nil {
			t.Fatal(err)
		}
		if got, err := c.Digest(ctx, repo+":v1"); err != nil || got != d {
			t.Errorf("the tag points to %s, %v, want %s", got, err, d)
		}
		if m, err := c.Resolve(ctx, repo+":v1"); err != nil || m.Digest != d {
			t.Errorf("resolves to %v, %v, want %s", m, err, d)
		}
	}
	wantCode(t, c.Tag(ctx, repo+"@"+string(digests[0]), "not a tag"), sdk.Invalid, "not a tag")
	wantCode(t, c.Tag(ctx, repo+"@"+string(digests[0]), "x@"+someDigest), sdk.Invalid)
	wantCode(t, c.Tag(ctx, repo+"@"+string(digests[0]), ""), sdk.Invalid)
	wantCode(t, c.Tag(ctx, repo+"@"+someDigest, "v2"), sdk.NotFound)
	tags, err := c.Tags(ctx, repo)
	if err != nil || fmt.Sprint(tags) != "[v1]" {
		t.Errorf("tags %v, %v", tags, err)
	}
	if err := c.DeleteTag(ctx, repo+":v1"); err != nil {
		t.Fatal(err)
	}
	_, err = c.Resolve(ctx, repo+":v1")
	wantCode(t, err, sdk.NotFound)
	wantCode(t, c.DeleteTag(ctx, repo+":v1"), sdk.NotFound)
	wantCode(t, c.DeleteTag(ctx, repo+"@"+string(digests[0])), sdk.Invalid, "name the tag")
	if _, err := c.Resolve(ctx, repo+"@"+string(digests[1])); err != nil {
		t.Errorf("the image went with its tag: %v", err)
	}
}

func TestARegistryThatDeletesNoTags(t *testing.T) {
	r, c, ctx := newTestRegistry(t), newTestClient(t), background(t)
	r.setFault(func(w http.ResponseWriter, req *http.Request) bool {
		if req.Method != http.MethodDelete {
			return false
		}
		w.WriteHeader(http.StatusMethodNotAllowed)
		fmt.Fprint(w, `{"errors":[{"code":"UNSUPPORTED"}]}`)
		return true
	})
	wantCode(t, c.DeleteTag(ctx, r.host+"/a/b:v1"), sdk.Denied, "does not delete tags")
}

func TestLongListsOfTags(t *testing.T) {
	r, c, ctx := newTestRegistry(t), newTestClient(t), background(t)
	b := mustAssemble(t, Assembly{Arch: "amd64"})
	if _, err := c.Push(ctx, r.host+"/a/b", b); err != nil {
		t.Fatal(err)
	}
	const n = 2500
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			req, err := http.NewRequestWithContext(ctx, http.MethodPut, fmt.Sprintf("%s/v2/a/b/manifests/t%04d", r.URL, i), strings.NewReader(string(b.Manifest)))
			if err != nil {
				t.Error(err)
				return
			}
			req.Header.Set("Content-Type", b.MediaType)
			rec := httptest.NewRecorder()
			r.inner.ServeHTTP(rec, req)
			if rec.Code != http.StatusCreated {
				t.Errorf("put %d: %d", i, rec.Code)
			}
		})
	}
	wg.Wait()
	tags, err := c.Tags(ctx, r.host+"/a/b")
	if err != nil || len(tags) != n {
		t.Errorf("%d tags, %v, want %d", len(tags), err, n)
	}
}

func TestPutListRefuses(t *testing.T) {
	r, c, ctx := newTestRegistry(t), newTestClient(t), background(t)
	repo := r.host + "/a/b"
	amd := mustAssemble(t, Assembly{Arch: "amd64"})
	oci := mustAssemble(t, Assembly{Arch: "amd64", OCI: true})
	for _, b := range []*Built{amd, oci} {
		if _, err := c.Push(ctx, repo, b); err != nil {
			t.Fatal(err)
		}
	}
	_, err := c.PutList(ctx, repo, nil, false)
	wantCode(t, err, sdk.Invalid, "no images")
	_, err = c.PutList(ctx, repo, map[string]sdk.Digest{"s390x": amd.Digest}, false)
	wantCode(t, err, sdk.Invalid, "made for s390x", `one for "amd64"`)
	_, err = c.PutList(ctx, repo, map[string]sdk.Digest{"amd64": oci.Digest}, false)
	wantCode(t, err, sdk.Invalid, "a list of Docker images")
	_, err = c.PutList(ctx, repo, map[string]sdk.Digest{"amd64": someDigest}, false)
	wantCode(t, err, sdk.NotFound, someDigest)
	_, err = c.PutList(ctx, repo, map[string]sdk.Digest{"amd64": "latest"}, false)
	wantCode(t, err, sdk.Invalid, "not the digest")
	m, err := c.PutList(ctx, repo+":list", map[string]sdk.Digest{"amd64": oci.Digest}, true)
	if err != nil || m.MediaType != string(ociTypes.list) {
		t.Errorf("an OCI index: %v, %v", m, err)
	}
	if d, err := c.Digest(ctx, repo+":list"); err != nil || d != m.Digest {
		t.Errorf("the list's tag: %s, %v", d, err)
	}
}

func TestAMountThatIsRefusedBecomesAnUpload(t *testing.T) {
	for name, status := range map[string]int{"denied": 403, "not offered": 405, "not found": 404, "begun as an upload": 0} {
		t.Run(name, func(t *testing.T) {
			r, c, ctx := newTestRegistry(t), newTestClient(t), background(t)
			layer := layerFile(t, file("a", noise(10_000)))
			if _, err := c.PushLayer(ctx, r.host+"/a/from", layer); err != nil {
				t.Fatal(err)
			}
			r.forget()
			r.setFault(func(w http.ResponseWriter, req *http.Request) bool {
				switch {
				case req.Method == http.MethodHead && len(r.requests("PATCH")) == 0:
					w.WriteHeader(http.StatusNotFound)
				case req.Method == http.MethodPost && req.URL.Query().Get("mount") != "" && status != 0:
					w.WriteHeader(status)
				default:
					return false
				}
				return true
			})
			sent, err := c.CopyBlob(ctx, r.host+"/a/from", r.host+"/a/to", sdk.Digest(layer.Digest), layer.Size)
			if err != nil || sent != layer.Size {
				t.Errorf("sent %d of %d bytes, %v", sent, layer.Size, err)
			}
			want := 2
			if status == 0 {
				want = 1
			}
			if n := len(r.requests("POST")); n != want {
				t.Errorf("began %d uploads, want %d", n, want)
			}
		})
	}
	c, ctx := newTestClient(t), background(t)
	_, err := c.CopyBlob(ctx, "no spec", "quay.io/a/b", someDigest, 1)
	wantCode(t, err, sdk.Invalid)
	_, err = c.CopyBlob(ctx, "quay.io/a/b", "no spec", someDigest, 1)
	wantCode(t, err, sdk.Invalid)
}

func TestARegistryThatTellsNoDigests(t *testing.T) {
	r, c, ctx := newTestRegistry(t), newTestClient(t), background(t)
	inner := r.inner
	r.inner = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		rec := httptest.NewRecorder()
		inner.ServeHTTP(rec, req)
		for k, v := range rec.Header() {
			if k != "Docker-Content-Digest" {
				w.Header()[k] = v
			}
		}
		w.WriteHeader(rec.Code)
		_, _ = w.Write(rec.Body.Bytes())
	})
	b := mustAssemble(t, Assembly{Arch: "amd64"})
	if _, err := c.Push(ctx, r.host+"/a/b", b); err != nil {
		t.Fatal(err)
	}
	if err := c.Tag(ctx, r.host+"/a/b@"+string(b.Digest), "v1"); err != nil {
		t.Fatal(err)
	}
	if d, err := c.Digest(ctx, r.host+"/a/b:v1"); err != nil || d != b.Digest {
		t.Errorf("digest %s, %v", d, err)
	}
}

func TestARegistryThatStoresSomethingElse(t *testing.T) {
	r, c, ctx := newTestRegistry(t), newTestClient(t), background(t)
	r.setFault(func(w http.ResponseWriter, req *http.Request) bool {
		if req.Method != http.MethodPut || !strings.Contains(req.URL.Path, "/manifests/") {
			return false
		}
		w.Header().Set("Docker-Content-Digest", someDigest)
		w.WriteHeader(http.StatusCreated)
		return true
	})
	_, err := c.Push(ctx, r.host+"/a/b", mustAssemble(t, Assembly{Arch: "amd64"}))
	wantCode(t, err, sdk.Unavailable, someDigest)
}
