package api

import (
	"net"
	"net/http"
	"net/netip"
	"slices"

	"github.com/iib-engine/iib/sdk"
)

// Identity finds out who calls.
type Identity interface {
	// User returns the caller's principal, verbatim, or "" for nobody. An
	// error means that what the caller presented is wrong.
	User(r *http.Request) (string, error)
	// Required tells whether protected endpoints refuse nobody.
	Required() bool
}

// Anonymous accepts everybody and knows nobody.
type Anonymous struct{}

func (Anonymous) User(*http.Request) (string, error) { return "", nil }
func (Anonymous) Required() bool                     { return false }

// ProxyHeader believes a header that a trusted proxy sets, and only when the
// connection comes from that proxy.
type ProxyHeader struct {
	Name string
	From []netip.Prefix
}

func (h ProxyHeader) User(r *http.Request) (string, error) {
	values := r.Header.Values(h.Name)
	if len(values) == 0 || !FromAny(r, h.From) {
		return "", nil
	}
	if len(values) > 1 {
		return "", sdk.Errorf(sdk.Denied, "the header %s is there %d times", h.Name, len(values))
	}
	return values[0], nil
}

func (ProxyHeader) Required() bool { return true }

// FromAny reports whether a request's connection comes from one of the networks.
func FromAny(r *http.Request, networks []netip.Prefix) bool {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	address, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(address.Unmap()) })
}

// caller returns who calls a protected endpoint.
func (s *server) caller(r *http.Request) (string, error) {
	user, err := s.Identity.User(r)
	if err != nil {
		return "", err
	}
	if user == "" && s.Identity.Required() {
		return "", errNoUser
	}
	return user, nil
}
