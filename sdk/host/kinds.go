package host

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/internal/wire"
)

// Handler is a plugin's handler of one request type. Accept leaves the
// submission as it is if the plugin's has no Accept. Describe returns what the
// plugin said at its start.
//
// What the plugin asks of a job goes to Job.Host while Handle runs. Its calls
// are cancelled when Handle returns, and refused from then on, also those of a
// plugin that does not notice.
type Handler interface {
	sdk.Handler
	sdk.Acceptor
	sdk.Describer
	sdk.Previewer
}

// Customizer is an instance of a plugin's customizer, made for one customize
// block.
type Customizer interface {
	sdk.Customizer
	// Release gives the instance back. It must not be used afterwards.
	Release(ctx context.Context) error
}

// Handler returns the plugin's handler of a type, or NotFound.
func (p *Plugin) Handler(requestType string) (Handler, error) {
	d, ok := p.offers.handlers[requestType]
	if !ok {
		return nil, p.lacks("handler of " + requestType)
	}
	return p.conn.Handler(d), nil
}

// Gate returns the plugin's gate, or NotFound.
func (p *Plugin) Gate() (sdk.Gate, error) {
	if !p.offers.Gate {
		return nil, p.lacks("gate")
	}
	return p.conn.Gate(), nil
}

// Notifier returns the plugin's notifier, or NotFound.
func (p *Plugin) Notifier() (sdk.Notifier, error) {
	if !p.offers.Notifier {
		return nil, p.lacks("notifier")
	}
	return p.conn.Notifier(), nil
}

// Builder returns the plugin's builder, or NotFound.
func (p *Plugin) Builder() (sdk.Builder, error) {
	if !p.offers.Builder {
		return nil, p.lacks("builder")
	}
	return p.conn.Builder(), nil
}

// Customizer makes an instance of a customizer from the settings of a block,
// which it checks as Configure does; NotFound if the plugin has none of that
// name. The plugin must be started.
func (p *Plugin) Customizer(ctx context.Context, name string, config json.RawMessage) (Customizer, error) {
	if !slices.ContainsFunc(p.offers.Customizers, func(d CustomizerDescription) bool { return d.Name == name }) {
		return nil, p.lacks("customizer " + name)
	}
	c, err := p.conn.OpenCustomizer(ctx, name, config)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (p *Plugin) lacks(kind string) error {
	return sdk.Errorf(sdk.NotFound, "plugin %s offers no %s", p.name, kind)
}

// ServiceOptions are how a service is reached.
type ServiceOptions struct {
	// PassCredentials hands the client's Authorization and Cookie headers to
	// the service: what a registry's clients log in with. Without it the engine
	// alone knows them.
	PassCredentials bool
	// OnError answers for a service that does not; nil for plain text. The
	// error has code Unavailable, or is one of the request's context.
	OnError func(http.ResponseWriter, *http.Request, error)
}

// Service returns a handler that hands requests to the plugin's service, or
// NotFound. The plugin must be started.
//
// Bodies are streamed in both directions and have no limit. The path and Host
// stay as they are, X-Forwarded-For, -Host and -Proto are set anew, and the
// caller's identity is what WithUser put into the request's context: what a
// client claims in that header is removed.
func (p *Plugin) Service(ctx context.Context, o ServiceOptions) (http.Handler, error) {
	if !p.offers.Service {
		return nil, p.lacks("service")
	}
	path, err := p.conn.Listen(ctx)
	if err != nil {
		return nil, err
	}
	if err := p.proc.inside("unix", path); err != nil {
		return nil, err
	}
	proxy, closeIdle := wire.NewProxy(p.name, path, wire.ProxyOptions{
		PassCredentials: o.PassCredentials, OnError: o.OnError, Logger: p.logger,
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = append(p.idle, closeIdle)
	return proxy, nil
}

// WithUser returns a context that makes a Service tell its plugin who calls.
func WithUser(ctx context.Context, user string) context.Context { return wire.WithUser(ctx, user) }
