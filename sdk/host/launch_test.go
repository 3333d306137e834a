package host

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/sdk"
)

func diff(t testing.TB, what string, want, got any, options ...cmp.Option) {
	t.Helper()
	if d := cmp.Diff(want, got, options...); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func TestLaunch(t *testing.T) {
	ctx := t.Context()
	log, _ := newLog()
	c := command(t, "")
	c.Logger = log
	p, err := Launch(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()

	diff(t, "description", &Description{
		Name: "test-plugin", Version: p.Describe().Version, Doc: "Does what a test tells it to.",
		Schema: Schema{
			Attributes: []Attribute{
				{Name: "url", Doc: "Where it is.", Type: String, Required: true},
				{Name: "token", Type: String, Sensitive: true},
			},
			Blocks: []Block{{
				Name: "query", Repeated: true, Labels: []Label{{Name: "name"}},
				Schema: Schema{Attributes: []Attribute{{Name: "most", Doc: "How many.", Type: Int}}},
			}},
		},
		Handlers:    []HandlerDescription{{Type: "echo"}},
		Customizers: []CustomizerDescription{{Name: "rename", Schema: Schema{Attributes: []Attribute{{Name: "suffix", Type: String, Required: true}}}}},
		Gate:        true, Notifier: true, Builder: true, Service: true,
	}, p.Describe())

	if err := errors.Join(
		p.Configure(ctx, json.RawMessage(`{"url": "there", "token": "t0ken", "query": [{"name": "a", "most": 3}]}`)),
		p.Validate(ctx), p.Start(ctx, nil), p.Ping(ctx),
	); err != nil {
		t.Fatal(err)
	}

	t.Run("gives a gate", func(t *testing.T) {
		got, err := ask(ctx, p, "")
		if err != nil {
			t.Fatal(err)
		}
		diff(t, "reason", "there t0ken [{a 3}]", got)
	})
	t.Run("gives a notifier", func(t *testing.T) {
		n, err := p.Notifier()
		if err != nil {
			t.Fatal(err)
		}
		err = n.Notify(ctx, &sdk.Event{ID: "7"})
		if sdk.CodeOf(err) != sdk.Unavailable || err.Error() != "no listener for 7" {
			t.Errorf("got %v", err)
		}
	})
	t.Run("gives a builder", func(t *testing.T) {
		b, err := p.Builder()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Build(ctx, new(sdk.BuildSpec)); err != nil {
			t.Error(err)
		}
	})
	t.Run("gives a handler whose calls reach its job", func(t *testing.T) {
		h, err := p.Handler("echo")
		if err != nil {
			t.Fatal(err)
		}
		states := &stateRecorder{}
		job := sdk.NewJob(sdk.Request{Type: "echo", Params: []byte(`{"a":1}`)}, "", "", states)
		if err := h.Handle(ctx, job); err != nil {
			t.Fatal(err)
		}
		diff(t, "states", []string{`echo {"a":1}`}, states.reasons)
		diff(t, "outcome", "done", job.Outcome())
	})
	t.Run("gives customizers", func(t *testing.T) {
		if err := p.ValidateCustomizer(ctx, "rename", nil); sdk.CodeOf(err) != sdk.Invalid {
			t.Errorf("without its settings: %v", err)
		}
		customizer, err := p.Customizer(ctx, "rename", []byte(`{"suffix": "-x"}`))
		if err != nil {
			t.Fatal(err)
		}
		b := &sdk.Bundle{Package: "etcd"}
		if err := customizer.Customize(ctx, b); err != nil {
			t.Fatal(err)
		}
		diff(t, "package", "etcd-x", b.Package)
		if err := customizer.Release(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Run("gives a service", func(t *testing.T) {
		h, err := p.Service(ctx, ServiceOptions{})
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "/status/", nil)
		h.ServeHTTP(w, r.WithContext(WithUser(ctx, "bot")))
		diff(t, "answer", "/status/ for bot", w.Body.String())
	})
	t.Run("gives nothing that is not offered", func(t *testing.T) {
		_, handlerErr := p.Handler("add")
		_, customizerErr := p.Customizer(ctx, "none", nil)
		for _, err := range []error{handlerErr, customizerErr} {
			if sdk.CodeOf(err) != sdk.NotFound {
				t.Errorf("got %v", err)
			}
		}
	})
	t.Run("leaves nothing behind when it is closed", func(t *testing.T) {
		if err := p.Close(ctx); err != nil {
			t.Error(err)
		}
		<-p.Exited()
		gone(t, p.PID())
		if _, err := ask(ctx, p, ""); sdk.CodeOf(err) != sdk.Unavailable {
			t.Errorf("a call afterwards: got %v", err)
		}
	})
}

type stateRecorder struct {
	sdk.JobHost
	reasons []string
}

func (s *stateRecorder) State(_ context.Context, reason string) error {
	s.reasons = append(s.reasons, reason)
	return nil
}

// script writes a program that leaves a file when it runs.

func TestLaunchOfABadPlugin(t *testing.T) {
	for _, c := range []struct {
		role string
		want sdk.Code
		says string
	}{
		{"exit", sdk.Unavailable, "it ended (exit status 3) before its handshake; it printed: cannot open the database"},
		{"garbage", sdk.Unavailable, "it ended (exit status 0) before its handshake"},
		{"old", sdk.Invalid, "it speaks version 99 of the plugin protocol and this engine version 1"},
		{"go-plugin 9", sdk.Invalid, `version "9" of the go-plugin protocol`},
		{"netrpc", sdk.Invalid, `it speaks "netrpc", not gRPC`},
		{"tcp", sdk.Invalid, `it listens on tcp "127.0.0.1:1"`},
		{"elsewhere", sdk.Invalid, `it listens on unix "/run/docker.sock"`},
		{"above", sdk.Invalid, `/../s"`},
		{"no socket", sdk.Unavailable, "its socket: "},
		{"a file", sdk.Invalid, "is no socket"},
		{"no TLS", sdk.Invalid, "it offers no mutual TLS"},
		{"foreign", sdk.Invalid, "it offers no mutual TLS"},
	} {
		t.Run(c.role, func(t *testing.T) {
			_, err := Launch(t.Context(), command(t, c.role))
			if sdk.CodeOf(err) != c.want || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v of code %s, want %s and %q", err, sdk.CodeOf(err), c.want, c.says)
			}
		})
	}
	for _, role := range []string{"hang", "mute"} {
		t.Run(role+" until the time is over", func(t *testing.T) {
			c := command(t, role)
			c.Insecure = true
			c.StartTimeout = 300 * time.Millisecond
			_, err := Launch(t.Context(), c)
			if sdk.CodeOf(err) != sdk.Unavailable || !strings.Contains(err.Error(), "no answer within 300ms") {
				t.Errorf("got %v", err)
			}
		})
		t.Run(role+" until the caller has enough", func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			c := command(t, role)
			c.Insecure = true
			if _, err := Launch(ctx, c); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Run("that prints before it serves is forgiven", func(t *testing.T) {
		c := command(t, "noise")
		log, lines := newLog()
		c.Logger = log
		launched(t, c)
		diff(t, "stream", "stdout", lines.wait("welcome to my plugin")["stream"])
	})
	t.Run("with a socket directory that is too long", func(t *testing.T) {
		c := command(t, "")
		c.SocketDir = "/" + strings.Repeat("d", maxSocketDir)
		if _, err := Launch(t.Context(), c); sdk.CodeOf(err) != sdk.Invalid {
			t.Errorf("got %v", err)
		}
	})
	t.Run("with a socket directory that is as long as it may be", func(t *testing.T) {
		parent := socketDir(t)
		c := command(t, "")
		c.SocketDir = filepath.Join(parent, strings.Repeat("d", maxSocketDir-len(parent)-1))
		if err := os.Mkdir(c.SocketDir, 0o700); err != nil {
			t.Fatal(err)
		}
		p := launched(t, c)
		if _, err := p.Service(t.Context(), ServiceOptions{}); err != nil {
			t.Error(err)
		}
		p.Kill()
		if err := os.Remove(c.SocketDir); err != nil {
			t.Error(err)
		}
	})
	for _, name := range []string{"", "A=B", "PLUGIN_CLIENT_CERT", "IIB_PLUGIN", "IIB_PLUGIN_LOG_LEVEL"} {
		t.Run("with an environment that sets "+strconv.Quote(name), func(t *testing.T) {
			c := command(t, "")
			c.Env[name] = "x"
			if _, err := Launch(t.Context(), c); sdk.CodeOf(err) != sdk.Invalid {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestInsecure(t *testing.T) {
	t.Run("a plugin that could do better", func(t *testing.T) {
		c := command(t, "")
		c.Insecure = true
		p := launched(t, c)
		if _, err := ask(t.Context(), p, ""); err != nil {
			t.Error(err)
		}
	})
	t.Run("a plugin without anything of go-plugin's", func(t *testing.T) {
		c := command(t, "foreign")
		c.Insecure = true
		log, lines := newLog()
		c.Logger = log
		p := launched(t, c)
		got, err := ask(t.Context(), p, "")
		if err != nil || got != "from afar" {
			t.Errorf("got %q, %v", got, err)
		}
		lines.wait("printed by a plugin of another language")
		if _, err := p.Service(t.Context(), ServiceOptions{}); sdk.CodeOf(err) != sdk.Internal {
			t.Errorf("a service that is claimed but not there: got %v", err)
		}
		if err := p.Close(t.Context()); sdk.CodeOf(err) != sdk.Internal {
			t.Errorf("Close, which it does not have: got %v", err)
		}
		<-p.Exited()
	})
}

func TestPluginThatCallsTheEngine(t *testing.T) {
	p, err := Launch(t.Context(), command(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	if err := errors.Join(p.Configure(t.Context(), []byte(`{"url": ""}`)), p.Start(t.Context(), submitter{})); err != nil {
		t.Fatal(err)
	}
	got, err := ask(t.Context(), p, "submit")
	if err != nil || got != "42" {
		t.Errorf("got %q, %v", got, err)
	}
}

type submitter struct{ sdk.Host }

func (submitter) Submit(context.Context, string, string, json.RawMessage) (*sdk.RequestView, error) {
	return &sdk.RequestView{Request: sdk.Request{ID: 42}}, nil
}

func (submitter) Dirs() (data, cache string) { return "", "" }

func (submitter) Address() string { return "" }

func BenchmarkLaunch(b *testing.B) {
	c := command(b, "")
	c.SHA256 = sum(b, c.Path)
	info, err := os.Stat(c.Path)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(info.Size())
	for b.Loop() {
		p, err := Launch(b.Context(), c)
		if err != nil {
			b.Fatal(err)
		}
		p.Kill()
	}
}
