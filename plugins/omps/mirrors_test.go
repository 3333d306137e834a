package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/iib-engine/iib/sdk/clienttls"
	"github.com/iib-engine/iib/sdk/clienttls/tlstest"
	"github.com/iib-engine/iib/sdk/denied"
)

// A place that the configuration names may send us on, but not everywhere.
func TestMirrors(t *testing.T) {
	authority := tlstest.New(t)
	serve := func(config *tls.Config, handle http.HandlerFunc) (port string) {
		server := httptest.NewUnstartedServer(handle)
		if server.TLS = config; config != nil {
			server.StartTLS()
		} else {
			server.Start()
		}
		t.Cleanup(server.Close)
		return server.URL[strings.LastIndex(server.URL, ":"):]
	}
	tell := func(w http.ResponseWriter, r *http.Request) {
		certificates := 0
		if r.TLS != nil {
			certificates = len(r.TLS.PeerCertificates)
		}
		fmt.Fprintf(w, "%d certificates, authorization %q", certificates, r.Header.Get("Authorization"))
	}
	redirect := func(w http.ResponseWriter, r *http.Request) {
		if to := r.URL.Query().Get("to"); to != "" {
			w.Header().Set("Location", to)
			w.WriteHeader(http.StatusFound)
			return
		}
		tell(w, r)
	}
	curious := authority.Server()
	curious.ClientAuth = tls.RequestClientCert
	plain, mirror, plainMirror := serve(nil, redirect), serve(curious, tell), serve(nil, tell)
	secure := serve(authority.Server(), redirect)
	endless := serve(nil, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusFound) })

	files := clienttls.Files{CA: authority.CA}
	files.Cert, files.Key = authority.Issue("omps")
	config, err := files.Config()
	if err != nil {
		t.Fatal(err)
	}
	reach := &http.Transport{TLSClientConfig: config}
	t.Cleanup(reach.CloseIdleConnections)
	const named = "127.0.0.1"
	client, err := newMirrors(reach, denied.List{"127.0.0.0/8"}, "https://"+named+secure+"/hub", "http://"+named+plain+"/")
	if err != nil {
		t.Fatal(err)
	}
	allowing, err := newMirrors(reach, denied.List{"127.0.0.2/32"}, "https://"+named+secure+"/hub", "http://"+named+plain+"/")
	if err != nil {
		t.Fatal(err)
	}
	mine, nothing := `1 certificates, authorization "secret"`, `0 certificates, authorization ""`
	for _, c := range []struct {
		name   string
		client *http.Client
		url    string
		want   string
		err    string
	}{
		{"a place that is named is reached in any network, with our certificate", client, "https://" + named + secure, mine, ""},
		{"it may redirect to itself", client, "https://" + named + secure + "?to=/x", mine, ""},
		{"a redirect into a denied network", client, "https://" + named + secure + "?to=https://localhost" + mirror, "", "denied network 127.0.0.0/8"},
		{"a redirect to a mirror, which gets nothing of ours", allowing, "https://" + named + secure + "?to=https://localhost" + mirror, nothing, ""},
		{"a redirect without TLS", allowing, "http://" + named + plain + "?to=http://localhost" + plainMirror, nothing, ""},
		{"a redirect to a better place", allowing, "http://" + named + plain + "?to=https://localhost" + mirror, nothing, ""},
		{"a redirect out of TLS", allowing, "https://" + named + secure + "?to=http://localhost" + plainMirror, "", "from https to http, which is not followed"},
		{"a redirect to a file", allowing, "http://" + named + plain + "?to=file:///etc/passwd", "", "from http to file, which is not followed"},
		{"redirects without end", allowing, "http://" + named + endless, "", "more than five times"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.url, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "secret")
			resp, err := c.client.Do(r)
			if err != nil {
				if c.err == "" || !strings.Contains(err.Error(), c.err) {
					t.Errorf("got %v, want %q", err, c.err)
				}
				return
			}
			defer resp.Body.Close()
			if body, _ := io.ReadAll(resp.Body); c.err != "" || string(body) != c.want {
				t.Errorf("got %s, want %q%s", body, c.want, c.err)
			}
		})
	}
}
