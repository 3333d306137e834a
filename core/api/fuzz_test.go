package api

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/core/coretest"
	"github.com/iib-engine/iib/sdk"
)

// stub is an engine that accepts everything and runs nothing, with one type.
type stub struct {
	Engine
	*coretest.Lineup
	store *coretest.Memory
}

func (s stub) Submit(ctx context.Context, sub *core.Submission) ([]*core.Request, bool, error) {
	batch := &core.NewBatch{User: sub.User, Annotations: sub.Annotations, IdempotencyKey: sub.IdempotencyKey, Digest: sub.Digest}
	for i, item := range sub.Items {
		if item.Fault != nil {
			return nil, false, &core.ItemError{Index: i, Err: item.Fault}
		}
		batch.Requests = append(batch.Requests, core.NewRequest{Type: item.Type, Queue: "default", Params: item.Body,
			Fields: map[string]json.RawMessage{"from_index": json.RawMessage(`"q/i:1"`)}, Images: []string{"q/i:1"}, Reason: "Accepted."})
	}
	return s.store.Create(ctx, batch)
}

func (s stub) Patch(ctx context.Context, id int64, keys map[string]json.RawMessage) (*core.Request, error) {
	change, err := core.WriteBack(&stubType, keys)
	if err != nil {
		return nil, err
	}
	return s.store.Patch(ctx, id, change)
}

func (stub) Changed() <-chan struct{}                    { return make(chan struct{}) }
func (stub) User(*http.Request) (string, error)          { return "jane", nil }
func (stub) Required() bool                              { return true }
func (stub) Challenges() []string                        { return nil }
func (stub) Status() []core.PluginStatus                 { return nil }
func (stub) Answered(string, string, int, time.Duration) {}

var stubType = core.HandlerType{Type: "add", Doc: sdk.HandlerDoc{Fields: []sdk.FieldDoc{
	{Name: "from_index", Image: true}, {Name: "index_image", Shape: sdk.ShapeImage, Image: true}, {Name: "bundle_mapping", Shape: sdk.ShapeMapping},
	{Name: "fbc_fragments_resolved", Shape: sdk.ShapeImages}, {Name: "bundle_replacements", Shape: sdk.ShapeTextMap},
	{Name: "omps_operator_version", Shape: sdk.ShapeJSONText}, {Name: "bundles", Shape: sdk.ShapeIgnored},
}}}

func newStubServer() http.Handler {
	s := stub{store: coretest.NewMemory(time.Now), Lineup: &coretest.Lineup{Types: []core.Handler{{HandlerType: stubType}}}}
	settings := &Settings{Workers: []string{"jane"}, MaxPage: 20, PageSize: 20, MaxBody: 1 << 20, Keep: time.Hour, MaxWait: time.Millisecond}
	return New(Options{Engine: s, Store: s.store, Roster: s, Identity: func() Identity { return s }, Observer: s,
		Settings: func() *Settings { return settings }, Logger: slog.New(slog.DiscardHandler)})
}

// answer demands a sound answer, whatever was sent.
func answer(t *testing.T, handler http.Handler, r *http.Request) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	if w.Code >= 500 || !json.Valid(w.Body.Bytes()) || w.Code >= 400 && !strings.Contains(w.Body.String(), `"error":"`) {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
	return w
}

// seeds are the bodies and queries of the contract test's tables.
func seeds(f *testing.F, begin string) (list []string) {
	f.Helper()
	files, err := filepath.Glob("../cmd/iib/testdata/contract/*.txt")
	if err != nil || len(files) == 0 {
		f.Fatal("no tables", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if i := strings.Index(line, begin); i > 0 && strings.HasPrefix(line, "  ") {
				given, _, _ := strings.Cut(strings.TrimSpace(line[i:]), " -> ")
				list = append(list, given)
			}
		}
	}
	return list
}

func FuzzBody(f *testing.F) {
	for _, body := range append(seeds(f, "{"), "", "{", "[]", "\xff", `{"a":1}{`, `{"build_requests":[{"operators":["a"]},7]}`, strings.Repeat("[", 10001), `{"a":1e999999}`, `{"\u0000":"\ud800"}`) {
		f.Add(body)
	}
	server := newStubServer()
	f.Fuzz(func(t *testing.T, body string) {
		for _, target := range []string{"POST /builds/add", "POST /builds/add-rm-batch", "POST /builds/regenerate-bundle-batch", "PATCH /builds/1"} {
			method, path, _ := strings.Cut(target, " ")
			r := httptest.NewRequest(method, "/api/v1"+path, strings.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			w := answer(t, server, r)
			if w.Code < 300 && !json.Valid([]byte(body)) {
				t.Errorf("%s: %q is accepted", target, body)
			}
		}
	})
}

func FuzzQuery(f *testing.F) {
	for _, query := range append(seeds(f, "?"), "?", "?page=1&page=2&%", "?wait=1e400", "?wait=-0", "?follow=true", "?batch=9223372036854775807", "?page=1099511627777&per_page=1", "?user=%00%ff", "?;a=b") {
		f.Add(strings.TrimPrefix(query, "?"), "1")
	}
	server := newStubServer()
	r := httptest.NewRequest(http.MethodPost, "/api/v1/builds/add", strings.NewReader("{}"))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	server.ServeHTTP(w, r)
	if w.Code != http.StatusCreated {
		f.Fatalf("%d: %s", w.Code, w.Body)
	}
	f.Fuzz(func(t *testing.T, query, id string) {
		for _, path := range []string{"/api/v1/builds", "/api/v1/builds/" + url.PathEscape(id), "/api/v1/builds/1"} {
			r := httptest.NewRequest(http.MethodGet, path, nil)
			r.URL.RawQuery = query
			w := answer(t, server, r)
			if strings.Contains(w.Header().Get("Content-Type"), "event-stream") {
				t.Errorf("%s?%s is a stream", path, query)
			}
		}
	})
}

func FuzzForwarded(f *testing.F) {
	f.Add("for=1.2.3.4;proto=https;host=a", "https", "a:1", "1.2.3.4, [::1]:5")
	f.Add(`for="[::1`, ";,=", `"`, ",,")
	trustAll := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
	f.Fuzz(func(t *testing.T, all, proto, host, hops string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = "10.0.0.1:1"
		for name, value := range map[string]string{"Forwarded": all, "X-Forwarded-Proto": proto, "X-Forwarded-Host": host, "X-Forwarded-For": hops} {
			r.Header.Set(name, value)
		}
		got := readForwarded(r, trustAll)
		if got.client == "" || got.scheme != "" && got.scheme != "http" && got.scheme != "https" || strings.ContainsAny(got.host, "/ \"<>\\@?#") {
			t.Errorf("%+v", got)
		}
	})
}
