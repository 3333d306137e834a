package image

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/denied"
)

// network holds one pool of connections for each way to reach registries.
type network struct {
	mu    sync.Mutex
	pools map[poolKey]*http.Transport
}

// poolKey is what two accesses must share to share connections.
type poolKey struct {
	caFile  string
	caStamp string
	denied  string
}

// pool returns the connections for an access. Its errors are *sdk.Error.
func (n *network) pool(access sdk.Access) (*http.Transport, error) {
	key := poolKey{caFile: access.CAFile, denied: strings.Join(access.DeniedNetworks, " ")}
	if access.CAFile != "" {
		info, err := os.Stat(access.CAFile)
		if err != nil {
			return nil, sdk.Errorf(sdk.Internal, "registry certificates: %v", err)
		}
		// A file that was replaced is read again.
		key.caStamp = fmt.Sprint(info.ModTime().UnixNano(), info.Size())
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if t, ok := n.pools[key]; ok {
		return t, nil
	}
	t, err := newTransport(access)
	if err != nil {
		return nil, err
	}
	if n.pools == nil {
		n.pools = make(map[poolKey]*http.Transport)
	}
	n.pools[key] = t
	return t, nil
}

func (n *network) closeIdle() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, t := range n.pools {
		t.CloseIdleConnections()
	}
}

func newTransport(access sdk.Access) (*http.Transport, error) {
	roots, err := certificates(access.CAFile)
	if err != nil {
		return nil, err
	}
	networks, err := denied.Parse(access.DeniedNetworks)
	if err != nil {
		return nil, err
	}
	proxy := http.ProxyFromEnvironment
	if len(networks) > 0 {
		// A proxy would resolve names itself, out of our sight.
		proxy = nil
	}
	return &http.Transport{
		Proxy:                  proxy,
		DialContext:            networks.Dialer().DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		TLSHandshakeTimeout:    15 * time.Second,
		ForceAttemptHTTP2:      true,
		MaxIdleConnsPerHost:    16,
		IdleConnTimeout:        time.Minute,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: 1 << 20,
		// Blobs are compressed already, and a transparent gunzip would hide
		// the bytes that the digest is over.
		DisableCompression: true,
	}, nil
}

// certificates returns nil, which means the system's, for an empty path.
func certificates(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, sdk.Errorf(sdk.Internal, "registry certificates: %v", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, sdk.Errorf(sdk.Internal, "registry certificates: %s has no PEM certificate", path)
	}
	return pool, nil
}

// isLoopback tells whether a host, which may have a port, is this machine by
// its very name.
func isLoopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(host, "[]")
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// errNoTLS stops the TLS attempt at a registry that is configured without.
var errNoTLS = errors.New("the registry is configured to speak HTTP without TLS")

// guard is the last station of every request to one registry, and of those
// that the registry's redirects and challenges lead to.
type guard struct {
	pool     *http.Transport
	registry string
	plain    bool

	mu     sync.Mutex
	errors map[string]error
}

func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := g.roundTrip(req)
	if err != nil {
		g.mu.Lock()
		g.errors[req.URL.Scheme] = err
		g.mu.Unlock()
	}
	return resp, err
}

func (g *guard) roundTrip(req *http.Request) (*http.Response, error) {
	switch {
	case req.URL.Scheme == "https" && g.plain && req.URL.Host == g.registry:
		return nil, errNoTLS
	case req.URL.Scheme == "http" && !g.plain && !isLoopback(g.registry):
		return nil, &plainHTTPError{host: req.URL.Host}
	}
	if req.GetBody != nil {
		// The authenticating transport above sends a request twice when its
		// token has expired, the second time with a body that has been read.
		body, err := req.GetBody()
		if err != nil {
			return nil, err
		}
		req.Body.Close()
		fresh := *req
		fresh.Body = body
		req = &fresh
	}
	return g.pool.RoundTrip(req)
}

// handshakeError picks, of the errors that a handshake over both schemes ended
// in, the one that says what is wrong.
func (g *guard) handshakeError(err error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	overHTTP, overTLS := g.errors["http"], g.errors["https"]
	var plain *plainHTTPError
	switch {
	case overHTTP != nil && !errors.As(overHTTP, &plain):
		return overHTTP
	case overTLS != nil && !errors.Is(overTLS, errNoTLS):
		return overTLS
	}
	return err
}
