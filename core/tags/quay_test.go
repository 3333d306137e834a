package tags_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/core/coretest"
	"github.com/iib-engine/iib/core/tags"
	"github.com/iib-engine/iib/sdk"
)

const secret = "hidden-token"

// quayAt returns the history of a Quay whose API is a handler.
func quayAt(t *testing.T, moves core.TagMoves, handler http.HandlerFunc) core.TagHistory {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return histories(moves, nil, tags.Quay{URL: server.URL + "/", TokenFile: token}).Of(tag, "alice")
}

func histories(moves core.TagMoves, own http.Handler, quay tags.Quay) *tags.Tags {
	return tags.New(tags.Options{
		Moves: moves, Images: new(coretest.Images), Own: func() string { return "own.test" },
		Mount: func(path string) (http.Handler, bool) { return own, own != nil && path == "/api/v1/repository/" },
		Quays: func() map[string]tags.Quay { return map[string]tags.Quay{"registry.test": quay} },
	})
}

func TestQuayIsAskedAsItsAPIWantsIt(t *testing.T) {
	var asked []string
	h := quayAt(t, coretest.NewMemory(nil), func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Header.Get("Authorization") != "Bearer "+secret {
			t.Errorf("%s without the token", r.URL)
		}
		if len(body) > 0 && r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s with the type %q", r.URL, r.Header.Get("Content-Type"))
		}
		asked = append(asked, fmt.Sprintf("%s %s %s", r.Method, r.URL.RequestURI(), body))
		switch r.Method {
		case http.MethodGet:
			_, _ = io.WriteString(w, `{"tags": [], "page": 1, "has_additional": false}`)
		case http.MethodPut:
			w.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(w, `"Updated"`)
		case http.MethodDelete:
			w.WriteHeader(http.StatusNoContent)
		}
	})
	if h.Kind() != "quay" || h.Trusted() {
		t.Errorf("kind %s, trusted %v", h.Kind(), h.Trusted())
	}
	_, _, err := h.Points(t.Context(), tag, 3)
	for _, err := range []error{
		err, h.Restore(t.Context(), tag, "sha256:a"), h.Expire(t.Context(), tag, time.Unix(1_800_000_000, 0)),
		h.Expire(t.Context(), tag, time.Time{}), h.Delete(t.Context(), tag),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	want := []string{
		"GET /api/v1/repository/ns/index/tag/?limit=100&page=3&specificTag=v1 ",
		`POST /api/v1/repository/ns/index/tag/v1/restore {"manifest_digest":"sha256:a"}`,
		`PUT /api/v1/repository/ns/index/tag/v1 {"expiration":1800000000}`,
		`PUT /api/v1/repository/ns/index/tag/v1 {"expiration":null}`,
		"DELETE /api/v1/repository/ns/index/tag/v1 ",
	}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Error(diff)
	}
}

func TestQuayAndTheRecordTellTogether(t *testing.T) {
	at := time.Unix(1_800_000_000, 0).UTC()
	moves := coretest.NewMemory(func() time.Time { return at.Add(2 * time.Second) })
	id, err := moves.BeginMove(t.Context(), core.TagMove{Spec: tag, To: "sha256:b", Kind: core.MovePublish, User: "bob"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := moves.EndMove(t.Context(), id, new(""), true); err != nil {
		t.Fatal(err)
	}
	h := quayAt(t, moves, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"page": 1, "has_additional": true, "tags": [
			{"name": "v1", "reversion": false, "start_ts": 1800000000, "manifest_digest": "sha256:b", "unknown": {}},
			{"name": "v1", "reversion": true, "start_ts": 1700000000, "end_ts": 1800000000, "manifest_digest": "sha256:b"},
			{"name": "v1", "reversion": false, "start_ts": 1600000000, "end_ts": 1700000000},
			{"name": "v10", "reversion": false, "start_ts": 1600000000, "manifest_digest": "sha256:other"}]}`)
	})
	points, more, err := h.Points(t.Context(), tag, 1)
	if err != nil || !more {
		t.Fatal(more, err)
	}
	want := []core.TagPoint{
		{Digest: "sha256:b", Start: at, User: "bob"},
		{Digest: "sha256:b", Start: time.Unix(1_700_000_000, 0).UTC(), End: at, Restored: true},
	}
	if diff := cmp.Diff(want, points); diff != "" {
		t.Error(diff)
	}
}

func TestWhatQuayRefusesHasACodeAndItsWords(t *testing.T) {
	for _, c := range []struct {
		status int
		body   string
		code   sdk.Code
		text   string
	}{
		{404, `{"status": 404, "error_type": "not_found", "error_message": "Not Found", "detail": "x"}`, sdk.NotFound, "Not Found"},
		{400, `{"message": "Invalid tag: x"}`, sdk.Invalid, "Invalid tag: x"},
		{400, `{"message": {"limit": "must be an integer"}}`, sdk.Invalid, "must be an integer"},
		{403, `{"error": "CSRF token was invalid or missing."}`, sdk.Denied, "CSRF token"},
		{401, `{"error_message": "Requires authentication", "message": "other"}`, sdk.Denied, "Requires authentication"},
		{409, `{"error_type": "tag_immutable", "error_message": "Cannot restore immutable tag 'v1'"}`, sdk.Conflict, "immutable"},
		{429, ``, sdk.Unavailable, "Too Many Requests"},
		{520, `<html>`, sdk.Unavailable, "520"},
		{503, `{"message": "Repository is in read only or mirror mode"}`, sdk.Unavailable, "read only"},
		{200, `<html>`, "", ""},
	} {
		h := quayAt(t, coretest.NewMemory(nil), func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(c.status)
			_, _ = io.WriteString(w, c.body)
		})
		err := h.Restore(t.Context(), tag, "sha256:a")
		if c.code == "" {
			if err != nil {
				t.Errorf("%d: %v", c.status, err)
			}
			if _, _, err := h.Points(t.Context(), tag, 1); sdk.CodeOf(err) != sdk.Unavailable {
				t.Errorf("a list that is none gave %v", err)
			}
			continue
		}
		if sdk.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.text) || strings.Contains(err.Error(), secret) {
			t.Errorf("%d %s: %v, want %s with %q", c.status, c.body, err, c.code, c.text)
		}
	}
}

func TestQuayThatIsAwayIsUnavailable(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	h := histories(coretest.NewMemory(nil), nil, tags.Quay{URL: server.URL}).Of(tag, "")
	if err := h.Delete(t.Context(), tag); sdk.CodeOf(err) != sdk.Unavailable {
		t.Errorf("got %v", err)
	}
	h = histories(coretest.NewMemory(nil), nil, tags.Quay{URL: server.URL, TokenFile: "/nowhere"}).Of(tag, "")
	if err := h.Delete(t.Context(), tag); sdk.CodeOf(err) != sdk.Internal {
		t.Errorf("a token that is not there gave %v", err)
	}
	h = histories(coretest.NewMemory(nil), nil, tags.Quay{URL: server.URL, CAFile: "/nowhere"}).Of(tag, "")
	if err := h.Delete(t.Context(), tag); sdk.CodeOf(err) != sdk.Internal {
		t.Errorf("certificates that are not there gave %v", err)
	}
}

func TestQuayWithACertificateOfItsOwn(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	defer server.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, certificate(server), 0o600); err != nil {
		t.Fatal(err)
	}
	h := histories(coretest.NewMemory(nil), nil, tags.Quay{URL: server.URL, CAFile: file}).Of(tag, "")
	if err := h.Delete(t.Context(), tag); err != nil {
		t.Error(err)
	}
	h = histories(coretest.NewMemory(nil), nil, tags.Quay{URL: server.URL}).Of(tag, "")
	if err := h.Delete(t.Context(), tag); sdk.CodeOf(err) != sdk.Unavailable {
		t.Errorf("a stranger's certificate gave %v", err)
	}
}

func TestTheOwnRegistryIsAskedInTheCallersName(t *testing.T) {
	var users []string
	own := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		users = append(users, r.Header.Get(sdk.UserHeader)+" "+r.URL.Path)
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `{"error_message": "Unauthorized"}`)
	})
	const tag = "own.test/ns/index:v1"
	all := histories(coretest.NewMemory(nil), own, tags.Quay{})
	for _, user := range []string{"alice", ""} {
		h := all.Of(tag, user)
		if h.Kind() != "embedded" || !h.Trusted() {
			t.Errorf("kind %s, trusted %v", h.Kind(), h.Trusted())
		}
		if err := h.Delete(context.Background(), tag); sdk.CodeOf(err) != sdk.Denied {
			t.Errorf("got %v", err)
		}
	}
	want := []string{"alice /api/v1/repository/ns/index/tag/v1", " /api/v1/repository/ns/index/tag/v1"}
	if diff := cmp.Diff(want, users); diff != "" {
		t.Error(diff)
	}
	// Without the service, its registry is like any other.
	if kind := histories(coretest.NewMemory(nil), nil, tags.Quay{}).Of(tag, "").Kind(); kind != "plain" {
		t.Errorf("kind %s", kind)
	}
}
