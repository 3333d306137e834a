package image

import (
	"context"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/iib-engine/iib/sdk"
)

func withAccess(c *Client, a sdk.Access) *Client {
	return c.WithAccess(func(context.Context, string) (sdk.Access, error) { return a, nil })
}

func TestDeniedNetworks(t *testing.T) {
	r, ctx := newTestRegistry(t), background(t)
	spec := r.put(t, "a/b:v1", imageOf(t, "amd64", nil))
	port := r.host[strings.LastIndex(r.host, ":"):]

	for name, host := range map[string]string{"an address": "127.0.0.1" + port, "a name": "localhost" + port} {
		t.Run(name, func(t *testing.T) {
			r.forget()
			c := withAccess(newTestClient(t), sdk.Access{DeniedNetworks: []string{"10.0.0.0/8", "127.0.0.0/8", "::1/128"}})
			_, err := c.Resolve(ctx, host+"/a/b:v1")
			wantCode(t, err, sdk.Denied, host+"/a/b:v1", "lies in the denied network")
			if n := len(r.requests()); n != 0 {
				t.Errorf("the registry saw %d requests", n)
			}
		})
	}
	t.Run("another range", func(t *testing.T) {
		c := withAccess(newTestClient(t), sdk.Access{DeniedNetworks: []string{"10.0.0.0/8"}})
		if _, err := c.Resolve(ctx, spec); err != nil {
			t.Error(err)
		}
	})
	t.Run("a redirect into the range", func(t *testing.T) {
		elsewhere := httptest.NewServer(http.RedirectHandler("http://127.0.0.2:1/", http.StatusTemporaryRedirect))
		defer elsewhere.Close()
		c := withAccess(newTestClient(t), sdk.Access{DeniedNetworks: []string{"127.0.0.2/32"}})
		_, err := c.Resolve(ctx, strings.TrimPrefix(elsewhere.URL, "http://")+"/a/b:v1")
		wantCode(t, err, sdk.Denied, "127.0.0.2", "denied network 127.0.0.2/32")
	})
	t.Run("a range that is none", func(t *testing.T) {
		c := withAccess(newTestClient(t), sdk.Access{DeniedNetworks: []string{"10.0.0.0"}})
		_, err := c.Resolve(ctx, spec)
		wantCode(t, err, sdk.Internal, `"10.0.0.0" is not an address range`)
	})
}

func newTLSRegistry(t testing.TB) *httptest.Server {
	t.Helper()
	quiet := log.New(io.Discard, "", 0)
	server := httptest.NewUnstartedServer(registry.New(registry.Logger(quiet)))
	server.Config.ErrorLog = quiet
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

func TestTLS(t *testing.T) {
	server := newTLSRegistry(t)
	host := strings.TrimPrefix(server.URL, "https://")
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx := background(t)
	c := newTestClient(t)
	trusting := withAccess(c, sdk.Access{CAFile: ca})
	if _, err := trusting.Push(ctx, host+"/a/b", mustAssemble(t, Assembly{Arch: "amd64"})); err != nil {
		t.Errorf("with its authority: %v", err)
	}
	_, err := withAccess(c, sdk.Access{CAFile: filepath.Join(t.TempDir(), "none")}).Resolve(ctx, host+"/a/b:v1")
	wantCode(t, err, sdk.Internal, "registry certificates")
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = withAccess(c, sdk.Access{CAFile: empty}).Resolve(ctx, host+"/a/b:v1")
	wantCode(t, err, sdk.Internal, "no PEM certificate")
}

func TestUntrustedCertificate(t *testing.T) {
	server := newTLSRegistry(t)
	c := newTestClient(t)
	g := &guard{pool: mustPool(t, c), registry: "registry.example.com", errors: make(map[string]error)}
	req := httptest.NewRequest(http.MethodGet, server.URL+"/v2/", nil)
	_, err := g.RoundTrip(req)
	if v := judge(err); v.passing || v.code != sdk.Denied || !strings.Contains(v.cause, "not trusted") {
		t.Errorf("verdict on %v is %+v", err, v)
	}
}

func TestPlainHTTP(t *testing.T) {
	r := newTestRegistry(t)
	c := newTestClient(t)
	for name, tt := range map[string]struct {
		g       *guard
		allowed bool
	}{
		"to this machine":                {&guard{registry: r.host}, true},
		"to a registry configured so":    {&guard{registry: "registry.example.com", plain: true}, true},
		"to any other registry":          {&guard{registry: "registry.example.com"}, false},
		"to a private network's":         {&guard{registry: "10.1.2.3:5000"}, false},
		"redirected from somewhere else": {&guard{registry: "quay.io"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			tt.g.pool, tt.g.errors = mustPool(t, c), make(map[string]error)
			resp, err := tt.g.RoundTrip(httptest.NewRequest(http.MethodGet, r.URL+"/v2/", nil))
			if err == nil {
				resp.Body.Close()
			}
			if (err == nil) != tt.allowed {
				t.Errorf("got %v", err)
			}
			if err != nil && judge(err).code != sdk.Denied {
				t.Errorf("verdict %+v", judge(err))
			}
		})
	}
	spec := r.put(t, "a/b:v1", imageOf(t, "amd64", nil))
	if _, err := withAccess(c, sdk.Access{PlainHTTP: true}).Resolve(background(t), spec); err != nil {
		t.Error(err)
	}
}

func mustPool(t testing.TB, c *Client) *http.Transport {
	t.Helper()
	pool, err := c.network.pool(sdk.Access{})
	if err != nil {
		t.Fatal(err)
	}
	return pool
}

func TestIsLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "localhost:5000": true, "a.localhost:1": true, "127.0.0.1": true, "127.9.9.9:5000": true,
		"[::1]:5000": true, "::1": true, "[::1]": true,
		"localhost.example.com": false, "mylocalhost": false, "quay.io": false, "10.0.0.1:5000": false, "0.0.0.0": false, "[fe80::1]:1": false,
	} {
		if got := isLoopback(host); got != want {
			t.Errorf("%s: %t", host, got)
		}
	}
}

func TestNamesThatDoNotResolve(t *testing.T) {
	typo := judge(&url.Error{Op: "Get", URL: "https://quay.oi/v2/", Err: &net.DNSError{Err: "no such host", Name: "quay.oi", IsNotFound: true}})
	if typo.passing || typo.code != sdk.NotFound || !strings.Contains(typo.cause, "quay.oi has no address") {
		t.Errorf("a name that does not exist: %+v", typo)
	}
	outage := judge(&net.DNSError{Err: "server misbehaving", Name: "quay.io", IsTemporary: true})
	if !outage.passing {
		t.Errorf("a name service that does not answer: %+v", outage)
	}
}
