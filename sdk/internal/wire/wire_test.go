package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/sdk"
)

// serve returns the engine's end of a running plugin, over the real wire.
func serve(t testing.TB, p sdk.Plugin, host sdk.Host) *Conn {
	t.Helper()
	conn := connect(t, p)
	ctx := t.Context()
	if err := conn.Configure(ctx, nil); err != nil {
		t.Fatal(err)
	}
	if err := conn.Start(ctx, host, true); err != nil {
		t.Fatal(err)
	}
	return conn
}

// connect is serve without Configure and Start.
func connect(t testing.TB, p sdk.Plugin) *Conn {
	t.Helper()
	conn, _ := pair(t, p)
	return conn
}

// pair returns both ends of a connection.
func pair(t testing.TB, p sdk.Plugin) (*Conn, *Server) {
	t.Helper()
	if p.Name == "" {
		p.Name = "tested"
	}
	server, err := NewServer(p, "v1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	conn, stop, err := Loopback(server, slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return conn, server
}

// captureLog makes slog's default logger write to a buffer for a test.
func captureLog(t *testing.T) *safeBuffer {
	t.Helper()
	buf := new(safeBuffer)
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(buf, nil)))
	t.Cleanup(func() { slog.SetDefault(before) })
	return buf
}

type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func diff(t testing.TB, what string, want, got any, options ...cmp.Option) {
	t.Helper()
	if d := cmp.Diff(want, got, options...); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

// filled returns a value in which nothing exported is zero and no two texts or
// numbers are the same: a field that does not travel, or travels as another,
// shows.
func filled[T any]() T {
	var v T
	n := 0
	fill(reflect.ValueOf(&v).Elem(), &n)
	return v
}

func fill(v reflect.Value, n *int) {
	*n++
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.Date(2024, 2, 3, 4, 5, 6, 789012000+*n, time.UTC)))
		return
	case json.RawMessage:
		v.SetBytes(fmt.Appendf(nil, `{"n": %d}`, *n))
		return
	case sdk.Level:
		v.SetString(string(sdk.LevelWarn))
		return
	case sdk.EventKind:
		v.SetString(string(sdk.BatchState))
		return
	case sdk.Shape:
		v.SetString(string(sdk.ShapeTextMap))
		return
	case sdk.Digest:
		v.SetString(fmt.Sprintf("sha256:%064x", *n))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(fmt.Sprintf("text %d", *n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n) << 33)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(v.Index(i), n)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range 2 {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(key, n)
			fill(value, n)
			v.SetMapIndex(key, value)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i), n)
			}
		}
	default:
		panic(fmt.Sprintf("fill %s", v.Type()))
	}
}

type (
	gateFunc       func(context.Context, *sdk.GateRequest) (sdk.Verdict, error)
	notifierFunc   func(context.Context, *sdk.Event) error
	builderFunc    func(context.Context, *sdk.BuildSpec) (sdk.Digest, error)
	handlerFunc    func(context.Context, *sdk.Job) error
	customizerFunc struct {
		f func(context.Context, *sdk.Bundle) error
	}
)

func (f gateFunc) Check(ctx context.Context, r *sdk.GateRequest) (sdk.Verdict, error) {
	return f(ctx, r)
}
func (f notifierFunc) Notify(ctx context.Context, e *sdk.Event) error { return f(ctx, e) }
func (f builderFunc) Build(ctx context.Context, s *sdk.BuildSpec) (sdk.Digest, error) {
	return f(ctx, s)
}
func (f handlerFunc) Handle(ctx context.Context, j *sdk.Job) error           { return f(ctx, j) }
func (c *customizerFunc) Customize(ctx context.Context, b *sdk.Bundle) error { return c.f(ctx, b) }

// handle runs f as a handler in a plugin, with host behind its job.
func handle(t testing.TB, host sdk.JobHost, f handlerFunc) error {
	t.Helper()
	conn := serve(t, sdk.Plugin{Handlers: map[string]sdk.Handler{"add": f}}, nil)
	return handlerOf(t, conn, "add").Handle(t.Context(), sdk.NewJob(sdk.Request{Type: "add"}, "", "", host))
}

func handlerOf(t testing.TB, conn *Conn, requestType string) *HandlerClient {
	t.Helper()
	d, err := conn.Describe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range d.Handlers {
		if h.Type == requestType {
			return conn.Handler(h)
		}
	}
	t.Fatalf("no handler of %s is described", requestType)
	return nil
}
