// Package gateway is the way out for programs that the plugin runs: a proxy on
// loopback that only they may use, and that connects to nothing in a denied
// network. By themselves dnf and git would go wherever a server sends them.
package gateway

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/denied"
)

// Gateway is open until it is closed. It is safe for concurrent use.
type Gateway struct {
	rule     denied.Rule
	listener net.Listener
	server   *http.Server
	// closed ends with the gateway.
	closed context.Context
	close  context.CancelFunc

	mu     sync.Mutex
	passes map[string]*Pass // by user
}

// Way is what programs are told of the world outside.
type Way struct {
	// Rule tells where they must not go; nil denies nothing.
	Rule denied.Rule
	// CAFile has the authorities to trust where nothing else is said; empty means
	// the system's.
	CAFile string
}

// Open makes a gateway. Its user closes it when the programs have ended. Without
// a rule nothing is denied.
func Open(rule denied.Rule) (*Gateway, error) {
	if rule == nil {
		rule = denied.List(nil)
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, sdk.Errorf(sdk.Unavailable, "open a gateway for programs: %w", err)
	}
	g := &Gateway{rule: rule, listener: listener, passes: make(map[string]*Pass)}
	g.closed, g.close = context.WithCancel(context.Background())
	g.server = &http.Server{
		Handler: g, ReadHeaderTimeout: 10 * time.Second,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	go func() { _ = g.server.Serve(listener) }()
	return g, nil
}

// Close ends the gateway and all that goes through it.
func (g *Gateway) Close() {
	g.close()
	_ = g.server.Close()
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range g.passes {
		p.transport.CloseIdleConnections()
	}
}

// Address is what a program has to be told, without the pass it needs.
func (g *Gateway) Address() string { return "http://" + g.listener.Addr().String() }

// Route is where a pass leads.
type Route struct {
	// Trusted are places that the administrator has named: they are reached
	// whatever their addresses are.
	Trusted []string
	// Proxy is the proxy to go through; nil is none.
	Proxy *url.URL
}

// Admit makes a pass, good until the gateway is closed.
func (g *Gateway) Admit(route Route) *Pass {
	p := &Pass{User: rand.Text(), Password: rand.Text(), gateway: g, route: route, guarded: denied.Dial(g.rule)}
	p.transport = &http.Transport{
		Proxy:       http.ProxyURL(route.Proxy),
		DialContext: p.dial,
		// The program decides what is compressed.
		DisableCompression: true, TLSHandshakeTimeout: 15 * time.Second, IdleConnTimeout: 30 * time.Second,
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.passes[p.User] = p
	return p
}

// holder returns the pass that a request shows, or nil.
func (g *Gateway) holder(r *http.Request) *Pass {
	// The header has the form of another one that net/http can read.
	shown := &http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}
	user, password, _ := shown.BasicAuth()
	g.mu.Lock()
	p := g.passes[user]
	g.mu.Unlock()
	if p == nil || subtle.ConstantTimeCompare([]byte(p.Password), []byte(password)) == 0 {
		return nil
	}
	return p
}

func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p := g.holder(r)
	switch {
	case p == nil:
		w.Header().Set("Proxy-Authenticate", `Basic realm="iib"`)
		http.Error(w, "This proxy is for programs of the composer.", http.StatusProxyAuthRequired)
	case r.Method == http.MethodConnect:
		p.connect(w, r)
	case r.URL.Scheme == "http" && r.URL.Host != "":
		p.forward(w, r)
	default:
		http.Error(w, "This proxy is for http and https.", http.StatusNotImplemented)
	}
}
