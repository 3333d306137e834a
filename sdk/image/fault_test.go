package image

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/iib-engine/iib/sdk"
)

// faults are ways for an answer to go wrong. Each either hijacks the answer or
// spoils that of the registry.
var faults = map[string]func(w http.ResponseWriter, good func() *httptest.ResponseRecorder){
	"500": func(w http.ResponseWriter, _ func() *httptest.ResponseRecorder) {
		http.Error(w, "oops", http.StatusInternalServerError)
	},
	"503": func(w http.ResponseWriter, _ func() *httptest.ResponseRecorder) {
		http.Error(w, `{"errors":[{"code":"UNAVAILABLE","message":"come back later"}]}`, http.StatusServiceUnavailable)
	},
	"429": func(w http.ResponseWriter, _ func() *httptest.ResponseRecorder) {
		w.Header().Set("Retry-After", "1")
		http.Error(w, `{"errors":[{"code":"TOOMANYREQUESTS"}]}`, http.StatusTooManyRequests)
	},
	"a reset connection": func(w http.ResponseWriter, _ func() *httptest.ResponseRecorder) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			conn.Close()
		}
	},
	"a truncated body": func(w http.ResponseWriter, good func() *httptest.ResponseRecorder) {
		rec := good()
		for k, v := range rec.Header() {
			w.Header()[k] = v
		}
		body := rec.Body.Bytes()
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		w.WriteHeader(rec.Code)
		_, _ = w.Write(body[:len(body)/2])
	},
	"content of another digest": func(w http.ResponseWriter, good func() *httptest.ResponseRecorder) {
		rec := good()
		for k, v := range rec.Header() {
			w.Header()[k] = v
		}
		w.WriteHeader(rec.Code)
		body := rec.Body.Bytes()
		body[len(body)/2] ^= 1
		_, _ = w.Write(body)
	},
	// breakRequests does these itself.
	"silence":             nil,
	"a byte now and then": nil,
}

// breakRequests spoils the first n answers to requests for a path.
func breakRequests(r *testRegistry, part, fault string, n int64) *atomic.Int64 {
	var seen atomic.Int64
	r.setFault(func(w http.ResponseWriter, req *http.Request) bool {
		if !strings.Contains(req.URL.Path, part) || req.Method == http.MethodHead || seen.Add(1) > n {
			return false
		}
		if fault == "silence" {
			<-req.Context().Done()
			return true
		}
		if fault == "a byte now and then" {
			w.WriteHeader(http.StatusOK)
			ticker := time.NewTicker(20 * time.Millisecond)
			defer ticker.Stop()
			for {
				_, _ = w.Write([]byte("{"))
				_ = http.NewResponseController(w).Flush()
				select {
				case <-ticker.C:
				case <-req.Context().Done():
					return true
				}
			}
		}
		faults[fault](w, func() *httptest.ResponseRecorder {
			rec := httptest.NewRecorder()
			r.inner.ServeHTTP(rec, req)
			return rec
		})
		return true
	})
	return &seen
}

func TestPassingFaultsAreOvercome(t *testing.T) {
	for fault := range faults {
		for what, part := range map[string]string{"the manifest": "/manifests/", "a blob": "/blobs/", "the first contact": "/v2/"} {
			if what == "the first contact" && (fault == "a truncated body" || fault == "content of another digest") {
				continue // it has no body to speak of
			}
			t.Run(fault+" at "+what, func(t *testing.T) {
				r := newTestRegistry(t)
				spec := r.put(t, "a/b:v1", imageOf(t, "amd64", nil, layerOf(t, entry{name: "f", body: noise(10000)})))
				c := newTestClient(t, func(o *Options) {
					if fault == "silence" || fault == "a byte now and then" {
						o.Timeout = 500 * time.Millisecond
					}
				})
				breakRequests(r, part, fault, 2)
				got, err := c.ReadFile(background(t), spec, "amd64", "f", 10000)
				if err != nil || string(got) != noise(10000) {
					t.Errorf("read %d bytes, %v", len(got), err)
				}
			})
		}
	}
}

func TestPassingFaultsThatStayAreUnavailable(t *testing.T) {
	for fault := range faults {
		for what, part := range map[string]string{"the manifest": "/manifests/", "a blob": "/blobs/"} {
			t.Run(fault+" at "+what, func(t *testing.T) {
				r := newTestRegistry(t)
				spec := r.put(t, "a/b:v1", imageOf(t, "amd64", nil, layerOf(t, entry{name: "f", body: noise(10000)})))
				least := int64(3)
				c := newTestClient(t, func(o *Options) {
					if fault == "silence" || fault == "a byte now and then" {
						// A busy machine may be silent for that long by itself,
						// and before the request that counts.
						o.Timeout, least = 100*time.Millisecond, 1
					}
				})
				seen := breakRequests(r, part, fault, 1_000_000)
				_, err := c.ReadFile(background(t), spec, "amd64", "f", 10000)
				wantCode(t, err, sdk.Unavailable, r.host+"/a/b", "try again later", "tried 3 times")
				// net/http asks once more by itself when a kept connection breaks.
				if n := seen.Load(); n < least || n > 6 {
					t.Errorf("asked %d times, want 3", n)
				}
			})
		}
	}
}

func TestFinalAnswersAreNotAskedForAgain(t *testing.T) {
	tests := map[string]struct {
		status int
		body   string
		code   sdk.Code
		words  []string
	}{
		"404 for the tag":        {404, `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"no such manifest"}]}`, sdk.NotFound, []string{"not found in the registry", "check the name"}},
		"404 for the repository": {404, `{"errors":[{"code":"NAME_UNKNOWN"}]}`, sdk.NotFound, []string{"no such repository"}},
		"404 without a body":     {404, ``, sdk.NotFound, []string{"not found in the registry"}},
		"401":                    {401, `{"errors":[{"code":"UNAUTHORIZED"}]}`, sdk.Denied, []string{"no credentials are configured"}},
		"403":                    {403, `<html>Forbidden</html>`, sdk.Denied, []string{"no credentials are configured"}},
		"400":                    {400, "{\"errors\":[{\"code\":\"X\",\"message\":\"not\\u001b[1m like this.\"}]}", sdk.Invalid, []string{"400 Bad Request", "X not [1m like this"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := newTestRegistry(t)
			c := newTestClient(t)
			r.setFault(func(w http.ResponseWriter, req *http.Request) bool {
				if !strings.Contains(req.URL.Path, "/manifests/") {
					return false
				}
				w.WriteHeader(tt.status)
				fmt.Fprint(w, tt.body)
				return true
			})
			_, err := c.Inspect(background(t), r.host+"/a/b:v1", "")
			wantCode(t, err, tt.code, append(tt.words, "image "+r.host+"/a/b:v1: ")...)
			if n := len(r.requests("/manifests/")); n != 1 {
				t.Errorf("asked %d times", n)
			}
		})
	}
}

func TestUnreachableRegistries(t *testing.T) {
	closed := httptest.NewServer(nil)
	closed.Close()
	c := newTestClient(t)

	_, err := c.Resolve(background(t), strings.TrimPrefix(closed.URL, "http://")+"/a/b:v1")
	wantCode(t, err, sdk.Unavailable, "connection refused", "tried 3 times")
	if strings.Contains(err.Error(), "/v2/") {
		t.Errorf("the message shows the protocol: %v", err)
	}
}

func TestFirstContactThatIsDenied(t *testing.T) {
	r := newTestRegistry(t)
	c := newTestClient(t)
	r.setFault(func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusForbidden)
		return true
	})
	_, err := c.Resolve(background(t), r.host+"/a/b:v1")
	wantCode(t, err, sdk.Denied, "image "+r.host+"/a/b:v1: access denied")
	if n := len(r.requests()); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

func TestDownloadsResumeWhereTheyBroke(t *testing.T) {
	r := newTestRegistry(t)
	body := noise(300_000)
	img := imageOf(t, "amd64", nil, layerOf(t, entry{name: "f", body: body}))
	spec := r.put(t, "a/b:v1", img)
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	layer, err := layers[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	for name, how := range map[string]string{"with ranges": "honoured", "without ranges": "ignored", "that refuses ranges": "refused"} {
		t.Run("from a registry "+name, func(t *testing.T) {
			c := newTestClient(t)
			var answers, resumed atomic.Int64
			r.setFault(func(w http.ResponseWriter, req *http.Request) bool {
				if !strings.HasSuffix(req.URL.Path, layer.String()) || req.Method != http.MethodGet {
					return false
				}
				if req.Header.Get("Range") != "" {
					resumed.Add(1)
				}
				switch {
				case how == "ignored":
					req.Header.Del("Range")
				case how == "refused" && req.Header.Get("Range") != "":
					w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
					return true
				}
				if answers.Add(1) == 1 {
					faults["a truncated body"](w, func() *httptest.ResponseRecorder {
						rec := httptest.NewRecorder()
						r.inner.ServeHTTP(rec, req)
						return rec
					})
					return true
				}
				return false
			})
			got, err := c.ReadFile(background(t), spec, "", "f", 1<<20)
			if err != nil || string(got) != body {
				t.Fatalf("read %d bytes, %v", len(got), err)
			}
			if resumed.Load() != 1 {
				t.Errorf("%d requests with a range, want 1", resumed.Load())
			}
		})
	}
}

func TestBlobThatIsNotWhatItsManifestSays(t *testing.T) {
	r := newTestRegistry(t)
	spec := r.put(t, "a/b:v1", imageOf(t, "amd64", nil, layerOf(t, entry{name: "f", body: noise(1000)})))
	c, ctx := newTestClient(t), background(t)
	info, err := c.Inspect(ctx, spec, "")
	if err != nil {
		t.Fatal(err)
	}
	longer := info.Layers[0]
	longer.Size -= 10
	r.forget()
	_, err = c.Files(&Info{Ref: info.Ref, Layers: []Layer{longer}}).Stat(ctx, "f")
	wantCode(t, err, sdk.Invalid, "longer than the")
	if n := len(r.requests("GET", "/blobs/")); n != 1 {
		t.Errorf("asked %d times", n)
	}
	gone := info.Layers[0]
	gone.Digest = someDigest
	_, err = c.Files(&Info{Ref: info.Ref, Layers: []Layer{gone}}).Stat(ctx, "f")
	wantCode(t, err, sdk.NotFound, someDigest)
	_, err = c.WithLimits(Limits{Blob: 10}).Files(info).Stat(ctx, "f")
	wantCode(t, err, sdk.Invalid, "at most 10")
	unsized, err := c.WithLimits(Limits{Blob: 10}).OpenBlob(ctx, spec, info.Layers[0].Digest, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer unsized.Close()
	_, err = hashAll(unsized)
	wantCode(t, err, sdk.Invalid, "more than 10 bytes")
}

func TestCancellation(t *testing.T) {
	r := newTestRegistry(t)
	spec := r.put(t, "a/b:v1", imageOf(t, "amd64", nil))
	c := newTestClient(t, func(o *Options) { o.Backoff, o.MaxBackoff = time.Hour, time.Hour })
	ctx, cancel := context.WithCancel(context.Background())
	asked := make(chan struct{}, 1)
	r.setFault(func(w http.ResponseWriter, req *http.Request) bool {
		select {
		case asked <- struct{}{}:
		default:
		}
		<-req.Context().Done()
		return true
	})
	go func() {
		<-asked
		cancel()
	}()
	_, err := c.Resolve(ctx, spec)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("in the middle of a request: %v", err)
	}

	ctx, cancel = context.WithCancel(context.Background())
	r.setFault(func(w http.ResponseWriter, req *http.Request) bool {
		w.WriteHeader(http.StatusBadGateway)
		time.AfterFunc(10*time.Millisecond, cancel)
		return true
	})
	_, err = c.Resolve(ctx, spec)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("between two attempts: %v", err)
	}
}

func TestOneCallersCancellationDoesNotFailOthers(t *testing.T) {
	r := newTestRegistry(t)
	img := imageOf(t, "amd64", nil, layerOf(t, entry{name: "f", body: noise(5000)}))
	spec := r.put(t, "a/b:v1", img)
	c := newTestClient(t)
	info, err := c.Inspect(background(t), spec, "")
	if err != nil {
		t.Fatal(err)
	}
	entered, release := make(chan struct{}), make(chan struct{})
	r.setFault(func(w http.ResponseWriter, req *http.Request) bool {
		if strings.Contains(req.URL.Path, string(info.Layers[0].Digest)) {
			close(entered)
			<-release
		}
		return false
	})
	first, cancel := context.WithCancel(background(t))
	firstDone := make(chan error)
	go func() {
		_, err := c.Files(info).ReadFile(first, "f", 1<<20)
		firstDone <- err
	}()
	<-entered
	secondDone := make(chan error)
	reader, err := c.OpenBlob(background(t), spec, info.Layers[0].Digest, info.Layers[0].Size)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer reader.Close()
		_, err := hashAll(reader)
		secondDone <- err
	}()
	cancel()
	if err := <-firstDone; !errors.Is(err, context.Canceled) {
		t.Errorf("the cancelled caller: %v", err)
	}
	close(release)
	if err := <-secondDone; err != nil {
		t.Errorf("the other caller: %v", err)
	}
	if n := len(r.requests("GET", string(info.Layers[0].Digest))); n != 1 {
		t.Errorf("the blob was asked for %d times", n)
	}
}
