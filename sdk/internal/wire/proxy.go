package wire

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"sync"
	"time"

	"github.com/iib-engine/iib/sdk"
)

// ProxyOptions are how a service is reached.
type ProxyOptions struct {
	// PassCredentials hands the client's Authorization and Cookie headers to
	// the service.
	PassCredentials bool
	// OnError answers for a service that does not; nil for plain text. The
	// error has code Unavailable, or is one of the request's context.
	OnError func(http.ResponseWriter, *http.Request, error)
	// Logger gets what cannot be answered any more; nil for none.
	Logger *slog.Logger
}

type userKey struct{}

// WithUser returns a context that makes the proxy tell the service who calls.
func WithUser(ctx context.Context, user string) context.Context {
	return context.WithValue(ctx, userKey{}, user)
}

// credentials are the headers that tell a server who its client is.
var credentials = []string{"Authorization", "Cookie"}

// NewProxy returns a handler that hands requests to the plugin's service on
// the socket at path, and a function that closes idle connections to it.
//
// Bodies are streamed both ways and flushed as they come. The request's path,
// query and Host stay as they are; X-Forwarded-For, -Host and -Proto are set anew.
func NewProxy(plugin, path string, o ProxyOptions) (http.Handler, func()) {
	// 128 KiB at a time: a registry's uploads go through here, and the 4 KiB
	// that net/http takes by default cost a system call each.
	const buffer = 128 << 10
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		},
		DisableCompression:    true, // what the service sends is passed on as it is
		MaxIdleConnsPerHost:   64,
		IdleConnTimeout:       time.Minute,
		ExpectContinueTimeout: time.Second,
		ReadBufferSize:        buffer,
		WriteBufferSize:       buffer,
	}
	proxy := &httputil.ReverseProxy{
		Transport:     transport,
		FlushInterval: -1,
		BufferPool:    &bufferPool{sync.Pool{New: func() any { b := make([]byte, buffer); return &b }}},
		ErrorLog:      slog.NewLogLogger(discardIfNil(o.Logger).Handler(), slog.LevelWarn),
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "http", "plugin"
			r.Out.Host = r.In.Host
			// A query that Go cannot read would lose its parts, and the service
			// would do something else than it was asked for.
			r.Out.URL.RawQuery = r.In.URL.RawQuery
			r.SetXForwarded()
			r.Out.Header.Del("Proxy-Authorization")
			if !o.PassCredentials {
				for _, name := range credentials {
					r.Out.Header.Del(name)
				}
			}
			r.Out.Header.Del(sdk.UserHeader)
			if user, _ := r.In.Context().Value(userKey{}).(string); user != "" {
				r.Out.Header.Set(sdk.UserHeader, user)
			}
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
				err = sdk.Errorf(sdk.Unavailable, "plugin %s: %v", plugin, err)
			}
			if o.OnError != nil {
				o.OnError(w, r, err)
				return
			}
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		},
	}
	return proxy, transport.CloseIdleConnections
}

type bufferPool struct{ pool sync.Pool }

func (p *bufferPool) Get() []byte  { return *p.pool.Get().(*[]byte) }
func (p *bufferPool) Put(b []byte) { p.pool.Put(&b) }
