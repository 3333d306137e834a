package rpmtest

import (
	"crypto/tls"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/iib-engine/iib/sdk/sdktest/real"
)

// Group is a group of a repository's comps file.
type Group struct {
	ID                           string
	Mandatory, Default, Optional []string
}

// Index makes, or makes anew, the metadata of the repository in dir.
func Index(t testing.TB, dir string, groups ...Group) {
	t.Helper()
	real.Need(t, "createrepo_c")
	if err := index(dir, groups); err != nil {
		t.Fatal(err)
	}
}

func index(dir string, groups []Group) error {
	args := []string{"--quiet", "--revision", "1", "--set-timestamp-to-revision", dir}
	if len(groups) > 0 {
		comps := filepath.Join(dir, "comps.xml")
		if err := os.WriteFile(comps, []byte(compsXML(groups)), 0o644); err != nil {
			return err
		}
		args = append([]string{"--groupfile", "comps.xml"}, args...)
	}
	out, err := exec.Command("createrepo_c", args...).CombinedOutput()
	if err != nil {
		return &exec.Error{Name: "createrepo_c: " + string(out), Err: err}
	}
	return nil
}

func compsXML(groups []Group) string {
	var b strings.Builder
	b.WriteString(`<?xml version="1.0" encoding="UTF-8"?>` + "\n<comps>\n")
	for _, g := range groups {
		b.WriteString("<group><id>" + g.ID + "</id><name>Group " + g.ID + "</name><description/>" +
			"<default>true</default><uservisible>true</uservisible><packagelist>\n")
		for _, kind := range []struct {
			name    string
			members []string
		}{{"mandatory", g.Mandatory}, {"default", g.Default}, {"optional", g.Optional}} {
			for _, m := range kind.members {
				b.WriteString(`<packagereq type="` + kind.name + `">` + m + "</packagereq>\n")
			}
		}
		b.WriteString("</packagelist></group>\n")
	}
	b.WriteString("</comps>\n")
	return b.String()
}

// Server serves a directory on loopback, until the test ends.
type Server struct {
	URL string

	mu   sync.Mutex
	gone bool
	gets map[string]int
	hold chan struct{}
	held chan struct{}
}

// Serve starts a server.
func Serve(t testing.TB, dir string) *Server { return ServeTLS(t, dir, nil) }

// ServeTLS starts a server with TLS, unless config is nil.
func ServeTLS(t testing.TB, dir string, config *tls.Config) *Server {
	s := &Server{gets: make(map[string]int), held: make(chan struct{}, 1)}
	files := http.FileServer(http.Dir(dir))
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		gone, hold := s.gone, s.hold
		s.gets[r.URL.Path]++
		s.mu.Unlock()
		if hold != nil {
			select {
			case s.held <- struct{}{}:
			default:
			}
			select {
			case <-hold:
			case <-r.Context().Done():
				return
			}
		}
		if gone {
			http.Error(w, "gone", http.StatusServiceUnavailable)
			return
		}
		files.ServeHTTP(w, r)
	}))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	if server.TLS = config; config != nil {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	s.URL = server.URL
	return s
}

// Gone makes the server refuse everything, or not.
func (s *Server) Gone(gone bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = gone
}

// Hold makes the server leave every request without an answer until release.
func (s *Server) Hold() (release func()) {
	hold := make(chan struct{})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hold = hold
	return sync.OnceFunc(func() {
		s.mu.Lock()
		s.hold = nil
		s.mu.Unlock()
		close(hold)
	})
}

// Asked waits until a request is held.
func (s *Server) Asked(t testing.TB) {
	t.Helper()
	select {
	case <-s.held:
	case <-time.After(time.Minute):
		t.Fatal("nobody has asked for anything")
	}
}

// Gets is how often a path was asked for.
func (s *Server) Gets(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gets[path]
}

// Copy copies the files of a repository, so that a test can change them.
func Copy(t testing.TB, dir string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}
