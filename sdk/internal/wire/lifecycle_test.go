package wire

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/iib-engine/iib/sdk"
)

// diary is where a test's values note what happened to them.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) note(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
}

func (d *diary) read() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string(nil), d.lines...)
}

// living has every optional method.
type living struct {
	*diary
	name     string
	startErr error
	invalid  error
	closeErr error
}

func (l *living) Validate() error { l.note("validate %s", l.name); return l.invalid }
func (l *living) Start(context.Context, sdk.Host) error {
	l.note("start %s", l.name)
	return l.startErr
}
func (l *living) Close() error                             { l.note("close %s", l.name); return l.closeErr }
func (l *living) Notify(context.Context, *sdk.Event) error { return nil }
func (l *living) Check(context.Context, *sdk.GateRequest) (sdk.Verdict, error) {
	l.note("check %s", l.name)
	return sdk.Allow, nil
}

type configured1 struct {
	living
	URL string `hcl:"url"`
}

func TestLifecycle(t *testing.T) {
	ctx := t.Context()

	t.Run("calls each value once, what others depend on first", func(t *testing.T) {
		d := new(diary)
		both := &living{diary: d, name: "gate and notifier"}
		settings := &configured1{living: living{diary: d, name: "settings"}}
		conn := connect(t, sdk.Plugin{Config: settings, Gate: both, Notifier: both})
		err := errors.Join(conn.Configure(ctx, []byte(`{"url": "x"}`)), conn.Validate(ctx), conn.Start(ctx, nil, true))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Gate().Check(ctx, new(sdk.GateRequest)); err != nil {
			t.Fatal(err)
		}
		if err := conn.Close(ctx); err != nil {
			t.Fatal(err)
		}
		diff(t, "what happened", []string{
			"validate settings", "validate gate and notifier",
			"start settings", "start gate and notifier",
			"check gate and notifier",
			"close gate and notifier", "close settings",
		}, d.read())
		diff(t, "settings", "x", settings.URL)
	})

	t.Run("refuses calls that come too early, too late or twice", func(t *testing.T) {
		d := new(diary)
		conn := connect(t, sdk.Plugin{Gate: &living{diary: d, name: "gate"}})
		check := func() error { _, err := conn.Gate().Check(ctx, new(sdk.GateRequest)); return err }
		configure := func() error { return conn.Configure(ctx, nil) }
		validate := func() error { return conn.Validate(ctx) }
		start := func() error { return conn.Start(ctx, nil, true) }
		closing := func() error { return conn.Close(ctx) }
		for i, step := range []struct {
			call func() error
			want sdk.Code
		}{
			{check, sdk.Conflict}, {validate, sdk.Conflict}, {start, sdk.Conflict},
			{configure, ""}, {configure, sdk.Conflict}, {check, sdk.Conflict},
			{validate, ""}, {validate, ""}, {start, ""},
			{start, sdk.Conflict}, {configure, sdk.Conflict}, {check, ""},
			{closing, ""}, {check, sdk.Unavailable}, {closing, sdk.Unavailable}, {start, sdk.Unavailable},
		} {
			if err := step.call(); sdk.CodeOf(err) != step.want {
				t.Errorf("step %d: got %v, want code %q", i, err, step.want)
			}
		}
	})

	t.Run("lets wrong settings be corrected", func(t *testing.T) {
		settings := &configured1{living: living{diary: new(diary)}}
		conn := connect(t, sdk.Plugin{Gate: settings})
		diffError(t, sdk.FieldErrorf("url", "url: must be a string, not 7"), conn.Configure(ctx, []byte(`{"url": 7}`)))
		if err := conn.Configure(ctx, []byte(`{"url": "x"}`)); err != nil {
			t.Error(err)
		}
	})

	t.Run("brings the error of each step back", func(t *testing.T) {
		want := sdk.FieldErrorf("url", "it is not ours")
		gate := &living{diary: new(diary), invalid: want, closeErr: errors.New("still busy")}
		conn := connect(t, sdk.Plugin{Gate: gate})
		if err := conn.Configure(ctx, nil); err != nil {
			t.Fatal(err)
		}
		diffError(t, want, conn.Validate(ctx))
		diffError(t, &sdk.Error{Code: sdk.Internal, Message: "still busy"}, startAndClose(ctx, conn))
	})

	t.Run("closes only what was started when a start fails", func(t *testing.T) {
		d := new(diary)
		conn := connect(t, sdk.Plugin{
			Config:   &configured1{living: living{diary: d, name: "first"}},
			Gate:     &living{diary: d, name: "second", startErr: sdk.Errorf(sdk.Unavailable, "the database is down")},
			Notifier: &living{diary: d, name: "third"},
		})
		if err := conn.Configure(ctx, []byte(`{"url": ""}`)); err != nil {
			t.Fatal(err)
		}
		diffError(t, sdk.Errorf(sdk.Unavailable, "the database is down"), conn.Start(ctx, nil, true))
		if _, err := conn.Gate().Check(ctx, new(sdk.GateRequest)); sdk.CodeOf(err) != sdk.Conflict {
			t.Errorf("a check: got %v", err)
		}
		if err := conn.Close(ctx); err != nil {
			t.Error(err)
		}
		diff(t, "what happened", []string{"start first", "start second", "close first"}, d.read())
	})

	t.Run("waits for running calls before it closes", func(t *testing.T) {
		d := new(diary)
		entered, release := make(chan struct{}), make(chan struct{})
		conn := serve(t, sdk.Plugin{
			Gate: gateFunc(func(context.Context, *sdk.GateRequest) (sdk.Verdict, error) {
				close(entered)
				<-release
				d.note("checked")
				return sdk.Allow, nil
			}),
			Notifier: &living{diary: d, name: "notifier"},
		}, nil)
		checked := make(chan error)
		go func() {
			_, err := conn.Gate().Check(ctx, new(sdk.GateRequest))
			checked <- err
		}()
		<-entered
		closed := make(chan error)
		go func() { closed <- conn.Close(ctx) }()
		for conn.Notifier().Notify(ctx, new(sdk.Event)) == nil { // until Close has arrived
		}
		close(release)
		if err := errors.Join(<-checked, <-closed); err != nil {
			t.Fatal(err)
		}
		diff(t, "what happened", []string{"start notifier", "checked", "close notifier"}, d.read())
	})

	t.Run("gives up waiting when its context ends", func(t *testing.T) {
		entered, release := make(chan struct{}), make(chan struct{})
		defer close(release)
		conn := serve(t, sdk.Plugin{Gate: gateFunc(func(context.Context, *sdk.GateRequest) (sdk.Verdict, error) {
			close(entered)
			<-release
			return sdk.Allow, nil
		})}, nil)
		go func() { _, _ = conn.Gate().Check(context.WithoutCancel(ctx), new(sdk.GateRequest)) }()
		<-entered
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		if err := conn.Close(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

func startAndClose(ctx context.Context, conn *Conn) error {
	if err := conn.Start(ctx, nil, true); err != nil {
		return err
	}
	return conn.Close(ctx)
}

func TestNewServer(t *testing.T) {
	type one struct {
		living
		A string `hcl:"a"`
	}
	type other struct {
		living
		B string `hcl:"b"`
	}
	gate := gateFunc(nil)
	for _, c := range []struct {
		problem string
		plugin  sdk.Plugin
		want    string // "" for none
	}{
		{"a name with capitals", sdk.Plugin{Name: "Gate", Gate: gate}, "the name \"Gate\""},
		{"no name", sdk.Plugin{Gate: gate}, "the name \"\""},
		{"nothing to offer", sdk.Plugin{Name: "p"}, "it offers nothing"},
		{"a request type with a slash", sdk.Plugin{Name: "p", Handlers: map[string]sdk.Handler{"a/b": handlerFunc(nil)}}, `handler "a/b"`},
		{"a nil handler", sdk.Plugin{Name: "p", Handlers: map[string]sdk.Handler{"add": nil}}, `handler "add"`},
		{"a nil customizer", sdk.Plugin{Name: "p", Customizers: map[string]sdk.Customizer{"x": nil}}, `customizer "x"`},
		{"settings in two values", sdk.Plugin{Name: "p", Gate: &one{}, Notifier: &other{}}, "*wire.one and *wire.other both have settings"},
		{"settings beside those of Config", sdk.Plugin{Name: "p", Config: &one{}, Gate: &other{}}, "*wire.one and *wire.other both have settings"},
		{"settings in the one of two values", sdk.Plugin{Name: "p", Gate: &one{}, Notifier: &living{}}, ""},
		{"settings in one value of two kinds", func() sdk.Plugin { v := &one{}; return sdk.Plugin{Name: "p", Gate: v, Notifier: v} }(), ""},
		{"settings that are no struct", sdk.Plugin{Name: "p", Gate: gate, Config: map[string]string{}}, "Config must be a pointer to a struct"},
		{"a tag that cannot be", sdk.Plugin{Name: "p", Gate: gate, Config: &struct {
			A chan int `hcl:"a"`
		}{}}, "type chan int cannot be an attribute"},
		{"a function as a service", sdk.Plugin{Name: "p", Service: http.HandlerFunc(nil)}, ""},
		{"a customizer only", sdk.Plugin{Name: "p", Customizers: map[string]sdk.Customizer{"package_name_suffix": &suffixer{}}}, ""},
	} {
		t.Run(c.problem, func(t *testing.T) {
			_, err := NewServer(c.plugin, "")
			switch {
			case c.want == "" && err != nil:
				t.Errorf("got %v, want no error", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want it to say %q", err, c.want)
			}
		})
	}
}

func TestKindsThatAreNotOffered(t *testing.T) {
	conn := serve(t, sdk.Plugin{Gate: &living{diary: new(diary)}}, nil)
	calls := map[string]func() error{
		"notifier":   func() error { return conn.Notifier().Notify(t.Context(), new(sdk.Event)) },
		"builder":    func() error { _, err := conn.Builder().Build(t.Context(), new(sdk.BuildSpec)); return err },
		"customizer": func() error { _, err := conn.OpenCustomizer(t.Context(), "x", nil); return err },
		"service":    func() error { _, err := conn.Listen(t.Context()); return err },
	}
	for kind, call := range calls {
		t.Run(kind, func(t *testing.T) {
			if err := call(); sdk.CodeOf(err) != sdk.NotFound {
				t.Errorf("got %v, want not found", err)
			}
		})
	}
}
