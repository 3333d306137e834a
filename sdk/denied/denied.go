// Package denied keeps connections out of the networks that the configuration
// denies, such as those of a cloud's metadata service. Whatever somebody else
// than the administrator may lead to a place of his choice dials with it:
// registries, repositories of packages, redirects.
package denied

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/iib-engine/iib/sdk"
)

// Rule tells which networks are denied at the moment, as CIDR ranges. An
// sdk.Host is one.
type Rule interface {
	DeniedNetworks(ctx context.Context) ([]string, error)
}

// List is a Rule that does not change.
type List []string

// DeniedNetworks implements Rule.
func (l List) DeniedNetworks(context.Context) ([]string, error) { return l, nil }

// Networks are what no connection may reach.
type Networks []netip.Prefix

// Parse reads CIDR ranges. Its error is an *sdk.Error.
func Parse(cidrs []string) (Networks, error) {
	networks := make(Networks, 0, len(cidrs))
	for _, cidr := range cidrs {
		p, err := netip.ParsePrefix(cidr)
		if err != nil {
			return nil, sdk.Errorf(sdk.Internal, "denied networks: %q is not an address range such as 10.0.0.0/8", cidr)
		}
		networks = append(networks, p.Masked())
	}
	return networks, nil
}

// Error is a connection that was refused.
type Error struct {
	Address, Network string
}

func (e *Error) Error() string {
	return fmt.Sprintf("the connection to %s was refused, because it lies in the denied network %s", e.Address, e.Network)
}

// Check returns an *Error for an address, which has a port, in one of the
// networks. A name is not an address.
func (n Networks) Check(address string) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("parse address %s: %w", address, err)
	}
	// ::ffff:10.0.0.1 is 10.0.0.1 to the kernel, and a zone would match nothing.
	addr := ap.Addr().Unmap().WithZone("")
	for _, p := range n {
		if p.Contains(addr) {
			return &Error{Address: addr.String(), Network: p.String()}
		}
	}
	return nil
}

// Place is the host and the port that a URL of http or https leads to, in one
// spelling.
func Place(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

// Dialer returns a dialer that connects to none of the networks: it looks at
// every address after name resolution, the last moment before the connection
// is made.
func (n Networks) Dialer() *net.Dialer {
	dialer := &net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}
	if len(n) > 0 {
		dialer.ControlContext = func(_ context.Context, _, address string, _ syscall.RawConn) error { return n.Check(address) }
	}
	return dialer
}

// By returns what a rule denies at the moment.
func By(ctx context.Context, rule Rule) (Networks, error) {
	cidrs, err := rule.DeniedNetworks(ctx)
	if err != nil {
		return nil, err
	}
	return Parse(cidrs)
}

// Dial returns what net.Dialer.DialContext is, under a rule that is asked for
// each connection.
func Dial(rule Rule) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		networks, err := By(ctx, rule)
		if err != nil {
			return nil, err
		}
		return networks.Dialer().DialContext(ctx, network, address)
	}
}
