package wire

import (
	"context"
	"errors"
	"testing"

	"github.com/iib-engine/iib/sdk"
)

func TestCallsOfARunThatHasEnded(t *testing.T) {
	t.Run("are refused", func(t *testing.T) {
		var kept sdk.JobHost
		recorder := new(jobRecorder)
		conn := serve(t, sdk.Plugin{
			Handlers: map[string]sdk.Handler{"add": handlerFunc(func(_ context.Context, job *sdk.Job) error {
				kept = job.Host()
				return nil
			})},
		}, nil)
		if err := handlerOf(t, conn, "add").Handle(t.Context(), sdk.NewJob(sdk.Request{Type: "add"}, "", "", recorder)); err != nil {
			t.Fatal(err)
		}
		for _, c := range jobCalls {
			t.Run(c.name, func(t *testing.T) {
				if _, err := c.call(t.Context(), kept, c.args); sdk.CodeOf(err) != sdk.Conflict {
					t.Errorf("got %v, want a conflict", err)
				}
			})
		}
		t.Run("Customize", func(t *testing.T) {
			if err := kept.Customize(t.Context(), "", new(sdk.Bundle)); sdk.CodeOf(err) != sdk.Conflict {
				t.Errorf("got %v, want a conflict", err)
			}
		})
		t.Run("Lock", func(t *testing.T) {
			if _, err := kept.Lock(t.Context(), "x"); sdk.CodeOf(err) != sdk.Conflict {
				t.Errorf("got %v, want a conflict", err)
			}
		})
		if recorder.called != nil {
			t.Errorf("the engine was called: %v", recorder.called)
		}
	})

	t.Run("are refused for a bundle as well", func(t *testing.T) {
		var kept sdk.BundleHost
		c := open(t, func(_ context.Context, b *sdk.Bundle) error { kept = b.Host(); return nil })
		if err := c.Customize(t.Context(), new(sdk.Bundle).WithHost(new(bundleRecorder))); err != nil {
			t.Fatal(err)
		}
		_, accessErr := kept.Access(t.Context(), "x")
		for _, err := range []error{kept.Log(t.Context(), sdk.LogLine{}), kept.Artifact(t.Context(), "a", "b"), accessErr} {
			if sdk.CodeOf(err) != sdk.Conflict {
				t.Errorf("got %v, want a conflict", err)
			}
		}
	})

	t.Run("are cancelled if they are under way", func(t *testing.T) {
		host := &hanging{entered: make(chan struct{}), left: make(chan error, 1)}
		result := make(chan error, 1)
		err := handle(t, host, func(ctx context.Context, job *sdk.Job) error {
			go func() {
				_, err := job.Build(context.WithoutCancel(ctx), new(sdk.ImageSpec))
				result <- err
			}()
			<-host.entered
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := <-host.left; !errors.Is(err, context.Canceled) {
			t.Errorf("the engine's side got %v", err)
		}
		if err := <-result; !errors.Is(err, context.Canceled) {
			t.Errorf("the plugin's side got %v", err)
		}
	})
}

func TestCallsThatAreNotOfTheRun(t *testing.T) {
	t.Run("of another kind of run are denied", func(t *testing.T) {
		var server *Server
		var conn *Conn
		conn, server = pair(t, sdk.Plugin{Handlers: map[string]sdk.Handler{
			"add": handlerFunc(func(ctx context.Context, job *sdk.Job) error {
				return newBundleClient(server.engine, job.Host().(*jobClient).token).Log(ctx, sdk.LogLine{})
			}),
		}})
		if err := errors.Join(conn.Configure(t.Context(), nil), conn.Start(t.Context(), nil, true)); err != nil {
			t.Fatal(err)
		}
		err := handlerOf(t, conn, "add").Handle(t.Context(), sdk.NewJob(sdk.Request{Type: "add"}, "", "", new(jobRecorder)))
		if sdk.CodeOf(err) != sdk.Denied {
			t.Errorf("got %v, want a denial", err)
		}
	})
	t.Run("without a token are denied", func(t *testing.T) {
		err := handle(t, new(jobRecorder), func(ctx context.Context, j *sdk.Job) error {
			own := j.Host().(*jobClient)
			return (&jobClient{own.client, ""}).State(ctx, "x")
		})
		if sdk.CodeOf(err) != sdk.Denied {
			t.Errorf("got %v, want a denial", err)
		}
	})
	t.Run("with a token of somebody's making are refused", func(t *testing.T) {
		err := handle(t, new(jobRecorder), func(ctx context.Context, j *sdk.Job) error {
			own := j.Host().(*jobClient)
			return (&jobClient{own.client, own.token[1:] + "A"}).State(ctx, "x")
		})
		if sdk.CodeOf(err) != sdk.Conflict {
			t.Errorf("got %v, want a conflict", err)
		}
	})
	t.Run("go to the run that they name", func(t *testing.T) {
		release := make(chan struct{})
		conn := serve(t, sdk.Plugin{
			Handlers: map[string]sdk.Handler{"add": handlerFunc(func(ctx context.Context, job *sdk.Job) error {
				if job.ID == 1 {
					<-release
				} else {
					defer close(release)
				}
				return job.Statef(ctx, "I am %d", job.ID)
			})},
		}, nil)
		handler := handlerOf(t, conn, "add")
		recorders := []*jobRecorder{nil, new(jobRecorder), new(jobRecorder)}
		done := make(chan error)
		for id := int64(1); id <= 2; id++ {
			go func() {
				done <- handler.Handle(t.Context(), sdk.NewJob(sdk.Request{ID: id, Type: "add"}, "", "", recorders[id]))
			}()
		}
		for range 2 {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		diff(t, "states of 1", []any{"I am 1"}, recorders[1].called)
		diff(t, "states of 2", []any{"I am 2"}, recorders[2].called)
	})
}

func TestPluginWithoutEngine(t *testing.T) {
	conn := connect(t, sdk.Plugin{Handlers: map[string]sdk.Handler{
		"add": handlerFunc(func(ctx context.Context, job *sdk.Job) error {
			if _, err := job.Lock(ctx, "x"); sdk.CodeOf(err) != sdk.Unavailable {
				t.Errorf("Lock: got %v", err)
			}
			return job.Statef(ctx, "x")
		}),
	}})
	if err := errors.Join(conn.Configure(t.Context(), nil), conn.Start(t.Context(), nil, false)); err != nil {
		t.Fatal(err)
	}
	err := handlerOf(t, conn, "add").Handle(t.Context(), sdk.NewJob(sdk.Request{Type: "add"}, "", "", new(jobRecorder)))
	diffError(t, errNobody, err)
}
