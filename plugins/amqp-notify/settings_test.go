package main

import (
	"errors"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/sdk"
)

func TestSettingsAreChecked(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*notifier)
		fields []string
	}{
		{"as documented", func(*notifier) {}, nil},
		{"no URL", func(n *notifier) { n.URLs = nil }, []string{"urls"}},
		{"URLs of other kinds", func(n *notifier) {
			n.URLs = []string{"https://b.example.com", "amqps://", "amqps://b/path", "amqps://b?x=y", "%"}
			n.Cert, n.Key = "", ""
		}, []string{"urls", "urls", "urls", "urls", "urls"}},
		{"URLs of the right kinds", func(n *notifier) { n.URLs = []string{"amqp://b", "amqps://[::1]:5671/"} }, nil},
		{"a password in a URL", func(n *notifier) { n.URLs = []string{"amqps://iib:hidden@b.example.com"} }, []string{"urls"}},
		{"a password in what is no URL", func(n *notifier) { n.URLs = []string{"amqps://iib:hidden%@b.example.com"} }, []string{"urls", "cert_file"}},
		{"a certificate that nobody sees", func(n *notifier) { n.URLs = []string{"amqp://b"} }, []string{"cert_file"}},
		{"no destination", func(n *notifier) { n.Build, n.Batch = "", "" }, []string{"build_destination"}},
		{"one destination", func(n *notifier) { n.Build = "" }, nil},
		{"no time", func(n *notifier) { n.Timeout = 0 }, []string{"timeout"}},
		{"a password for nobody", func(n *notifier) { n.Password = "hidden" }, []string{"password"}},
		{"plain without a user", func(n *notifier) { n.SASL = saslPlain }, []string{"sasl"}},
		{"external without a certificate", func(n *notifier) { n.SASL, n.Cert, n.Key = saslExternal, "", "" }, []string{"sasl"}},
		{"anonymous with a certificate", func(n *notifier) { n.SASL = saslAnonymous }, nil},
		{"an unknown login", func(n *notifier) { n.SASL = "gssapi" }, []string{"sasl"}},
		{"a relative path", func(n *notifier) { n.CA = "ca.pem" }, []string{"ca_file"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNotifier()
			n.URLs = []string{"amqps://broker1.example.com:5671", "amqps://broker2.example.com"}
			n.Build, n.Batch = "topic://VirtualTopic.eng.iib.build.state", "topic://VirtualTopic.eng.iib.batch.state"
			n.CA, n.Cert, n.Key = "/ca.pem", "/cert.pem", "/key.pem"
			c.change(n)
			err := n.Validate()
			var fields []string
			collect(err, &fields)
			if diff := gocmp.Diff(c.fields, fields); diff != "" {
				t.Errorf("blamed (-want +got):\n%s", diff)
			}
			if err != nil && strings.Contains(err.Error(), "hidden") {
				t.Errorf("it tells the password: %v", err)
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

func TestAMissingCertificateKeepsThePluginFromStarting(t *testing.T) {
	n := plainly("amqps://localhost")
	n.Cert, n.Key = "/none/cert.pem", "/none/key.pem"
	wantError(t, n.Start(t.Context(), nil), sdk.Unavailable, "/none/cert.pem")
}
