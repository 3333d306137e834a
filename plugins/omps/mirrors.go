package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/iib-engine/iib/sdk/denied"
)

// mirrors reaches the places that the configuration names, which may redirect
// to others. Those must not be in a denied network, and get none of what we
// have for the places that were named: no certificate, and no way through the
// environment's proxy, which would resolve names out of our sight.
type mirrors struct {
	named     map[string]bool
	reach     http.RoundTripper
	elsewhere http.RoundTripper
}

// newMirrors returns a client for files of builds, which mirrors often serve.
// The addresses are those of the configuration.
func newMirrors(reach *http.Transport, rule denied.Rule, addresses ...string) (*http.Client, error) {
	elsewhere := reach.Clone()
	elsewhere.Proxy = nil
	elsewhere.DialContext = denied.Dial(rule)
	elsewhere.TLSClientConfig.GetClientCertificate = nil
	m := &mirrors{named: make(map[string]bool), reach: reach, elsewhere: elsewhere}
	for _, address := range addresses {
		u, err := url.Parse(address)
		if err != nil {
			return nil, err
		}
		m.named[place(u)] = true
	}
	return &http.Client{Transport: m, CheckRedirect: judgeRedirect}, nil
}

func place(u *url.URL) string { return u.Scheme + "://" + denied.Place(u) }

// RoundTrip implements http.RoundTripper.
func (m *mirrors) RoundTrip(r *http.Request) (*http.Response, error) {
	if m.named[place(r.URL)] {
		return m.reach.RoundTrip(r)
	}
	return m.elsewhere.RoundTrip(r)
}

// judgeRedirect follows a few, and none that leaves TLS.
func judgeRedirect(next *http.Request, via []*http.Request) error {
	from, to := via[len(via)-1].URL.Scheme, next.URL.Scheme
	switch {
	case len(via) > 5:
		return errors.New("it redirects more than five times")
	case to == "https", to == "http" && from == "http":
		return nil
	}
	return fmt.Errorf("it redirects from %s to %s, which is not followed", from, to)
}
