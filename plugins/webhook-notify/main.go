// Command webhook-notify is a notifier that posts every event as signed JSON
// to an address.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/serve"
)

func main() {
	serve.Plugin(sdk.Plugin{
		Name:     "webhook-notify",
		Doc:      "Posts every event as signed JSON to an address.",
		Notifier: newNotifier(),
	})
}

// leastSecret is the shortest secret that is taken, in bytes.
const leastSecret = 16

// Settings are the plugin's configuration.
type Settings struct {
	URL     string        `hcl:"url" doc:"Where events are posted to: an http or https address."`
	Secret  sdk.Secret    `hcl:"secret" doc:"The key of the signature, which the receiver knows too. At least 16 bytes; use env or file."`
	Timeout time.Duration `hcl:"timeout,optional" doc:"How long the receiver may take to answer."`
	CAFile  string        `hcl:"ca_file,optional" doc:"A file of PEM certificates to trust besides the system's."`
}

type notifier struct {
	Settings

	address *url.URL
	client  *http.Client
	hold    hold
}

var (
	_ sdk.Notifier  = (*notifier)(nil)
	_ sdk.Validator = (*notifier)(nil)
	_ sdk.Closer    = (*notifier)(nil)
)

func newNotifier() *notifier {
	return &notifier{Settings: Settings{Timeout: 10 * time.Second}}
}

// Validate checks the settings and makes of them what Notify needs.
func (n *notifier) Validate() error {
	address, err := url.Parse(n.URL)
	if err != nil || address.Host == "" || address.Scheme != "http" && address.Scheme != "https" {
		// The address may have a token in it, so it is not repeated.
		return sdk.FieldErrorf("url", "url is not an http or https address with a host")
	}
	if len(n.Secret) < leastSecret {
		return sdk.FieldErrorf("secret", "secret has %d bytes; at least %d keep others from guessing it", len(n.Secret), leastSecret)
	}
	if n.Timeout <= 0 {
		return sdk.FieldErrorf("timeout", "timeout must be more than 0")
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 16
	if n.CAFile != "" {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		data, err := os.ReadFile(n.CAFile)
		if err != nil {
			return sdk.FieldErrorf("ca_file", "%v", err)
		}
		if !pool.AppendCertsFromPEM(data) {
			return sdk.FieldErrorf("ca_file", "%s has no PEM certificate", n.CAFile)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	n.address = address
	n.client = &http.Client{
		Transport: transport,
		// A redirect would take the event, and its signature, to where the
		// settings did not say.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return nil
}

// Close gives idle connections back.
func (n *notifier) Close() error {
	n.client.CloseIdleConnections()
	return nil
}
