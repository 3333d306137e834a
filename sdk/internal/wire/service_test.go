package wire

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/iib-engine/iib/sdk"
)

// front serves a plugin's service behind the proxy, as the user that a request
// names in the header Test-User.
func front(t testing.TB, service http.Handler, o ProxyOptions) *httptest.Server {
	t.Helper()
	conn := serve(t, sdk.Plugin{Service: service}, nil)
	path, err := conn.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	proxy, closeIdle := NewProxy("tested", path, o)
	t.Cleanup(closeIdle)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user := r.Header.Get("Test-User")
		r.Header.Del("Test-User")
		proxy.ServeHTTP(w, r.WithContext(WithUser(r.Context(), user)))
	}))
	t.Cleanup(server.Close)
	return server
}

// dump is a service that answers with what it got.
var dump = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	fmt.Fprintf(w, "%s %s host=%s user=%q body=%s\n", r.Method, r.RequestURI, r.Host, sdk.UserFrom(r), body)
	for _, name := range []string{"Authorization", "Cookie", "Proxy-Authorization", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Other"} {
		if v := r.Header.Values(name); v != nil {
			fmt.Fprintf(w, "%s: %s\n", name, strings.Join(v, ","))
		}
	}
})

func TestService(t *testing.T) {
	ask := func(t *testing.T, server *httptest.Server, header http.Header) string {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, server.URL+"/v2/a%2Fb/?q=1&r", strings.NewReader("content"))
		if err != nil {
			t.Fatal(err)
		}
		r.Host = "registry.example"
		r.Header = header
		resp, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	header := http.Header{
		"Authorization":       {"Basic c2VjcmV0"},
		"Cookie":              {"session=secret"},
		"Proxy-Authorization": {"Basic cHJveHk="},
		"X-Forwarded-Proto":   {"https"},
		"X-Other":             {"kept"},
		"X-Iib-User":          {"root"},
	}

	t.Run("gets the request as it is, without credentials and claims", func(t *testing.T) {
		server := front(t, dump, ProxyOptions{})
		diff(t, "what the service got", `PUT /v2/a%2Fb/?q=1&r host=registry.example user="" body=content
X-Forwarded-Proto: http
X-Forwarded-Host: registry.example
X-Other: kept
`, ask(t, server, header.Clone()))
	})

	t.Run("gets the user from the engine", func(t *testing.T) {
		server := front(t, dump, ProxyOptions{})
		h := header.Clone()
		h.Set("Test-User", "bot@EXAMPLE.COM")
		got := ask(t, server, h)
		if !strings.Contains(got, `user="bot@EXAMPLE.COM"`) {
			t.Errorf("got %s", got)
		}
	})

	t.Run("gets the client's credentials where that is allowed", func(t *testing.T) {
		server := front(t, dump, ProxyOptions{PassCredentials: true})
		got := ask(t, server, header.Clone())
		if !strings.Contains(got, "Authorization: Basic c2VjcmV0\n") || !strings.Contains(got, "Cookie: session=secret\n") ||
			strings.Contains(got, "Proxy-Authorization") || !strings.Contains(got, `user=""`) {
			t.Errorf("got %s", got)
		}
	})

	t.Run("streams its answer as it comes", func(t *testing.T) {
		next := make(chan struct{})
		server := front(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for i := range 3 {
				fmt.Fprintf(w, "event %d\n", i)
				_ = http.NewResponseController(w).Flush()
				<-next // the client has seen it
			}
		}), ProxyOptions{})
		resp, err := http.Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		lines := bufio.NewScanner(resp.Body)
		for i := 0; lines.Scan(); i++ {
			diff(t, "line", fmt.Sprintf("event %d", i), lines.Text())
			next <- struct{}{}
		}
	})

	t.Run("streams what it gets as it comes", func(t *testing.T) {
		got := make(chan string)
		server := front(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			for lines := bufio.NewScanner(r.Body); lines.Scan(); {
				got <- lines.Text()
			}
		}), ProxyOptions{})
		body, feed := io.Pipe()
		done := make(chan error)
		go func() {
			resp, err := http.Post(server.URL, "", body)
			if err == nil {
				err = resp.Body.Close()
			}
			done <- err
		}()
		for i := range 3 {
			fmt.Fprintf(feed, "part %d\n", i)
			diff(t, "part", fmt.Sprintf("part %d", i), <-got)
		}
		feed.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})

	t.Run("is told when the client goes away", func(t *testing.T) {
		entered, left := make(chan struct{}), make(chan struct{})
		server := front(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			close(entered)
			<-r.Context().Done()
			close(left)
		}), ProxyOptions{})
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-entered
			cancel()
		}()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := http.DefaultClient.Do(r); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		<-left
	})

	t.Run("survives a panic, which is logged", func(t *testing.T) {
		log := captureLog(t)
		server := front(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/panic" {
				panic("service trouble")
			}
		}), ProxyOptions{})
		for path, want := range map[string]int{"/panic": 503, "/": 200} {
			resp, err := http.Get(server.URL + path)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != want {
				t.Errorf("%s: got %d, want %d", path, resp.StatusCode, want)
			}
		}
		if !strings.Contains(log.String(), "service trouble") {
			t.Errorf("the log lacks the panic: %s", log)
		}
	})

	t.Run("that is gone is answered for by the engine", func(t *testing.T) {
		var got error
		proxy, _ := NewProxy("tested", t.TempDir()+"/none", ProxyOptions{
			OnError: func(w http.ResponseWriter, _ *http.Request, err error) {
				got = err
				w.WriteHeader(http.StatusTeapot)
			},
		})
		w := httptest.NewRecorder()
		proxy.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		if w.Code != http.StatusTeapot || sdk.CodeOf(got) != sdk.Unavailable || !strings.HasPrefix(got.Error(), "plugin tested: ") {
			t.Errorf("got %d and %v", w.Code, got)
		}
	})

	t.Run("has one socket, which goes when it is closed", func(t *testing.T) {
		conn := serve(t, sdk.Plugin{Service: dump}, nil)
		first, err1 := conn.Listen(t.Context())
		second, err2 := conn.Listen(t.Context())
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		diff(t, "path", first, second)
		if _, err := os.Stat(first); err != nil {
			t.Fatal(err)
		}
		if err := conn.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := net.Dial("unix", first); err == nil {
			t.Error("the socket still answers")
		}
	})
}

func BenchmarkService(b *testing.B) {
	for _, direction := range []string{"upload", "download"} {
		b.Run(direction, func(b *testing.B) {
			block := make([]byte, 64<<20)
			server := front(b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if direction == "download" {
					_, _ = w.Write(block)
				}
				_, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, r.Body, make([]byte, 128<<10))
			}), ProxyOptions{})
			b.SetBytes(int64(len(block)))
			for b.Loop() {
				var body io.Reader
				if direction == "upload" {
					body = bytes.NewReader(block)
				}
				r, err := http.NewRequest(http.MethodPut, server.URL, body)
				if err != nil {
					b.Fatal(err)
				}
				resp, err := http.DefaultClient.Do(r)
				if err != nil {
					b.Fatal(err)
				}
				_, _ = io.Copy(struct{ io.Writer }{io.Discard}, resp.Body)
				resp.Body.Close()
			}
		})
	}
}

func BenchmarkCall(b *testing.B) {
	conn := serve(b, sdk.Plugin{Gate: gateFunc(func(context.Context, *sdk.GateRequest) (sdk.Verdict, error) {
		return sdk.Allow, nil
	})}, nil)
	gate := conn.Gate()
	request := filled[sdk.GateRequest]()
	for b.Loop() {
		if _, err := gate.Check(b.Context(), &request); err != nil {
			b.Fatal(err)
		}
	}
}
