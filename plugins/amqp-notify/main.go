// Command amqp-notify is a notifier that sends every event as a message to an
// AMQP 1.0 broker.
package main

import (
	"context"
	"errors"
	"net/url"
	"time"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/clienttls"
	"github.com/iib-engine/iib/sdk/serve"
)

func main() {
	serve.Plugin(sdk.Plugin{
		Name:     "amqp-notify",
		Doc:      "Sends the states of requests and batches to an AMQP 1.0 broker.",
		Notifier: newNotifier(),
	})
}

type notifier struct {
	URLs     []string      `hcl:"urls" doc:"The brokers, such as \"amqps://broker.example.com:5671\". When one fails, the next is used."`
	Build    string        `hcl:"build_destination,optional" doc:"Where the states of requests are sent. Empty sends none."`
	Batch    string        `hcl:"batch_destination,optional" doc:"Where the states of batches are sent. Empty sends none."`
	Durable  bool          `hcl:"durable,optional" doc:"Mark messages as durable, so that they survive a restart of the broker."`
	Timeout  time.Duration `hcl:"timeout,optional" doc:"How long connecting to one broker may take, and sending one message."`
	SASL     string        `hcl:"sasl,optional" doc:"How to log in: \"plain\", \"external\" or \"anonymous\". Empty is plain with a username, external with a certificate, anonymous without both."`
	Username string        `hcl:"username,optional" doc:"Who logs in."`
	Password sdk.Secret    `hcl:"password,optional" doc:"The password of username."`
	clienttls.Files

	broker *broker
}

func newNotifier() *notifier { return &notifier{Durable: true, Timeout: 30 * time.Second} }

var (
	_ sdk.Notifier  = (*notifier)(nil)
	_ sdk.Validator = (*notifier)(nil)
	_ sdk.Starter   = (*notifier)(nil)
	_ sdk.Closer    = (*notifier)(nil)
)

// Validate checks the settings.
func (n *notifier) Validate() error {
	faults := []error{n.Faults()}
	blame := func(field, format string, args ...any) {
		faults = append(faults, sdk.FieldErrorf(field, format, args...))
	}
	if len(n.URLs) == 0 {
		blame("urls", "urls: it is empty")
	}
	secure := false
	for _, text := range n.URLs {
		u, err := url.Parse(text)
		switch {
		case err != nil:
			// The parser's own message has the URL, and that may have a password.
			blame("urls", "urls: one of them is no URL")
		case u.User != nil:
			blame("urls", "urls: that of %s has a user or a password; these belong into username and password", u.Host)
		case u.Hostname() == "" || u.Scheme != schemePlain && u.Scheme != schemeTLS || u.Path != "" && u.Path != "/" || u.RawQuery != "":
			blame("urls", "urls: %q is not %s://host:port or %s://host:port", text, schemeTLS, schemePlain)
		}
		secure = secure || err == nil && u.Scheme == schemeTLS
	}
	if n.Cert != "" && len(n.URLs) > 0 && !secure {
		blame("cert_file", "cert_file: no URL begins with %s://, so that no certificate would be shown", schemeTLS)
	}
	if n.Build == "" && n.Batch == "" {
		blame("build_destination", "Without build_destination and batch_destination, nothing would be sent. Set one of them, or switch the plugin off.")
	}
	if n.Timeout <= 0 {
		blame("timeout", "timeout: %s is not positive", n.Timeout)
	}
	if n.Username == "" && n.Password != "" {
		blame("password", "password needs a username")
	}
	switch n.SASL {
	case "", saslAnonymous:
	case saslPlain:
		if n.Username == "" {
			blame("sasl", "sasl: %q needs a username", saslPlain)
		}
	case saslExternal:
		if n.Cert == "" {
			blame("sasl", "sasl: %q needs a cert_file", saslExternal)
		}
	default:
		blame("sasl", "sasl: %q is none of %q, %q and %q", n.SASL, saslPlain, saslExternal, saslAnonymous)
	}
	return errors.Join(faults...)
}

// Start reads the certificates. It does not connect: a broker that is away must
// not keep the plugin from being used once it is back.
func (n *notifier) Start(context.Context, sdk.Host) error {
	if _, err := n.Config(); err != nil {
		return err
	}
	n.broker = newBroker(n.URLs, n.Timeout, n.Config, n.login())
	return nil
}

// Close ends the connection.
func (n *notifier) Close() error {
	if n.broker != nil {
		n.broker.close()
	}
	return nil
}

// Notify returns when the broker has accepted the message.
func (n *notifier) Notify(ctx context.Context, e *sdk.Event) error {
	destination := ""
	switch e.Kind {
	case sdk.RequestState:
		destination = n.Build
	case sdk.BatchState:
		destination = n.Batch
	default:
		return sdk.Errorf(sdk.Invalid, "event %s is of the unknown kind %q", e.ID, e.Kind)
	}
	if destination == "" {
		return nil
	}
	sending, cancel := shorter(ctx)
	defer cancel()
	err := n.broker.send(sending, destination, message(e, n.Durable))
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return sdk.Errorf(sdk.Unavailable, "send to %s: no broker has accepted the message in the time that the engine gives", destination)
	}
	return err
}

// shorter leaves time to answer before ctx ends: to the engine, no answer is the
// fault of this plugin or of the event, and not of the brokers.
func shorter(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return ctx, func() {}
	}
	return context.WithDeadline(ctx, deadline.Add(-min(time.Until(deadline)/5, 5*time.Second)))
}
