package main

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/clienttls/tlstest"
	"github.com/iib-engine/iib/sdk/sdktest"
)

func TestSettingsAreChecked(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*gate)
		fields []string
	}{
		{"as documented", func(*gate) {}, nil},
		{"no URL", func(g *gate) { g.URL = "greenwave.example.com" }, []string{"url"}},
		{"a URL of another kind", func(g *gate) { g.URL = "ftp://greenwave.example.com" }, []string{"url"}},
		{"a URL with a password", func(g *gate) { g.URL = "https://a:b@greenwave.example.com" }, []string{"url"}},
		{"numbers out of range", func(g *gate) { g.Timeout, g.Attempts, g.Parallel = -time.Second, 0, 1000 }, []string{"timeout", "attempts", "parallel"}},
		{"no query", func(g *gate) { g.Queries = nil }, []string{"query"}},
		{"two queries for a queue", func(g *gate) { g.Queries = append(g.Queries, g.Queries[0]) }, []string{"query[1].queue"}},
		{"an empty query", func(g *gate) { g.Queries = append(g.Queries, query{Queue: "*"}) }, []string{"query[1].decision_context", "query[1].product_version"}},
		{"another subject", func(g *gate) { g.Queries[0].SubjectType = "bodhi_update" }, []string{"query[0].subject_type"}},
		{"the one subject", func(g *gate) { g.Queries[0].SubjectType = "koji_build" }, nil},
		{"half a certificate", func(g *gate) { g.Cert = "/cert.pem" }, []string{"cert_file"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := asking(&service{url: "https://greenwave.example.com/api/v1.0/"})
			c.change(g)
			var fields []string
			collect(g.Validate(), &fields)
			if diff := cmp.Diff(c.fields, fields); diff != "" {
				t.Errorf("blamed (-want +got):\n%s", diff)
			}
		})
	}
}

// collect gathers the fields that a joined error blames.
func collect(err error, fields *[]string) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			collect(e, fields)
		}
		return
	}
	if e, ok := errors.AsType[*sdk.Error](err); ok {
		*fields = append(*fields, e.Field)
	}
}

func TestClientCertificates(t *testing.T) {
	a := tlstest.New(t)
	plain := newService(t)
	server := httptest.NewUnstartedServer(http.HandlerFunc(plain.decide))
	server.TLS = a.Server()
	server.StartTLS()
	t.Cleanup(server.Close)

	g := asking(plain)
	g.URL, g.CA = server.URL, a.CA
	g.Cert, g.Key = a.Issue("iib")
	got, err := sdktest.Gate(t, g).Check(t.Context(), adding("etcd"))
	if err != nil || !got.Allowed {
		t.Errorf("got %+v, %v", got, err)
	}

	stranger := asking(plain)
	stranger.URL, stranger.CA = server.URL, a.CA
	_, err = sdktest.Gate(t, stranger).Check(t.Context(), adding("etcd"))
	wantError(t, err, sdk.Unavailable, "certificate")

	lost := asking(plain)
	lost.CA = a.CA + ".none"
	if err := lost.Start(t.Context(), nil); sdk.CodeOf(err) != sdk.Unavailable || !strings.Contains(err.Error(), lost.CA) {
		t.Errorf("without the file of the authority: %v", err)
	}
}
