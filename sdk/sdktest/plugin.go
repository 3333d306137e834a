package sdktest

import (
	"context"
	"log/slog"
	"net/http"
	"testing"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/internal/pb"
	"github.com/iib-engine/iib/sdk/internal/schema"
	"github.com/iib-engine/iib/sdk/internal/wire"
)

// Plugin is a plugin that is served for a test. Its methods return the other
// end of the wire, and fail the test for a kind that the plugin does not offer.
type Plugin struct {
	t      testing.TB
	plugin sdk.Plugin
	conn   *wire.Conn
	offers *pb.DescribeResponse
}

// Serve serves p until the end of the test. What it asks of the engine outside
// of runs goes to host; nil means NewHost's.
func Serve(t testing.TB, p sdk.Plugin, host sdk.Host) *Plugin {
	t.Helper()
	if host == nil {
		host = NewHost(t)
	}
	server, err := wire.NewServer(p, "test")
	if err != nil {
		t.Fatal(err)
	}
	checkMethods(t, &p)
	settings, err := schema.Encode(server.Settings())
	if err != nil {
		t.Fatal(err)
	}
	conn, stop, err := wire.Loopback(server, slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	// t.Context is cancelled before the clean-up that closes the plugin.
	ctx := context.WithoutCancel(t.Context())
	offers, err := conn.Describe(ctx)
	if err != nil {
		t.Fatal("describe: ", err)
	}
	checkReadme(t, offers)
	if err := conn.Configure(ctx, settings); err != nil {
		t.Fatal("configure: ", err)
	}
	if err := conn.Validate(ctx); err != nil {
		t.Fatal("validate: ", err)
	}
	if err := conn.Start(ctx, host, true); err != nil {
		t.Fatal("start: ", err)
	}
	t.Cleanup(func() {
		if err := conn.Close(ctx); err != nil {
			t.Error("close: ", err)
		}
	})
	return &Plugin{t, p, conn, offers}
}

// RequestHandler is a handler with all that a handler may have. Accept leaves a
// submission as it is if the handler has no Accept.
type RequestHandler interface {
	sdk.Handler
	sdk.Acceptor
	sdk.Describer
}

// Handler returns the handler of a request type.
func (p *Plugin) Handler(requestType string) RequestHandler {
	p.t.Helper()
	for _, h := range p.offers.Handlers {
		if h.Type == requestType {
			return p.conn.Handler(h)
		}
	}
	p.t.Fatalf("plugin %s has no handler of %s", p.plugin.Name, requestType)
	return nil
}

// Gate returns the plugin's gate.
func (p *Plugin) Gate() sdk.Gate {
	p.t.Helper()
	p.need("gate", p.offers.Gate)
	return p.conn.Gate()
}

// Notifier returns the plugin's notifier.
func (p *Plugin) Notifier() sdk.Notifier {
	p.t.Helper()
	p.need("notifier", p.offers.Notifier)
	return p.conn.Notifier()
}

// Builder returns the plugin's builder.
func (p *Plugin) Builder() sdk.Builder {
	p.t.Helper()
	p.need("builder", p.offers.Builder)
	return p.conn.Builder()
}

// Customizer returns an instance of a customizer, with the settings that
// block has: a pointer to the prototype's type, or nil for the prototype's own
// settings. The instance is a copy.
func (p *Plugin) Customizer(name string, block sdk.Customizer) sdk.Customizer {
	p.t.Helper()
	if block == nil {
		block = p.plugin.Customizers[name]
	}
	settings, err := schema.Encode(block)
	if err != nil {
		p.t.Fatal(err)
	}
	c, err := p.conn.OpenCustomizer(p.t.Context(), name, settings)
	if err != nil {
		p.t.Fatalf("customizer %s: %v", name, err)
	}
	return c
}

// Service returns a handler that reaches the plugin's service as the engine
// does. WithUser names the caller; credentials are passed on.
func (p *Plugin) Service() http.Handler {
	p.t.Helper()
	path, err := p.conn.Listen(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	proxy, closeIdle := wire.NewProxy(p.plugin.Name, path, wire.ProxyOptions{PassCredentials: true})
	p.t.Cleanup(closeIdle)
	return proxy
}

// WithUser returns a context that makes a Service tell its plugin who calls.
func WithUser(ctx context.Context, user string) context.Context { return wire.WithUser(ctx, user) }

func (p *Plugin) need(kind string, offered bool) {
	p.t.Helper()
	if !offered {
		p.t.Fatalf("plugin %s has no %s", p.plugin.Name, kind)
	}
}

// tested is the name of a plugin that is made for one value.
const tested = "tested"

// Gate serves g alone and returns the other end.
func Gate(t testing.TB, g sdk.Gate) sdk.Gate {
	t.Helper()
	return Serve(t, sdk.Plugin{Name: tested, Gate: g}, nil).Gate()
}

// Notifier serves n alone and returns the other end.
func Notifier(t testing.TB, n sdk.Notifier) sdk.Notifier {
	t.Helper()
	return Serve(t, sdk.Plugin{Name: tested, Notifier: n}, nil).Notifier()
}

// Builder serves b alone and returns the other end.
func Builder(t testing.TB, b sdk.Builder) sdk.Builder {
	t.Helper()
	return Serve(t, sdk.Plugin{Name: tested, Builder: b}, nil).Builder()
}

// Handler serves h alone, for requests of one type, and returns the other end.
func Handler(t testing.TB, requestType string, h sdk.Handler) RequestHandler {
	t.Helper()
	return Serve(t, sdk.Plugin{Name: tested, Handlers: map[string]sdk.Handler{requestType: h}}, nil).Handler(requestType)
}

// Customizer serves c alone and returns the other end of an instance of it.
func Customizer(t testing.TB, c sdk.Customizer) sdk.Customizer {
	t.Helper()
	return Serve(t, sdk.Plugin{Name: tested, Customizers: map[string]sdk.Customizer{tested: c}}, nil).Customizer(tested, nil)
}

// Service serves h alone and returns the other end.
func Service(t testing.TB, h http.Handler) http.Handler {
	t.Helper()
	return Serve(t, sdk.Plugin{Name: tested, Service: h}, nil).Service()
}
