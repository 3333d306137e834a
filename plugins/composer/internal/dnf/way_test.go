package dnf

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/iib-engine/iib/plugins/composer/internal/rpmtest"
	"github.com/iib-engine/iib/plugins/composer/internal/solve"
	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/clienttls/tlstest"
	"github.com/iib-engine/iib/sdk/denied"
)

// under returns a solver with a rule for networks.
func under(t *testing.T, networks ...string) *Solver {
	t.Helper()
	s := newSolver(t)
	s.opts.Rule = denied.List(networks)
	return s
}

// at is a URL at another host.
func at(t *testing.T, address, host string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = net.JoinHostPort(host, u.Port())
	return u.String()
}

// serve answers on loopback as a function does.
func serve(t *testing.T, handle http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handle)
	t.Cleanup(server.Close)
	return server.URL
}

// list names mirrors.
func list(mirrors ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for _, m := range mirrors {
			fmt.Fprintln(w, m)
		}
	}
}

func wantDenied(t *testing.T, err error, network string) {
	t.Helper()
	if sdk.CodeOf(err) != sdk.Denied || !strings.Contains(err.Error(), "source s: ") ||
		!strings.Contains(err.Error(), "lies in the denied network "+network) || !strings.Contains(err.Error(), "registry.denied_networks") {
		t.Errorf("got %v (%s)", err, sdk.CodeOf(err))
	}
}

func TestDeniedNetworks(t *testing.T) {
	t.Parallel()
	server := rpmtest.Serve(t, rpmtest.Distribution(t))
	off := at(t, server.URL, "127.0.0.2")
	redirect := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, off+r.URL.Path, http.StatusFound)
	})
	t.Run("a source by its address and by its name", func(t *testing.T) {
		s := under(t, "127.0.0.0/8", "::1/128")
		for _, host := range []string{"127.0.0.1", "localhost"} {
			wantDenied(t, s.Check(t.Context(), source("s", at(t, server.URL, host))), "127.0.0.0/8")
		}
		if n := server.Gets("/repodata/repomd.xml"); n != 0 {
			t.Errorf("the server was asked %d times", n)
		}
	})
	t.Run("a source in another network", func(t *testing.T) {
		if err := under(t, "127.0.0.2/32").Check(t.Context(), source("s", server.URL)); err != nil {
			t.Error(err)
		}
	})
	t.Run("a redirect", func(t *testing.T) {
		wantDenied(t, under(t, "127.0.0.2/32").Check(t.Context(), source("s", redirect)), "127.0.0.2/32")
	})
	t.Run("a source of the configuration is reached, and what it redirects to is not", func(t *testing.T) {
		own := source("s", server.URL)
		own.System = true
		s := under(t, "127.0.0.0/8")
		if err := s.Check(t.Context(), own); err != nil {
			t.Error(err)
		}
		own.URL = redirect
		wantDenied(t, s.Check(t.Context(), own), "127.0.0.0/8")
	})
	t.Run("mirrors", func(t *testing.T) {
		s := under(t, "127.0.0.2/32")
		mirrors := source("s", serve(t, list(off)))
		mirrors.Type = solve.MirrorList
		wantDenied(t, s.Check(t.Context(), mirrors), "127.0.0.2/32")
		mirrors.URL = serve(t, list(off, server.URL))
		if err := s.Check(t.Context(), mirrors); err != nil {
			t.Errorf("one of the mirrors is allowed: %v", err)
		}
		mirrors.Type = solve.Metalink
		mirrors.URL = serve(t, metalink(t, rpmtest.Distribution(t), off+"/repodata/repomd.xml"))
		wantDenied(t, s.Check(t.Context(), mirrors), "127.0.0.2/32")
	})
	t.Run("a server that names files of this host", func(t *testing.T) {
		mirrors := source("s", serve(t, list("file://"+rpmtest.Distribution(t)+"/")))
		mirrors.Type = solve.MirrorList
		if err := under(t).Check(t.Context(), mirrors); sdk.CodeOf(err) != sdk.Invalid || !strings.Contains(err.Error(), "names files of this host") {
			t.Errorf("%v (%s)", err, sdk.CodeOf(err))
		}
	})
	t.Run("a key", func(t *testing.T) {
		signed := source("s", server.URL)
		signed.CheckGPG, signed.GPGKeyURLs = true, []string{off + "/key.asc"}
		wantDenied(t, under(t, "127.0.0.2/32").Check(t.Context(), signed), "127.0.0.2/32")
	})
	t.Run("what is wrong with a source that is only down is told", func(t *testing.T) {
		err := under(t, "127.0.0.2/32").Check(t.Context(), source("s", "http://127.0.0.1:1/"))
		if sdk.CodeOf(err) != sdk.Unavailable || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("%v (%s)", err, sdk.CodeOf(err))
		}
	})
}

// proxy is one that users may name. It answers for every host.
type proxy struct {
	mu   sync.Mutex
	asks []string
}

func (p *proxy) handle(files http.Handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.asks = append(p.asks, r.Method+" "+r.Host+" "+r.Header.Get("Proxy-Authorization"))
		p.mu.Unlock()
		if r.Method != http.MethodConnect {
			files.ServeHTTP(w, r)
			return
		}
		out, err := net.Dial("tcp", known(r.Host))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		in, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(in, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { _, _ = io.Copy(out, in); out.Close() }()
		go func() { _, _ = io.Copy(in, out); in.Close() }()
	}
}

// known is where a name leads that only the proxy knows.
func known(place string) string {
	_, port, _ := net.SplitHostPort(place)
	return net.JoinHostPort("127.0.0.1", port)
}

func TestProxyOfASource(t *testing.T) {
	t.Parallel()
	dir := rpmtest.Distribution(t)
	p := new(proxy)
	address := serve(t, p.handle(http.FileServer(http.Dir(dir))))
	withUser := strings.Replace(address, "http://", "http://user:word@", 1)
	credentials := "Basic " + base64.StdEncoding.EncodeToString([]byte("user:word"))

	inside := source("s", "http://repository.invalid/")
	inside.Proxy = withUser
	s := under(t, "10.0.0.0/8")
	if err := s.Check(t.Context(), inside); err != nil {
		t.Errorf("a name that the proxy knows: %v", err)
	}
	p.mu.Lock()
	if !slices.Contains(p.asks, "GET repository.invalid "+credentials) {
		t.Errorf("the proxy was asked %q", p.asks)
	}
	p.mu.Unlock()

	authority := tlstest.New(t)
	config := authority.Server()
	config.ClientAuth = tls.NoClientCert
	secure := rpmtest.ServeTLS(t, dir, config)
	inside.URL = at(t, secure.URL, "repository.invalid") // its certificate is for another name
	if err := s.Check(t.Context(), inside); err != nil {
		t.Errorf("a tunnel: %v", err)
	}
	p.mu.Lock()
	if u, _ := url.Parse(inside.URL); !slices.Contains(p.asks, "CONNECT "+u.Host+" "+credentials) {
		t.Errorf("the proxy was asked %q", p.asks)
	}
	p.mu.Unlock()

	for _, scheme := range []string{"http", "https"} {
		inside.URL = scheme + "://10.1.2.3/"
		wantDenied(t, s.Check(t.Context(), inside), "10.0.0.0/8")
	}
	inside.URL = "http://repository.invalid/"
	wantDenied(t, under(t, "127.0.0.0/8").Check(t.Context(), inside), "127.0.0.0/8")
}

// metalink tells of mirrors of the repository in dir.
func metalink(t *testing.T, dir string, mirrors ...string) http.HandlerFunc {
	t.Helper()
	repomd, err := os.ReadFile(filepath.Join(dir, "repodata", "repomd.xml"))
	if err != nil {
		t.Fatal(err)
	}
	return func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `<?xml version="1.0" encoding="utf-8"?>
<metalink version="3.0" xmlns="http://www.metalinker.org/" type="dynamic"><files><file name="repomd.xml">
<size>%d</size><verification><hash type="sha256">%x</hash></verification><resources maxconnections="1">`, len(repomd), sha256.Sum256(repomd))
		for _, m := range mirrors {
			scheme, _, _ := strings.Cut(m, ":")
			fmt.Fprintf(w, `<url protocol="%s" type="%[1]s" location="XX" preference="100">%s</url>`, scheme, m)
		}
		io.WriteString(w, "</resources></file></files></metalink>")
	}
}

// A repository that is reached with TLS alone, as an organization's own is.
func TestPrivateAuthority(t *testing.T) {
	t.Parallel()
	authority := tlstest.New(t)
	dir, keys := t.TempDir(), t.TempDir()
	rpmtest.Make(t, dir, rpmtest.RPM{Name: "signed", Version: "1", Release: "1"})
	rpmtest.Sign(t, keys, "good", filepath.Join(dir, "signed-1-1.noarch.rpm"))
	rpmtest.Index(t, dir)
	signed := solve.Package{Name: "signed", Version: "1", Release: "1", Arch: "noarch"}
	config := authority.Server()
	config.ClientAuth = tls.NoClientCert
	server, lists := rpmtest.ServeTLS(t, dir, config), t.TempDir()
	public := rpmtest.ServeTLS(t, keys, config)
	elsewhere := rpmtest.ServeTLS(t, lists, config)
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(lists, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("mirrors", server.URL+"/\n")
	w := httptest.NewRecorder()
	metalink(t, dir, server.URL+"/repodata/repomd.xml")(w, nil)
	write("metalink", w.Body.String())
	write("false-metalink", strings.Replace(w.Body.String(), `<hash type="sha256">`, `<hash type="sha256">0`, 1))

	own := func(change func(*solve.Source)) solve.Source {
		s := source("s", server.URL)
		s.CheckSSL, s.CAFile = true, authority.CA
		change(&s)
		return s
	}
	for _, c := range []struct {
		name   string
		source solve.Source
		wide   string // ca_file of all sources
		code   sdk.Code
		text   string
	}{
		{"a source with its authority", own(func(*solve.Source) {}), "", "", ""},
		{"a source with the authority of all", own(func(s *solve.Source) { s.CAFile = "" }), authority.CA, "", ""},
		{"a source's own authority comes first", own(func(*solve.Source) {}), tlstest.New(t).CA, "", ""},
		{"an unknown authority", own(func(s *solve.Source) { s.CAFile = "" }), "", sdk.Unavailable, "certificate"},
		{"an unknown authority that nobody checks", own(func(s *solve.Source) { s.CAFile, s.CheckSSL = "", false }), "", "", ""},
		{"a certificate for another name", own(func(s *solve.Source) { s.URL = at(t, s.URL, "127.0.0.2") }), "", sdk.Unavailable, "127.0.0.2"},
		{"a list of mirrors", own(func(s *solve.Source) { s.Type, s.URL = solve.MirrorList, elsewhere.URL+"/mirrors" }), "", "", ""},
		{"a metalink", own(func(s *solve.Source) { s.Type, s.URL = solve.Metalink, elsewhere.URL+"/metalink" }), "", "", ""},
		{"a metalink with another checksum", own(func(s *solve.Source) { s.Type, s.URL = solve.Metalink, elsewhere.URL+"/false-metalink" }), "", sdk.Unavailable, "repomd.xml"},
		{"a key", own(func(s *solve.Source) { s.CheckGPG, s.GPGKeyURLs = true, []string{public.URL + "/key.asc"} }), "", "", ""},
		{"a key that is missing", own(func(s *solve.Source) { s.CheckGPG, s.GPGKeyURLs = true, []string{public.URL + "/none.asc"} }), "", sdk.Unavailable, "none.asc"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newSolver(t)
			s.opts.CAFile = c.wide
			err := s.Check(t.Context(), c.source)
			if err == nil && c.code == "" {
				_, err = s.Download(t.Context(), []solve.Source{c.source}, []solve.Package{signed}, t.TempDir(), nil)
			}
			switch {
			case c.code == "" && err != nil:
				t.Error(err)
			case c.code != "" && (err == nil || sdk.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.text)):
				t.Errorf("got %v (%s)", err, sdk.CodeOf(err))
			}
		})
	}

	t.Run("a server that wants a certificate", func(t *testing.T) {
		t.Parallel()
		s := newSolver(t)
		closed := own(func(s *solve.Source) { s.URL = rpmtest.ServeTLS(t, dir, authority.Server()).URL })
		if err := s.Check(t.Context(), closed); sdk.CodeOf(err) != sdk.Unavailable {
			t.Errorf("without one: %v", err)
		}
		closed.CertFile, closed.KeyFile = authority.Issue("composer")
		if err := s.Check(t.Context(), closed); err != nil {
			t.Errorf("with one: %v", err)
		}
	})
}
