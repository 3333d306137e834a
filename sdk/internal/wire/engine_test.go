package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/iib-engine/iib/sdk"
)

// hostRecorder is an sdk.Host that remembers its last call.
type hostRecorder struct {
	called []any
	view   *sdk.RequestView
	access sdk.Access
	read   func() io.ReadCloser
	err    error
}

func (h *hostRecorder) note(args ...any) { h.called = args }

func (h *hostRecorder) Submit(_ context.Context, user, requestType string, body json.RawMessage) (*sdk.RequestView, error) {
	h.note(user, requestType, body)
	return h.view, h.err
}

func (h *hostRecorder) Request(_ context.Context, id int64) (*sdk.RequestView, error) {
	h.note(id)
	return h.view, h.err
}

func (h *hostRecorder) Requests(_ context.Context, requestType string, before int64, limit int) ([]*sdk.RequestView, error) {
	h.note(requestType, before, limit)
	return []*sdk.RequestView{h.view, h.view}, h.err
}

func (h *hostRecorder) Cancel(_ context.Context, id int64, reason string) error {
	h.note(id, reason)
	return h.err
}

func (h *hostRecorder) Artifact(_ context.Context, id int64, name string) (io.ReadCloser, error) {
	h.note(id, name)
	if h.err != nil {
		return nil, h.err
	}
	return h.read(), nil
}

func (h *hostRecorder) Log(_ context.Context, id int64) (io.ReadCloser, error) {
	h.note(id, "log")
	if h.err != nil {
		return nil, h.err
	}
	return h.read(), nil
}

func (h *hostRecorder) Forget(_ context.Context, id int64) error {
	h.note(id)
	return h.err
}

func (h *hostRecorder) Dirs() (data, cache string) { return "/data", "/cache" }

func (h *hostRecorder) Address() string { return "http://localhost:8080" }

func (h *hostRecorder) Access(_ context.Context, image string) (sdk.Access, error) {
	h.note(image)
	return h.access, h.err
}

func (h *hostRecorder) DeniedNetworks(context.Context) ([]string, error) {
	h.note()
	return h.access.DeniedNetworks, h.err
}

// starter is a gate that keeps its host.
type starter struct {
	gateFunc
	host sdk.Host
}

func (s *starter) Start(_ context.Context, h sdk.Host) error { s.host = h; return nil }

// hostOf returns what a plugin gets for host.
func hostOf(t *testing.T, host sdk.Host) sdk.Host {
	t.Helper()
	s := new(starter)
	serve(t, sdk.Plugin{Gate: s}, host)
	return s.host
}

func TestHost(t *testing.T) {
	recorder := &hostRecorder{view: filled[*sdk.RequestView](), access: filled[sdk.Access]()}
	host := hostOf(t, recorder)

	for _, c := range []struct {
		name  string
		args  []any
		reply any
		call  func(context.Context) (any, error)
	}{
		{"Submit", []any{"user", "add", json.RawMessage(`{}`)}, recorder.view, func(ctx context.Context) (any, error) {
			return host.Submit(ctx, "user", "add", json.RawMessage(`{}`))
		}},
		{"Request", []any{int64(7)}, recorder.view, func(ctx context.Context) (any, error) {
			return host.Request(ctx, 7)
		}},
		{"Requests", []any{"add", int64(8), 9}, []*sdk.RequestView{recorder.view, recorder.view}, func(ctx context.Context) (any, error) {
			return host.Requests(ctx, "add", 8, 9)
		}},
		{"Cancel", []any{int64(7), "why"}, nil, func(ctx context.Context) (any, error) {
			return nil, host.Cancel(ctx, 7, "why")
		}},
		{"Forget", []any{int64(7)}, nil, func(ctx context.Context) (any, error) {
			return nil, host.Forget(ctx, 7)
		}},
		{"Access", []any{"quay.io/a"}, recorder.access, func(ctx context.Context) (any, error) {
			return host.Access(ctx, "quay.io/a")
		}},
		{"DeniedNetworks", nil, recorder.access.DeniedNetworks, func(ctx context.Context) (any, error) {
			return host.DeniedNetworks(ctx)
		}},
	} {
		t.Run(c.name+" travels whole", func(t *testing.T) {
			recorder.err = nil
			reply, err := c.call(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			diff(t, "arguments", c.args, recorder.called)
			diff(t, "reply", c.reply, reply)
		})
		t.Run(c.name+" brings its error back", func(t *testing.T) {
			want := sdk.FieldErrorf("id", "no")
			recorder.err = want
			_, err := c.call(t.Context())
			diffError(t, want, err)
		})
	}

	t.Run("directories and address are known", func(t *testing.T) {
		data, cache := host.Dirs()
		diff(t, "facts", []string{"/data", "/cache", "http://localhost:8080"}, []string{data, cache, host.Address()})
	})

	t.Run("without an engine behind it is unavailable", func(t *testing.T) {
		alone := hostOf(t, nil)
		_, submitErr := alone.Submit(t.Context(), "", "", nil)
		_, artifactErr := alone.Artifact(t.Context(), 1, "x")
		for _, err := range []error{submitErr, artifactErr, alone.Cancel(t.Context(), 1, "")} {
			if sdk.CodeOf(err) != sdk.Unavailable {
				t.Errorf("got %v", err)
			}
		}
	})
}

func TestHostFiles(t *testing.T) {
	t.Run("an artifact", func(t *testing.T) {
		testHostFile(t, func(ctx context.Context, host sdk.Host) (io.ReadCloser, error) { return host.Artifact(ctx, 7, "log") })
	})
	t.Run("a log", func(t *testing.T) {
		testHostFile(t, func(ctx context.Context, host sdk.Host) (io.ReadCloser, error) { return host.Log(ctx, 7) })
	})
}

func testHostFile(t *testing.T, file func(context.Context, sdk.Host) (io.ReadCloser, error)) {
	recorder := new(hostRecorder)
	host := hostOf(t, recorder)
	closed := make(chan struct{}, 1)
	open := func(r io.Reader) (io.ReadCloser, error) {
		recorder.read = func() io.ReadCloser { return &closeTeller{r, closed} }
		return file(t.Context(), host)
	}

	for name, content := range map[string][]byte{
		"nothing": nil, "a little": []byte("line\n"), "more than a message": bytes.Repeat([]byte("0123456789"), 1<<20),
	} {
		t.Run("streams "+name, func(t *testing.T) {
			r, err := open(bytes.NewReader(content))
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(got, content) {
				t.Errorf("got %d of %d bytes, %v", len(got), len(content), err)
			}
			<-closed
			diff(t, "arguments", []any{int64(7), "log"}, recorder.called)
		})
	}

	t.Run("keeps to the rules of a reader", func(t *testing.T) {
		content := bytes.Repeat([]byte("0123456789"), 1<<15)
		r, err := open(bytes.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		if err := iotest.TestReader(r, content); err != nil {
			t.Error(err)
		}
		<-closed
	})

	t.Run("ends with the error of the middle", func(t *testing.T) {
		r, err := open(io.MultiReader(bytes.NewReader(make([]byte, 100)), iotest.ErrReader(errors.New("disk on fire"))))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if len(got) != 100 || sdk.CodeOf(err) != sdk.Internal || err.Error() != "disk on fire" {
			t.Errorf("got %d bytes and %v", len(got), err)
		}
		<-closed
	})

	t.Run("that is closed early is closed on the other side", func(t *testing.T) {
		r, err := open(&endless{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(io.Discard, r, 1<<20); err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		<-closed
	})

	t.Run("that is not there is not found at once", func(t *testing.T) {
		recorder.err = sdk.Errorf(sdk.NotFound, "no such artifact")
		_, err := file(t.Context(), host)
		diffError(t, sdk.Errorf(sdk.NotFound, "no such artifact"), err)
	})
}

type closeTeller struct {
	io.Reader
	closed chan<- struct{}
}

func (c *closeTeller) Close() error { c.closed <- struct{}{}; return nil }

type endless struct{}

func (*endless) Read(p []byte) (int, error) { return len(p), nil }
