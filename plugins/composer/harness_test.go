package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/plugins/composer/internal/compose"
	"github.com/iib-engine/iib/plugins/composer/internal/gateway"
	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/sdktest"
)

// testHost accepts submissions by the plugin's own handler, as the engine does.
type testHost struct {
	*sdktest.Host
	handler sdktest.RequestHandler
}

func (h *testHost) Submit(ctx context.Context, user, requestType string, body json.RawMessage) (*sdk.RequestView, error) {
	sub := &sdk.Submission{Type: requestType, User: user, Body: body}
	if err := h.handler.Accept(ctx, sub); err != nil {
		return nil, err
	}
	id := h.Put(sdk.RequestView{
		Request: sdk.Request{Type: requestType, User: user, Params: sub.Params, Accepted: time.Now().UTC()},
		State:   "in_progress", Fields: sub.Fields,
	})
	return h.Request(ctx, id)
}

// world is the plugin on the real wire, behind a real unix socket.
type world struct {
	t      testing.TB
	host   *testHost
	plugin *sdktest.Plugin
	solver *fakeSolver
	kinds  []compose.Kind
	build  func(ctx context.Context, job *sdk.Job, params *compose.Params) error
	client *http.Client
	socket string
}

var testKinds = []compose.Kind{
	{Name: "qcow2", ImageName: "disk.qcow2", Boots: true},
	{Name: "live-iso", ImageName: "live.iso", Disabled: "xorriso is missing"},
	{Name: "tar", ImageName: "root.tar.xz", Compression: "xz"},
}

func newWorld(t testing.TB, change func(*Settings)) *world {
	t.Helper()
	w := &world{t: t, host: &testHost{Host: sdktest.NewHost(t)}, solver: newFakeSolver(), kinds: testKinds}
	w.start(change)
	return w
}

// start runs the plugin; again means a restart with what is kept.
func (w *world) start(change func(*Settings)) {
	w.t.Helper()
	s := newService(func(*Settings, string, gateway.Way, func(*compose.Params) compose.Config) (*backend, error) {
		return &backend{
			solver: w.solver, kinds: func() []compose.Kind { return w.kinds },
			build: func(ctx context.Context, job *sdk.Job, params *compose.Params) error {
				return w.build(ctx, job, params)
			},
		}, nil
	})
	s.Distro, s.Releasever, s.Basearch = "test-1", "1", "x86_64"
	s.Sources = []SourceSettings{{ID: "base", URL: "http://localhost:1/base/$releasever/$basearch/"}}
	if change != nil {
		change(&s.Settings)
	}
	w.plugin = sdktest.Serve(w.t, newPlugin(s), w.host)
	w.host.handler = w.plugin.Handler(compose.Type)
	dir, err := os.MkdirTemp("", "weldr")
	if err != nil {
		w.t.Fatal(err)
	}
	w.socket = filepath.Join(dir, "api.socket")
	listener, err := net.Listen("unix", w.socket)
	if err != nil {
		w.t.Fatal(err)
	}
	server := &http.Server{Handler: w.plugin.Service(), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	go func() { _ = server.Serve(listener) }()
	w.t.Cleanup(func() {
		_ = server.Close()
		_ = os.RemoveAll(dir)
	})
	socket := w.socket
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}}
	w.t.Cleanup(transport.CloseIdleConnections)
	w.client = &http.Client{Transport: transport}
}

// of is the same world for another test.
func (w *world) of(t testing.TB) *world {
	other := *w
	other.t = t
	return &other
}

// answer is what came back.
type answer struct {
	code   int
	header http.Header
	text   string
	err    error // of reading the body
}

// ask sends a request. The content type is that of TOML unless the body begins
// like JSON; path begins below /api/v1/ unless it is absolute.
func (w *world) ask(method, path, body string) answer {
	w.t.Helper()
	kind := ""
	if body != "" {
		kind = "text/x-toml"
		if strings.HasPrefix(strings.TrimSpace(body), "{") {
			kind = "application/json"
		}
	}
	return w.send(method, path, kind, body)
}

func (w *world) send(method, path, kind, body string) answer {
	w.t.Helper()
	if !strings.HasPrefix(path, "/") {
		path = "/api/v1/" + path
	}
	r, err := http.NewRequestWithContext(w.t.Context(), method, "http://localhost", strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	r.URL.Opaque = "//localhost" + path
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	resp, err := w.client.Do(r)
	if errors.Is(err, io.EOF) {
		return answer{err: err} // cut off before anything was sent
	}
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(data), err}
}

// get asks and demands a success that is JSON.
func (w *world) get(path string) map[string]any {
	w.t.Helper()
	return w.must("GET", path, "")
}

func (w *world) must(method, path, body string) map[string]any {
	w.t.Helper()
	a := w.ask(method, path, body)
	if a.code != 200 {
		w.t.Fatalf("%s %s: %d %s", method, path, a.code, a.text)
	}
	return a.object(w.t)
}

func (a answer) object(t testing.TB) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(a.text), &v); err != nil {
		t.Fatalf("%v: %q", err, a.text)
	}
	if kind := a.header.Get("Content-Type"); kind != "application/json" {
		t.Errorf("the content type is %q", kind)
	}
	return v
}

// wantJSON compares an answer with what it should be.
func wantJSON(t testing.TB, got any, want string) {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(want), &v); err != nil {
		t.Fatalf("%v in %s", err, want)
	}
	if diff := cmp.Diff(v, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// wantFault demands an error of one id, with words in its text.
func (w *world) wantFault(method, path, body string, id, words string) {
	w.t.Helper()
	w.ask(method, path, body).wantFault(w.t, method+" "+path, id, words)
}

func (a answer) wantFault(t testing.TB, what, id, words string) {
	t.Helper()
	var v struct {
		Status *bool `json:"status"`
		Errors []struct {
			ID   string `json:"id"`
			Code *int   `json:"code"`
			Msg  string `json:"msg"`
		} `json:"errors"`
	}
	if err := json.Unmarshal([]byte(a.text), &v); err != nil || v.Status == nil || *v.Status || len(v.Errors) == 0 {
		t.Errorf("%s: no error: %d %s", what, a.code, a.text)
		return
	}
	if a.code != 400 || !slices.ContainsFunc(v.Errors, func(e struct {
		ID   string `json:"id"`
		Code *int   `json:"code"`
		Msg  string `json:"msg"`
	}) bool {
		return e.ID == id && strings.Contains(e.Msg, words)
	}) {
		t.Errorf("%s: %d %s; want %s with %q", what, a.code, a.text, id, words)
	}
	for _, e := range v.Errors {
		if (e.Code != nil) != (e.ID == "HTTPError") {
			t.Errorf("%s: code is there: %v, in %s", what, e.Code != nil, e.ID)
		}
	}
}

// push saves a blueprint.
func (w *world) push(path, text string) {
	w.t.Helper()
	if got := w.must("POST", path, text); !cmp.Equal(got, map[string]any{"status": true}) {
		w.t.Fatalf("%s: %v", path, got)
	}
}

// commits are the hashes of a blueprint's history, newest first.
func (w *world) commits(name string) []string {
	w.t.Helper()
	var list []string
	for _, b := range w.get("blueprints/changes/" + name + "?limit=1000")["blueprints"].([]any) {
		for _, c := range b.(map[string]any)["changes"].([]any) {
			list = append(list, c.(map[string]any)["commit"].(string))
		}
	}
	return list
}

// compose starts one and returns its uuid and request.
func (w *world) compose(body string) (string, int64) {
	w.t.Helper()
	id := w.must("POST", "compose", body)["build_id"].(string)
	all, err := w.host.Requests(w.t.Context(), compose.Type, 0, 1)
	if err != nil || len(all) != 1 {
		w.t.Fatal(err)
	}
	return id, all[0].ID
}

func (w *world) begin(id int64) {
	w.host.Change(id, func(v *sdk.RequestView) {
		v.Fields = cloneFields(v.Fields)
		v.Fields[compose.FieldStarted] = json.RawMessage(`1700000000.25`)
	})
}

// end plays the handler: what it left, and how it ended.
func (w *world) end(id int64, state, image string) {
	if image != "" {
		w.host.PutArtifact(id, compose.ArtifactImage, []byte(image))
	}
	w.host.Change(id, func(v *sdk.RequestView) {
		v.State, v.Updated = state, time.Unix(1700000100, 5e8)
		v.Fields = cloneFields(v.Fields)
		if image != "" {
			v.Fields[compose.FieldImageSize] = json.RawMessage(fmt.Sprint(len(image)))
		}
	})
}

func cloneFields(m map[string]json.RawMessage) map[string]json.RawMessage {
	c := make(map[string]json.RawMessage)
	for k, v := range m {
		c[k] = bytes.Clone(v)
	}
	return c
}
