package identity

import (
	"net"
	"net/http"
	"net/netip"
	"slices"

	"github.com/iib-engine/iib/sdk"
)

// ProxyHeader believes a header that a trusted proxy sets, and only when the
// connection comes from that proxy (API contract, section 6).
type ProxyHeader struct {
	Name string
	From []netip.Prefix
}

// User implements Method.
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

// Challenge implements Method: it is the proxy that asks.
func (ProxyHeader) Challenge() string { return "" }

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
