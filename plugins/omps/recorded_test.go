package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// exchange is what a client of the application registry of old asked, in its
// words and with its headers, and what it was answered: as its source and the
// protocol's description have it, since no such server runs any longer. The files are in the
// order of one package's life.
type exchange struct {
	name    string
	request *http.Request
	body    string
	status  int
	answer  any
}

func exchanges(t testing.TB) (all []exchange) {
	t.Helper()
	names, err := filepath.Glob("testdata/cnr/*.txt")
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		asked, answered, found := strings.Cut(string(text), "\nHTTP/1.1 ")
		head, body, ok := strings.Cut(asked, "\n\n")
		if !found || !ok {
			t.Fatalf("%s is no exchange", name)
		}
		request, err := http.ReadRequest(bufio.NewReader(strings.NewReader(strings.ReplaceAll(head, "\n", "\r\n") + "\r\n\r\n")))
		if err != nil {
			t.Fatal(name, err)
		}
		response, err := http.ReadResponse(bufio.NewReader(strings.NewReader("HTTP/1.1 "+answered)), nil)
		if err != nil {
			t.Fatal(name, err)
		}
		e := exchange{name: strings.TrimSuffix(filepath.Base(name), ".txt"), request: request, body: strings.TrimSpace(body), status: response.StatusCode}
		if err := json.NewDecoder(response.Body).Decode(&e.answer); err != nil {
			t.Fatal(name, err)
		}
		all = append(all, e)
	}
	return all
}

// withoutWords leaves out what is words of an error, and nothing else.
func withoutWords(answer any) any {
	object, _ := answer.(map[string]any)
	if inner, ok := object["error"].(map[string]any); ok {
		message, _ := inner["message"].(string)
		_, isObject := inner["details"].(map[string]any)
		return []any{inner["code"], message != "", isObject, len(inner)}
	}
	return answer
}

func TestOurServerAnswersRecordedClients(t *testing.T) {
	url := serveOMPS(t, images(t), nil)
	for _, e := range exchanges(t) {
		t.Run(e.name, func(t *testing.T) {
			request, err := http.NewRequestWithContext(t.Context(), e.request.Method, url+e.request.URL.RequestURI(), strings.NewReader(e.body))
			if err != nil {
				t.Fatal(err)
			}
			request.Header = e.request.Header.Clone()
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			raw, err := io.ReadAll(response.Body)
			if err != nil {
				t.Fatal(err)
			}
			var answer any
			if err := json.Unmarshal(raw, &answer); err != nil {
				t.Fatalf("%d %s", response.StatusCode, raw)
			}
			if diff := cmp.Diff(withoutWords(e.answer), withoutWords(answer)); diff != "" || response.StatusCode != e.status {
				t.Errorf("status %d, want %d: %s", response.StatusCode, e.status, diff)
			}
			if kind := response.Header.Get("Content-Type"); kind != "application/json" {
				t.Errorf("it is %s", kind)
			}
		})
	}
}

// TestOurClientReadsRecordedAnswers has a push service go through a package's
// life at a server that has nothing but the recordings.
func TestOurClientReadsRecordedAnswers(t *testing.T) {
	recordings := make(map[string]exchange)
	for _, e := range exchanges(t) {
		recordings[e.name[3:]] = e
	}
	var script []string
	quay := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(script) == 0 {
			t.Errorf("nobody should ask %s %s", r.Method, r.URL)
			return
		}
		e := recordings[script[0]]
		script = script[1:]
		if r.Method != e.request.Method || strings.TrimSuffix(r.URL.RequestURI(), "/") != e.request.URL.RequestURI() {
			t.Errorf("asked %s %s, want %s %s", r.Method, r.URL, e.request.Method, e.request.URL)
		}
		for _, name := range []string{"Authorization", "Content-Type"} {
			if diff := cmp.Diff(e.request.Header.Get(name), r.Header.Get(name)); diff != "" && (name == "Authorization" || e.body != "") {
				t.Errorf("%s %s: %s: %s", r.Method, r.URL, name, diff)
			}
		}
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if e.body != "" {
			var want, got map[string]any
			if err := json.Unmarshal([]byte(e.body), &want); err != nil {
				t.Error(err)
			}
			if err := json.NewDecoder(bytes.NewReader(raw)).Decode(&got); err != nil {
				t.Errorf("%s: %v", raw, err)
			}
			// The archive is another, and has a name and size of its own.
			if blob, _ := got["blob"].(string); blob == "" {
				t.Errorf("no archive in %s", raw)
			}
			delete(want, "blob")
			delete(got, "blob")
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(e.status)
		_ = json.NewEncoder(w).Encode(e.answer)
	}))
	t.Cleanup(quay.Close)
	url := serveOMPS(t, images(t), func(s *Settings) { s.Target, s.CNR = targetCNR, quay.URL })
	auth := map[string]string{"Authorization": authorization}
	good := zipOf(t, operator("web"))
	done := func(t *testing.T) {
		t.Helper()
		if len(script) != 0 {
			t.Errorf("nobody asked for %v", script)
		}
	}
	t.Run("a push of a version", func(t *testing.T) {
		script = []string{"courier-push"}
		if status, answer := upload(t, url+"/v2/o/zipfile/1.0.0", good); status != 200 || answer["version"] != "1.0.0" {
			t.Error(status, answer)
		}
		done(t)
	})
	t.Run("a push of one that is there", func(t *testing.T) {
		script = []string{"courier-push-again"}
		status, answer := upload(t, url+"/v1/o/web/zipfile/1.0.0", good)
		wantFault(t, status, answer, 500, "QuayCourierError", "Failed to push manifest: Package exists already")
		if diff := cmp.Diff(recordings["courier-push-again"].answer, answer["quay_response"]); diff != "" {
			t.Error(diff)
		}
		done(t)
	})
	t.Run("the next version, without those of others", func(t *testing.T) {
		e := recordings["courier-push"]
		e.body = strings.Replace(e.body, "1.0.0", "3.0.0", 1)
		recordings["push of the next"] = e
		script = []string{"cnr-show", "push of the next"}
		if status, answer := upload(t, url+"/v2/o/zipfile", good); status != 200 || answer["version"] != "3.0.0" {
			t.Error(status, answer)
		}
		done(t)
	})
	t.Run("a delete, and a second one", func(t *testing.T) {
		script = []string{"omps-delete", "omps-delete-again"}
		if status, answer := ask(t, "DELETE", url+"/v2/o/web/2.5.1", auth, nil); status != 200 {
			t.Error(status, answer)
		}
		status, answer := ask(t, "DELETE", url+"/v2/o/web/2.5.1", auth, nil)
		wantFault(t, status, answer, 404, "QuayPackageNotFound", "package o/web doesn't exist")
		done(t)
	})
	t.Run("a delete of all", func(t *testing.T) {
		last := recordings["omps-delete"]
		last.request = last.request.Clone(t.Context())
		last.request.URL.Path = strings.Replace(last.request.URL.Path, "2.5.1", "1.0.0", 1)
		recordings["delete of the last"] = last
		script = []string{"cnr-show", "omps-delete", "cnr-delete", "delete of the last"}
		status, answer := ask(t, "DELETE", url+"/v1/o/web", auth, nil)
		if diff := cmp.Diff(any(map[string]any{"organization": "o", "repo": "web", "deleted": []any{"2.5.1", "1.0.1-random", "1.0.0"}}), answer); status != 200 || diff != "" {
			t.Error(status, diff)
		}
		done(t)
	})
	t.Run("health", func(t *testing.T) {
		script = []string{"omps-health"}
		if status, answer := ask(t, "GET", url+"/v2/health/ping", nil, nil); status != 200 {
			t.Error(status, answer)
		}
		done(t)
	})
}
