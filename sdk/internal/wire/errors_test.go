package wire

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/iib-engine/iib/sdk"
)

// diffError compares what travels of an error.
func diffError(t testing.TB, want *sdk.Error, err error) {
	t.Helper()
	got, ok := errors.AsType[*sdk.Error](err)
	if !ok {
		t.Errorf("got %v, want an *sdk.Error", err)
		return
	}
	for _, part := range [][3]string{
		{"code", string(want.Code), string(got.Code)},
		{"message", want.Message, err.Error()},
		{"reason", want.Reason, got.Reason},
		{"field", want.Field, got.Field},
	} {
		diff(t, "error's "+part[0], part[1], part[2])
	}
}

func TestErrorsOfAPlugin(t *testing.T) {
	for _, row := range codeTable {
		want := &sdk.Error{Code: row.sdk, Message: "catalog of etcd: broken", Reason: "r", Field: "bundles"}
		t.Run("code "+string(row.sdk)+" travels", func(t *testing.T) {
			diffError(t, want, gateError(t, t.Context(), want))
		})
	}
	t.Run("an error around one with a code keeps both", func(t *testing.T) {
		err := fmt.Errorf("resolve etcd: %w", sdk.Moved("moved on"))
		diffError(t, &sdk.Error{Code: sdk.Conflict, Message: "resolve etcd: moved on", Reason: sdk.ReasonMoved}, gateError(t, t.Context(), err))
	})
	t.Run("an error without a code is internal", func(t *testing.T) {
		diffError(t, &sdk.Error{Code: sdk.Internal, Message: "plain"}, gateError(t, t.Context(), errors.New("plain")))
	})
	t.Run("an unknown code is internal", func(t *testing.T) {
		diffError(t, &sdk.Error{Code: sdk.Internal, Message: "odd"}, gateError(t, t.Context(), &sdk.Error{Code: "odd", Message: "odd"}))
	})
	t.Run("a message that is not UTF-8 is repaired", func(t *testing.T) {
		diffError(t, &sdk.Error{Code: sdk.Invalid, Message: "name \uFFFD!"}, gateError(t, t.Context(), sdk.Errorf(sdk.Invalid, "name \xff!")))
	})
	t.Run("a huge message is cut", func(t *testing.T) {
		err := gateError(t, t.Context(), sdk.Errorf(sdk.Invalid, "%s", strings.Repeat("€", 1<<20)))
		if sdk.CodeOf(err) != sdk.Invalid || len(err.Error()) > maxErrorText+100 || !strings.HasSuffix(err.Error(), "bytes left out)") {
			t.Errorf("got %s… of %d bytes and code %s", err.Error()[:20], len(err.Error()), sdk.CodeOf(err))
		}
	})
	t.Run("a cancelled context inside the plugin stays one", func(t *testing.T) {
		err := gateError(t, t.Context(), fmt.Errorf("ask: %w", context.Canceled))
		if !errors.Is(err, context.Canceled) || sdk.CodeOf(err) != sdk.Internal {
			t.Errorf("got %v of code %s", err, sdk.CodeOf(err))
		}
	})
}

// gateError returns what the engine sees of a gate's error.
func gateError(t *testing.T, ctx context.Context, err error) error {
	t.Helper()
	conn := serve(t, sdk.Plugin{Gate: gateFunc(func(context.Context, *sdk.GateRequest) (sdk.Verdict, error) {
		return sdk.Allow, err
	})}, nil)
	verdict, got := conn.Gate().Check(ctx, new(sdk.GateRequest))
	if verdict.Allowed {
		t.Error("an error came with a pass")
	}
	return got
}

func TestErrorsWithoutDetail(t *testing.T) {
	for grpc, want := range map[codes.Code]sdk.Code{
		codes.InvalidArgument:    sdk.Invalid,
		codes.OutOfRange:         sdk.Invalid,
		codes.ResourceExhausted:  sdk.Invalid,
		codes.PermissionDenied:   sdk.Denied,
		codes.Unauthenticated:    sdk.Denied,
		codes.NotFound:           sdk.NotFound,
		codes.AlreadyExists:      sdk.Conflict,
		codes.Aborted:            sdk.Conflict,
		codes.FailedPrecondition: sdk.Conflict,
		codes.Unavailable:        sdk.Unavailable,
		codes.Canceled:           sdk.Unavailable, // the connection was closed
		codes.Unknown:            sdk.Internal,
		codes.Unimplemented:      sdk.Internal,
		codes.DataLoss:           sdk.Internal,
	} {
		t.Run(grpc.String()+" is "+string(want), func(t *testing.T) {
			err := decodeError(t.Context(), "plugin p", "/iib.plugin.v1.Gate/Check", status.Error(grpc, "text"))
			if got := sdk.CodeOf(err); got != want {
				t.Errorf("got %s: %v", got, err)
			}
			if lost := sdk.ReasonOf(err) == sdk.ReasonNoAnswer; lost != (want == sdk.Unavailable) {
				t.Errorf("that there was no answer: got %v", lost)
			}
		})
	}
}

func TestPanic(t *testing.T) {
	log := captureLog(t)
	conn := serve(t, sdk.Plugin{Gate: gateFunc(func(context.Context, *sdk.GateRequest) (sdk.Verdict, error) {
		panic("index out of my mind")
	})}, nil)
	for range 2 { // the plugin lives on
		_, err := conn.Gate().Check(t.Context(), new(sdk.GateRequest))
		diffError(t, &sdk.Error{Code: sdk.Internal, Message: "plugin tested: Check: panic; its log tells more"}, err)
	}
	if !strings.Contains(log.String(), "index out of my mind") || !strings.Contains(log.String(), "errors_test.go") {
		t.Errorf("the log lacks the panic or its place: %s", log)
	}
}

func TestPanicOfTheEngine(t *testing.T) {
	log := captureLog(t)
	err := handle(t, panicking{}, func(ctx context.Context, job *sdk.Job) error { return job.Statef(ctx, "x") })
	diffError(t, &sdk.Error{Code: sdk.Internal, Message: "engine: SetState: panic; its log tells more"}, err)
	if !strings.Contains(log.String(), "engine trouble") {
		t.Errorf("the log lacks the panic: %s", log)
	}
}

// lateContext is one whose deadline has passed and whose timer has not run yet.
type lateContext struct{ context.Context }

func (lateContext) Deadline() (time.Time, bool) { return time.Now(), true }

func TestADeadlineThatTheOtherSideNoticesFirstIsOne(t *testing.T) {
	for _, code := range []codes.Code{codes.Canceled, codes.DeadlineExceeded} {
		err := decodeError(lateContext{t.Context()}, "plugin p", "/iib.plugin.v1.Gate/Check", status.Error(code, "stream terminated"))
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v: %v", code, err)
		}
	}
}

type panicking struct{ sdk.JobHost }

func (panicking) State(context.Context, string) error { panic("engine trouble") }

func TestCancellation(t *testing.T) {
	t.Run("reaches the plugin", func(t *testing.T) {
		entered, left := make(chan struct{}), make(chan error, 1)
		conn := serve(t, sdk.Plugin{Gate: gateFunc(func(ctx context.Context, _ *sdk.GateRequest) (sdk.Verdict, error) {
			close(entered)
			<-ctx.Done()
			left <- ctx.Err()
			return sdk.Verdict{}, ctx.Err()
		})}, nil)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-entered
			cancel()
		}()
		if _, err := conn.Gate().Check(ctx, new(sdk.GateRequest)); !errors.Is(err, context.Canceled) {
			t.Errorf("the engine got %v", err)
		}
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("the plugin got %v", err)
		}
	})

	t.Run("by a deadline is known to the plugin beforehand", func(t *testing.T) {
		deadline := make(chan time.Time, 1)
		conn := serve(t, sdk.Plugin{Gate: gateFunc(func(ctx context.Context, _ *sdk.GateRequest) (sdk.Verdict, error) {
			at, _ := ctx.Deadline()
			deadline <- at
			return sdk.Allow, nil
		})}, nil)
		want := time.Now().Add(time.Hour)
		ctx, cancel := context.WithDeadline(t.Context(), want)
		defer cancel()
		if _, err := conn.Gate().Check(ctx, new(sdk.GateRequest)); err != nil {
			t.Fatal(err)
		}
		if got := <-deadline; got.Sub(want).Abs() > time.Minute {
			t.Errorf("got %v, want %v", got, want)
		}
	})

	t.Run("by a deadline ends a call that hangs", func(t *testing.T) {
		release := make(chan struct{})
		conn := serve(t, sdk.Plugin{Gate: gateFunc(func(context.Context, *sdk.GateRequest) (sdk.Verdict, error) {
			<-release
			return sdk.Allow, nil
		})}, nil)
		defer close(release)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := conn.Gate().Check(ctx, new(sdk.GateRequest)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})

	t.Run("of a call back reaches the engine", func(t *testing.T) {
		host := &hanging{entered: make(chan struct{}), left: make(chan error, 1)}
		err := handle(t, host, func(ctx context.Context, job *sdk.Job) error {
			ctx, cancel := context.WithCancel(ctx)
			go func() {
				<-host.entered
				cancel()
			}()
			_, err := job.Build(ctx, new(sdk.ImageSpec))
			return err
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("the engine got %v", err)
		}
		if err := <-host.left; !errors.Is(err, context.Canceled) {
			t.Errorf("the call got %v", err)
		}
	})
}

// hanging is a job host whose Build waits for its context.
type hanging struct {
	sdk.JobHost
	entered chan struct{}
	left    chan error
}

func (h *hanging) Build(ctx context.Context, _ *sdk.ImageSpec) (*sdk.BuiltImage, error) {
	close(h.entered)
	<-ctx.Done()
	h.left <- ctx.Err()
	return nil, ctx.Err()
}

func TestMessageLimit(t *testing.T) {
	big := make([]byte, MaxMessage)
	for i := range big {
		big[i] = ' '
	}
	copy(big, `"`)
	big[len(big)-1] = '"'
	within := big[:MaxMessage-1024]

	size := 0
	conn := serve(t, sdk.Plugin{Notifier: notifierFunc(func(_ context.Context, e *sdk.Event) error {
		size = len(e.Body)
		return nil
	})}, nil)
	if err := conn.Notifier().Notify(t.Context(), &sdk.Event{Body: within}); err != nil || size != len(within) {
		t.Errorf("a message within the limit: %d of %d bytes, %v", size, len(within), err)
	}
	if err := conn.Notifier().Notify(t.Context(), &sdk.Event{Body: big}); sdk.CodeOf(err) != sdk.Invalid {
		t.Errorf("a message beyond the limit: %v", err)
	}
	if err := conn.Notifier().Notify(t.Context(), &sdk.Event{}); err != nil {
		t.Errorf("a message after that: %v", err)
	}
}
