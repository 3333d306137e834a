package denied_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/denied"
)

func TestCheck(t *testing.T) {
	networks, err := denied.Parse([]string{"10.0.0.0/8", "fe80::/10", "::1/128"})
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]bool{
		"10.1.2.3:443":          false,
		"[::ffff:10.1.2.3]:443": false,
		"[fe80::1%eth0]:443":    false,
		"[::1]:443":             false,
		"11.1.2.3:443":          true,
		"[2001:db8::1]:443":     true,
		"not an address":        false,
	} {
		if got := networks.Check(address) == nil; got != want {
			t.Errorf("%s: allowed %t, want %t", address, got, want)
		}
	}
}

// changing is a rule that an administrator edits.
type changing struct {
	denied.List
	err error
}

func (c *changing) DeniedNetworks(context.Context) ([]string, error) { return c.List, c.err }

func TestDial(t *testing.T) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	rule := new(changing)
	dial := denied.Dial(rule)
	try := func(host string) error {
		conn, err := dial(t.Context(), "tcp4", net.JoinHostPort(host, port))
		if err == nil {
			conn.Close()
		}
		return err
	}

	if err := try("127.0.0.1"); err != nil {
		t.Errorf("nothing is denied: %v", err)
	}
	rule.List = denied.List{"127.0.0.0/8"}
	for _, host := range []string{"127.0.0.1", "localhost"} {
		var refused *denied.Error
		if err := try(host); !errors.As(err, &refused) || refused.Address != "127.0.0.1" || refused.Network != "127.0.0.0/8" {
			t.Errorf("%s in a denied network: %v", host, err)
		}
	}
	rule.List = denied.List{"127.0.0.1"}
	if err := try("127.0.0.1"); sdk.CodeOf(err) != sdk.Internal || !strings.Contains(err.Error(), `"127.0.0.1" is not an address range`) {
		t.Errorf("a rule that is none: %v", err)
	}
	rule.err = errors.New("nobody knows")
	if err := try("127.0.0.1"); !errors.Is(err, rule.err) {
		t.Errorf("a rule that cannot be told: %v", err)
	}
}
