package gateway

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/denied"
)

// Pass is what a program shows to the gateway. It is handed over in a file or
// a pipe, where no other user of the host can read it.
type Pass struct {
	User, Password string

	gateway   *Gateway
	route     Route
	guarded   func(ctx context.Context, network, address string) (net.Conn, error)
	transport *http.Transport

	mu    sync.Mutex
	fault *sdk.Error
}

// URL is the gateway's address with the pass in it.
func (p *Pass) URL() string {
	u := url.URL{Scheme: "http", User: url.UserPassword(p.User, p.Password), Host: p.gateway.listener.Addr().String()}
	return u.String()
}

// Fault is why a connection was not made, or nil: Denied if one would have led
// into a denied network, else Unavailable. The program itself can only tell
// that its proxy did not go on.
func (p *Pass) Fault() *sdk.Error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fault
}

// note keeps the first refusal, or else the latest failure.
func (p *Pass) note(ctx context.Context, place string, err error) {
	if ctx.Err() != nil {
		return // the program has given up
	}
	fault := sdk.Errorf(sdk.Unavailable, "%s cannot be reached: %v", place, err)
	var refused *denied.Error
	if errors.As(err, &refused) {
		fault = sdk.Errorf(sdk.Denied, "%s: %v; the administrator decides that with registry.denied_networks", place, refused)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fault == nil || p.fault.Code != sdk.Denied {
		p.fault = fault
	}
}

// dial connects to a place: a host, which may be a name, and a port.
func (p *Pass) dial(ctx context.Context, network, place string) (net.Conn, error) {
	dial := p.guarded
	if slices.Contains(p.route.Trusted, strings.ToLower(place)) {
		dial = new(net.Dialer).DialContext
	}
	conn, err := dial(ctx, network, place)
	if err != nil {
		p.note(ctx, place, err)
	}
	return conn, err
}

// judge refuses a denied address that another proxy would be asked for. What
// names mean to that proxy is out of our sight.
func (p *Pass) judge(ctx context.Context, place string) error {
	if p.route.Proxy == nil || slices.Contains(p.route.Trusted, strings.ToLower(place)) {
		return nil // dial does
	}
	networks, err := denied.By(ctx, p.gateway.rule)
	if err != nil {
		return err
	}
	var refused *denied.Error
	if err := networks.Check(place); errors.As(err, &refused) {
		p.note(ctx, place, refused)
		return refused
	}
	return nil
}

// answer tells a program that there is no way on.
func answer(w http.ResponseWriter, err error) {
	code := http.StatusBadGateway
	var refused *denied.Error
	if errors.As(err, &refused) {
		code = http.StatusForbidden
	}
	http.Error(w, err.Error(), code)
}

// forward passes on a request without TLS. Redirects are the program's to
// follow, through us again.
func (p *Pass) forward(w http.ResponseWriter, r *http.Request) {
	if err := p.judge(r.Context(), denied.Place(r.URL)); err != nil {
		answer(w, err)
		return
	}
	onwards := httputil.ReverseProxy{
		Rewrite:      func(*httputil.ProxyRequest) {},
		Transport:    p.transport,
		ErrorLog:     slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) { answer(w, err) },
	}
	onwards.ServeHTTP(w, r)
}

// connect makes a tunnel, which is what TLS needs.
func (p *Pass) connect(w http.ResponseWriter, r *http.Request) {
	outside, err := p.reach(r.Context(), r.URL.Host)
	if err != nil {
		answer(w, err)
		return
	}
	conn, sent, err := http.NewResponseController(w).Hijack()
	if err != nil {
		outside.Close()
		answer(w, err)
		return
	}
	if _, err := io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		conn.Close()
		outside.Close()
		return
	}
	p.join(read{conn, sent}, outside)
}

// reach opens a connection to a place, through the route's proxy if it has one.
func (p *Pass) reach(ctx context.Context, place string) (net.Conn, error) {
	proxy := p.route.Proxy
	if proxy == nil {
		return p.dial(ctx, "tcp", place)
	}
	if err := p.judge(ctx, place); err != nil {
		return nil, err
	}
	conn, err := p.dial(ctx, "tcp", denied.Place(proxy))
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	through, err := pierce(ctx, conn, proxy, place)
	if err != nil {
		conn.Close()
		p.note(ctx, place, err)
		return nil, err
	}
	return through, nil
}

// pierce asks a proxy for a tunnel.
func pierce(ctx context.Context, conn net.Conn, proxy *url.URL, place string) (net.Conn, error) {
	if proxy.Scheme == "https" {
		secure := tls.Client(conn, &tls.Config{ServerName: proxy.Hostname(), MinVersion: tls.VersionTLS12})
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, fmt.Errorf("proxy %s: %w", proxy.Host, err)
		}
		conn = secure
	}
	ask := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: place}, Host: place, Header: make(http.Header)}
	if u := proxy.User; u != nil {
		password, _ := u.Password()
		ask.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(u.Username()+":"+password)))
	}
	if err := ask.Write(conn); err != nil {
		return nil, fmt.Errorf("proxy %s: %w", proxy.Host, err)
	}
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, ask)
	if err != nil {
		return nil, fmt.Errorf("proxy %s: %w", proxy.Host, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("proxy %s answered %s", proxy.Host, resp.Status)
	}
	return read{conn, in}, nil
}

// Tunnel listens on loopback for a program that knows no proxy. Every
// connection leads to one place, whatever the program believes.
func (p *Pass) Tunnel(place string) (net.Addr, error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, sdk.Errorf(sdk.Unavailable, "open a gateway for programs: %w", err)
	}
	context.AfterFunc(p.gateway.closed, func() { listener.Close() })
	go func() {
		for {
			inside, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				outside, err := p.reach(p.gateway.closed, place)
				if err != nil {
					inside.Close()
					return
				}
				p.join(inside, outside)
			}()
		}
	}()
	return listener.Addr(), nil
}

// join passes on what comes from either side, until both have ended or the
// gateway is closed.
func (p *Pass) join(inside, outside net.Conn) {
	end := func() {
		inside.Close()
		outside.Close()
	}
	defer end()
	stop := context.AfterFunc(p.gateway.closed, end)
	defer stop()
	var both sync.WaitGroup
	pass := func(to, from net.Conn) {
		_, _ = io.Copy(to, from)
		if half, ok := to.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
	}
	both.Go(func() { pass(outside, inside) })
	both.Go(func() { pass(inside, outside) })
	both.Wait()
}

// read is a connection of which something has been read already.
type read struct {
	net.Conn
	in io.Reader
}

func (r read) Read(p []byte) (int, error) { return r.in.Read(p) }

func (r read) CloseWrite() error {
	if half, ok := r.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return r.Conn.Close()
}
