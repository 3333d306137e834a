package koji_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/plugins/omps/internal/fault"
	"github.com/iib-engine/iib/plugins/omps/internal/koji"
)

// recorded is what Koji's own XML-RPC library writes.
func recorded(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("../../testdata/koji", name+".xml"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// tokens are a document's elements and texts, without the space between them.
func tokens(t testing.TB, document []byte) (all []string) {
	t.Helper()
	for d := xml.NewDecoder(bytes.NewReader(document)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			all = append(all, "<"+token.Name.Local+">")
		case xml.EndElement:
			all = append(all, "</"+token.Name.Local+">")
		case xml.CharData:
			if text := strings.TrimSpace(string(token)); text != "" {
				all = append(all, text)
			}
		}
	}
}

// hub answers calls with recordings, and compares them with recorded ones.
func hub(t testing.TB, answers map[string]string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /kojihub", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		for method, answer := range answers {
			if strings.Contains(string(body), "<methodName>"+method+"</methodName>") {
				if diff := cmp.Diff(tokens(t, recorded(t, "call-"+method)), tokens(t, body)); diff != "" {
					t.Errorf("a client of Koji's own calls %s differently: %s", method, diff)
				}
				if got := fmt.Sprint(r.Header["Content-Type"], r.Header["User-Agent"], r.Header["Authorization"]); got != "[text/xml] [koji/1] []" {
					t.Errorf("the headers are %s", got)
				}
				_, _ = w.Write(recorded(t, answer))
				return
			}
		}
		t.Errorf("nobody should ask %s", body)
	})
	return mux
}

func clientOf(server *httptest.Server) *koji.Client {
	return &koji.Client{Hub: server.URL + "/kojihub", Root: server.URL + "/kojiroot/", HTTP: server.Client(), Timeout: time.Minute, MaxArchive: 1 << 20}
}

func TestRecordedAnswersLeadToTheArchive(t *testing.T) {
	for name, c := range map[string]struct{ build, logs, path, id string }{
		"of today":            {build: "build", path: "/kojiroot/packages/op/1/2/files/operator-manifests/operator_manifests.zip"},
		"on another volume":   {build: "build-volume", path: "/kojiroot/vol/slow%20&%20big/packages/op/1/2/files/operator-manifests/operator_manifests.zip"},
		"of old":              {build: "build-old", logs: "logs", path: "/kojiroot/packages/op/1/2/data/logs/operator_manifests.zip"},
		"of old, and gone":    {build: "build-old", logs: "logs-none", id: fault.ArchiveNotFound},
		"of no operator":      {build: "build-plain", id: fault.NotAnOperator},
		"without extra":       {build: "build-no-extra", id: fault.NotAnOperator},
		"of nobody":           {build: "build-none", id: fault.BuildNotFound},
		"of a name, no NVR":   {build: "fault-nvr", id: fault.BuildNotFound},
		"of a hub in trouble": {build: "fault", id: fault.Koji},
	} {
		t.Run("a build "+name, func(t *testing.T) {
			var fetched string
			answers := map[string]string{"getBuild": c.build}
			if c.logs != "" {
				answers["getBuildLogs"] = c.logs
			}
			calls := hub(t, answers)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPost {
					calls.ServeHTTP(w, r)
					return
				}
				fetched = r.URL.EscapedPath()
				_, _ = io.WriteString(w, "archive")
			}))
			t.Cleanup(server.Close)
			data, err := clientOf(server).Archive(t.Context(), "op-1-2")
			if f := new(fault.Fault); c.id != "" {
				if !errors.As(err, &f) || f.ID != c.id || fetched != "" {
					t.Errorf("got %v after %q, want %s", err, fetched, c.id)
				}
				return
			}
			if err != nil || string(data) != "archive" || fetched != c.path {
				t.Errorf("got %q, %v from %s, want %s", data, err, fetched, c.path)
			}
		})
	}
	t.Run("health", func(t *testing.T) {
		server := httptest.NewServer(hub(t, map[string]string{"getAPIVersion": "version"}))
		t.Cleanup(server.Close)
		if err := clientOf(server).Ping(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// endless is an answer that never ends, until the client has had enough.
func endless(w http.ResponseWriter, r *http.Request) {
	_, _ = io.WriteString(w, "<methodResponse><params><param><value><array><data>")
	for r.Context().Err() == nil {
		if _, err := io.WriteString(w, strings.Repeat("<value><string>more and more</string></value>", 1000)); err != nil {
			return
		}
	}
}

// silent never answers, until the client has had enough.
func silent(_ http.ResponseWriter, r *http.Request) {
	// The server notices that a client has gone only when the body is read.
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

func TestAHubIsBounded(t *testing.T) {
	refused := func(t *testing.T, err error, words string) {
		t.Helper()
		var f *fault.Fault
		if !errors.As(err, &f) || f.ID != fault.Koji && f.ID != fault.UploadedFile || !strings.Contains(f.Message, words) {
			t.Errorf("got %v, want %q", err, words)
		}
	}
	build := recorded(t, "build")
	t.Run("an answer without end", func(t *testing.T) {
		server := httptest.NewServer(http.HandlerFunc(endless))
		t.Cleanup(server.Close)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := clientOf(server).Archive(t.Context(), "op-1-2")
		runtime.ReadMemStats(&after)
		refused(t, err, "XML-RPC")
		if used := after.TotalAlloc - before.TotalAlloc; used > 1<<30 {
			t.Errorf("it took %d MiB", used>>20)
		}
	})
	t.Run("a file without end", func(t *testing.T) {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				_, _ = w.Write(build)
				return
			}
			endless(w, r)
		}))
		t.Cleanup(server.Close)
		_, err := clientOf(server).Archive(t.Context(), "op-1-2")
		refused(t, err, "larger than limit")
	})
	t.Run("silence of the hub", func(t *testing.T) {
		server := httptest.NewServer(http.HandlerFunc(silent))
		t.Cleanup(server.Close)
		c := clientOf(server)
		c.Timeout = 50 * time.Millisecond
		_, err := c.Archive(t.Context(), "op-1-2")
		refused(t, err, "did not answer")
		if err := c.Ping(t.Context()); err == nil {
			t.Error("it is healthy")
		}
	})
	t.Run("silence of the files", func(t *testing.T) {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				_, _ = w.Write(build)
				return
			}
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, "PK")
			_ = http.NewResponseController(w).Flush()
			silent(w, r)
		}))
		t.Cleanup(server.Close)
		c := clientOf(server)
		c.Timeout = time.Second
		_, err := c.Archive(t.Context(), "op-1-2")
		refused(t, err, "cannot be downloaded")
	})
	t.Run("a call that is given up", func(t *testing.T) {
		server := httptest.NewServer(http.HandlerFunc(silent))
		t.Cleanup(server.Close)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := clientOf(server).Archive(ctx, "op-1-2")
		refused(t, err, "did not answer")
	})
	t.Run("a hub that nobody vouches for", func(t *testing.T) {
		server := httptest.NewTLSServer(hub(t, map[string]string{"getAPIVersion": "version"}))
		t.Cleanup(server.Close)
		c := clientOf(server)
		if err := c.Ping(t.Context()); err != nil {
			t.Errorf("with its certificate: %v", err)
		}
		c.HTTP = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}}}
		_, err := c.Archive(t.Context(), "op-1-2")
		refused(t, err, "certificate")
	})
	t.Run("entities and documents of others", func(t *testing.T) {
		for _, text := range []string{
			`<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><methodResponse><params><param><value>&b;</value></param></params></methodResponse>`,
			`<html><body>502</body></html>`, ``, `{}`, strings.Repeat("<a>", 100_000),
		} {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }))
			_, err := clientOf(server).Archive(t.Context(), "op-1-2")
			server.Close()
			refused(t, err, "XML-RPC")
		}
	})
}

// FuzzAnswer sends anything as a hub's answer.
func FuzzAnswer(f *testing.F) {
	recordings, err := filepath.Glob("../../testdata/koji/*.xml")
	if err != nil || len(recordings) == 0 {
		f.Fatal(recordings, err)
	}
	for _, name := range recordings {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c := &koji.Client{Hub: "http://koji.example.com/kojihub", Root: "http://koji.example.com/root", MaxArchive: 1 << 20, HTTP: &http.Client{Transport: answering(func(r *http.Request) []byte {
			if r.Method == http.MethodGet {
				if path := r.URL.Path; !strings.HasPrefix(path, "/root/") || strings.Contains(path, "/../") || strings.HasSuffix(path, "/..") {
					t.Errorf("the file %s was asked for", path)
				}
				return []byte("archive")
			}
			return data
		})}}
		if _, err := c.Archive(t.Context(), "op-1-2"); err != nil && !errors.As(err, new(*fault.Fault)) {
			t.Error(err)
		}
	})
}

// answering is a transport that reaches nobody.
type answering func(*http.Request) []byte

func (a answering) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader(a(r))), Header: make(http.Header), Request: r}, nil
}
