package tags

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"os"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// embedded asks the engine's own registry, which is a service of this process,
// in a user's name. The registry judges what the user may do.
func embedded(service http.Handler, user string) core.TagHistory {
	return &quay{
		kind: "embedded", trusted: true, base: "http://registry",
		client: &http.Client{Transport: inProcess{service, user}},
		token:  func() (string, error) { return "", nil },
	}
}

// inProcess is a transport that ends at a handler.
type inProcess struct {
	service http.Handler
	user    string
}

func (p inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	if r.Body == nil {
		r.Body = http.NoBody
	}
	r.RequestURI = r.URL.RequestURI()
	r.RemoteAddr = "127.0.0.1:0"
	r.Header.Del(sdk.UserHeader)
	if p.user != "" {
		r.Header.Set(sdk.UserHeader, p.user)
	}
	answer := &answer{header: make(http.Header), status: http.StatusOK}
	p.service.ServeHTTP(answer, r)
	return &http.Response{
		StatusCode: answer.status, Status: http.StatusText(answer.status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: answer.header, Body: io.NopCloser(&answer.body), ContentLength: int64(answer.body.Len()), Request: r,
	}, nil
}

// answer collects what a handler writes.
type answer struct {
	header http.Header
	status int
	wrote  bool
	body   bytes.Buffer
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) {
	if !a.wrote && status >= 200 {
		a.status, a.wrote = status, true
	}
}

func (a *answer) Write(p []byte) (int, error) {
	a.wrote = true
	return a.body.Write(p)
}

// clientFor returns a client that trusts the certificates in a file too.
func clientFor(caFile string) (*http.Client, error) {
	if caFile == "" {
		return http.DefaultClient, nil
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, sdk.Errorf(sdk.Internal, "registry certificates: %v", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, sdk.Errorf(sdk.Internal, "registry certificates: %s has no PEM certificate", caFile)
	}
	return &http.Client{Transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}, DisableKeepAlives: true,
	}}, nil
}
