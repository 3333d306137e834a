package gateway_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/iib-engine/iib/plugins/composer/internal/gateway"
	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/denied"
)

func open(t *testing.T, networks ...string) *gateway.Gateway {
	t.Helper()
	g, err := gateway.Open(denied.List(networks))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g
}

// client goes through a proxy.
func client(t *testing.T, proxy string, trusting *httptest.Server) *http.Client {
	t.Helper()
	u, err := url.Parse(proxy)
	if err != nil {
		t.Fatal(err)
	}
	transport := trusting.Client().Transport.(*http.Transport).Clone()
	transport.Proxy = http.ProxyURL(u)
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// echo tells what it gets.
func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	fmt.Fprintf(w, "%s %s %q %q", r.Method, r.Host+r.URL.String(), body, r.Header.Values("Proxy-Authorization"))
}

func TestGateway(t *testing.T) {
	g := open(t, "127.0.0.2/32")
	pass := g.Admit(gateway.Route{})
	plain, secure := httptest.NewServer(http.HandlerFunc(echo)), httptest.NewTLSServer(http.HandlerFunc(echo))
	t.Cleanup(plain.Close)
	t.Cleanup(secure.Close)

	t.Run("what is asked arrives, and the pass does not", func(t *testing.T) {
		for _, server := range []*httptest.Server{plain, secure} {
			resp, err := client(t, pass.URL(), server).Post(server.URL+"/a?b=c", "text/plain", strings.NewReader("body"))
			if err != nil {
				t.Fatal(err)
			}
			got, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if want := fmt.Sprintf("POST %s/a?b=c %q []", server.Listener.Addr(), "body"); string(got) != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
		if fault := pass.Fault(); fault != nil {
			t.Errorf("nothing was wrong: %v", fault)
		}
	})
	t.Run("without a pass there is no way", func(t *testing.T) {
		wrong := strings.Replace(pass.URL(), pass.Password, "x", 1)
		other := open(t).Admit(gateway.Route{})
		stranger := strings.NewReplacer(pass.User, other.User, pass.Password, other.Password).Replace(pass.URL())
		for _, proxy := range []string{g.Address(), wrong, stranger} {
			resp, err := client(t, proxy, plain).Get(plain.URL)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusProxyAuthRequired {
				t.Errorf("http: %s", resp.Status)
			}
			if _, err := client(t, proxy, secure).Get(secure.URL); err == nil || !strings.Contains(err.Error(), "Proxy Authentication Required") {
				t.Errorf("https: %v", err)
			}
		}
	})
	t.Run("it is a proxy and no server", func(t *testing.T) {
		for _, line := range []string{"GET / HTTP/1.1\r\nHost: x\r\n", "GET ftp://127.0.0.1/ HTTP/1.1\r\nHost: x\r\n", "GET https://127.0.0.1/ HTTP/1.1\r\nHost: x\r\n"} {
			r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(line + "\r\n")))
			if err != nil {
				t.Fatal(err)
			}
			r.SetBasicAuth(pass.User, pass.Password)
			r.Header["Proxy-Authorization"] = r.Header["Authorization"]
			w := httptest.NewRecorder()
			g.ServeHTTP(w, r)
			if w.Code != http.StatusNotImplemented {
				t.Errorf("%q: %d", line, w.Code)
			}
		}
	})
	t.Run("a denied network", func(t *testing.T) {
		_, port, _ := net.SplitHostPort(plain.Listener.Addr().String())
		place := net.JoinHostPort("127.0.0.2", port)
		for _, scheme := range []string{"http", "https"} {
			pass := g.Admit(gateway.Route{})
			resp, err := client(t, pass.URL(), secure).Get(scheme + "://" + place)
			if err == nil {
				resp.Body.Close()
			}
			if scheme == "http" && (err != nil || resp.StatusCode != http.StatusForbidden) || scheme == "https" && (err == nil || !strings.Contains(err.Error(), "Forbidden")) {
				t.Errorf("%s: %v, %v", scheme, resp, err)
			}
			fault := pass.Fault()
			if fault == nil || fault.Code != sdk.Denied || !strings.Contains(fault.Message, place+": the connection to 127.0.0.2 was refused") {
				t.Errorf("%s: %v", scheme, fault)
			}
		}
	})
}

func TestTunnel(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(echo))
	t.Cleanup(server.Close)
	place := server.Listener.Addr().String()

	t.Run("it leads to its place", func(t *testing.T) {
		g := open(t)
		address, err := g.Admit(gateway.Route{}).Tunnel(place)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.Get("http://" + address.String() + "/a")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		g.Close()
		if conn, err := net.Dial("tcp", address.String()); err == nil {
			// The kernel may have taken it before the gateway was closed.
			_, err = conn.Read(make([]byte, 1))
			if err == nil {
				t.Error("it is open although its gateway is closed")
			}
			conn.Close()
		}
	})
	t.Run("its place lies in a denied network", func(t *testing.T) {
		pass := open(t, "127.0.0.0/8").Admit(gateway.Route{})
		address, err := pass.Tunnel(place)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := net.Dial("tcp", address.String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Error("it leads somewhere")
		}
		if fault := pass.Fault(); fault == nil || fault.Code != sdk.Denied {
			t.Errorf("%v", fault)
		}
	})
}
