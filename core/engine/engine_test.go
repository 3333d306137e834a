package engine_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/core/coretest"
	"github.com/iib-engine/iib/core/engine"
	"github.com/iib-engine/iib/sdk"
)

// handlerFunc is a handler made of its one method.
type handlerFunc func(ctx context.Context, job *sdk.Job) error

func (f handlerFunc) Handle(ctx context.Context, job *sdk.Job) error { return f(ctx, job) }

// queueFunc hears of hints, and leaves it at those.
type queueFunc func(queue string) error

func (f queueFunc) Tell(_ context.Context, queue string) error { return f(queue) }
func (f queueFunc) Fill(context.Context, string, int64) error  { return nil }

type builderFunc func(*sdk.BuildSpec) (sdk.Digest, error)

func (f builderFunc) Build(_ context.Context, spec *sdk.BuildSpec) (sdk.Digest, error) {
	return f(spec)
}

// world is an engine with everything around it in memory.
type world struct {
	*engine.Engine
	t      *testing.T
	store  core.Store
	lineup *coretest.Lineup
	images *coretest.Images
	files  *coretest.Files
}

// Run has a worker that hears of a request's queue take what is next there, after
// dead workers were found.
func (w *world) Run(ctx context.Context, id int64) {
	w.t.Helper()
	if err := w.store.Recover(ctx); err != nil {
		w.t.Fatal(err)
	}
	w.Engine.Run(ctx, w.request(id).Queue)
}

func newWorld(t *testing.T, handle handlerFunc) *world {
	t.Helper()
	w := &world{t: t, store: coretest.NewMemory(time.Now), images: new(coretest.Images), files: new(coretest.Files)}
	w.lineup = &coretest.Lineup{Types: []core.Handler{{
		HandlerType: core.HandlerType{Type: "test", Plugin: "tester", Doc: sdk.HandlerDoc{
			Fields: []sdk.FieldDoc{
				{Name: "index_image", Shape: sdk.ShapeImage, Image: true},
				{Name: "from_index"},
			},
			Artifacts: []sdk.ArtifactDoc{{Name: "report", Path: "report"}},
		}},
		Handler: handle,
	}}}
	w.Engine = w.engine("worker-1")
	return w
}

func (w *world) engine(worker string) *engine.Engine {
	dir := w.t.TempDir()
	return engine.New(engine.Options{
		Store: w.store, Roster: w.lineup, Images: w.images, Logs: w.files.Logs(), Artifacts: w.files,
		Queue: queueFunc(func(string) error { return nil }),
		Settings: &engine.Settings{
			Route: func(_, _, _ string, _ bool) string { return "default" },
			Queue: func(string) engine.QueueSettings { return engine.QueueSettings{Timeout: time.Minute, Attempts: 3} },
		},
		Worker: worker, WorkDir: filepath.Join(dir, "work"), CacheDir: filepath.Join(dir, "cache"),
		Logger: slog.New(slog.DiscardHandler),
	})
}

func (w *world) submit(body string) *core.Request {
	w.t.Helper()
	requests, _, err := w.Submit(w.t.Context(), &core.Submission{Items: []core.SubmissionItem{{Type: "test", Body: json.RawMessage(body)}}})
	if err != nil {
		w.t.Fatal(err)
	}
	return requests[0]
}

func (w *world) request(id int64) *core.Request {
	w.t.Helper()
	r, err := w.store.Request(context.WithoutCancel(w.t.Context()), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) wantState(id int64, state core.State, reason string) {
	w.t.Helper()
	got := w.request(id).State()
	if got.State != state || !strings.Contains(got.Reason, reason) {
		w.t.Errorf("request %d is %s: %q; want %s with %q", id, got.State, got.Reason, state, reason)
	}
}

func TestARequestRunsToItsEnd(t *testing.T) {
	w := newWorld(t, func(ctx context.Context, job *sdk.Job) error {
		if err := job.Statef(ctx, "working on %d", job.ID); err != nil {
			return err
		}
		job.Logf(ctx, "a line of the handler")
		if err := job.SetFields(ctx, map[string]any{"index_image": "q/i:1", "arches": []string{"s390x", "amd64"}}); err != nil {
			return err
		}
		report := filepath.Join(job.Workspace, "report.json")
		if err := os.WriteFile(report, []byte("[]"), 0o600); err != nil {
			return err
		}
		if err := job.Artifact(ctx, "report", report); err != nil {
			return err
		}
		job.Done("The work is done.")
		return nil
	})
	r := w.submit(`{"a":1}`)
	w.Run(t.Context(), r.ID)
	w.wantState(r.ID, core.Complete, "The work is done.")
	done := w.request(r.ID)
	if diff := cmp.Diff([]string{"amd64", "s390x"}, done.Arches); diff != "" {
		t.Error(diff)
	}
	if got := core.FieldText(done.Fields, "index_image"); got != "q/i:1" {
		t.Errorf("index_image is %q", got)
	}
	if len(done.History) != 3 {
		t.Errorf("history: %+v", done.History)
	}
	if log := w.files.Log(r.ID); !strings.Contains(log, "a line of the handler") || !strings.Contains(log, "The work is done.") {
		t.Errorf("log: %s", log)
	}
	if entries, _ := os.ReadDir(w.WorkDir); len(entries) != 0 {
		t.Errorf("workspaces left: %v", entries)
	}
}

func TestAFinalErrorFailsAtOnceWithItsMessage(t *testing.T) {
	for _, code := range []sdk.Code{sdk.Invalid, sdk.Denied, sdk.NotFound, sdk.Conflict, sdk.Internal} {
		t.Run(string(code), func(t *testing.T) {
			runs := 0
			w := newWorld(t, func(context.Context, *sdk.Job) error {
				runs++
				return sdk.Errorf(code, "bundle quay.io/ns/b:1 is not there")
			})
			r := w.submit(`{}`)
			w.Run(t.Context(), r.ID)
			w.Run(t.Context(), r.ID)
			w.wantState(r.ID, core.Failed, "Bundle quay.io/ns/b:1 is not there.")
			if runs != 1 {
				t.Errorf("the handler ran %d times", runs)
			}
		})
	}
}

func TestATransientFaultIsRetriedAsOftenAsTheQueueSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runs := 0
		w := newWorld(t, func(context.Context, *sdk.Job) error {
			runs++
			return sdk.Errorf(sdk.Unavailable, "registry is away")
		})
		r := w.submit(`{}`)
		for range 10 {
			w.Run(t.Context(), r.ID)
			time.Sleep(time.Minute)
		}
		w.wantState(r.ID, core.Failed, "Registry is away.")
		if runs != 3 {
			t.Errorf("the handler ran %d times, want 3", runs)
		}
	})
}

func TestAPauseFollowsATransientFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runs := 0
		w := newWorld(t, func(context.Context, *sdk.Job) error {
			runs++
			return sdk.Errorf(sdk.Unavailable, "registry is away")
		})
		r := w.submit(`{}`)
		w.Run(t.Context(), r.ID)
		w.Run(t.Context(), r.ID)
		if runs != 1 {
			t.Errorf("the handler ran %d times without a pause", runs)
		}
		w.wantState(r.ID, core.InProgress, "Attempt 1 of 3")
	})
}

func TestADeadlineEndsTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(ctx context.Context, _ *sdk.Job) error {
			<-ctx.Done()
			return ctx.Err()
		})
		r := w.submit(`{}`)
		w.Run(t.Context(), r.ID)
		w.wantState(r.ID, core.Failed, "did not end within 1m0s")
	})
}

func TestCancelEndsTheRunAndLeavesNothing(t *testing.T) {
	started := make(chan *sdk.Job)
	var late error
	w := newWorld(t, func(ctx context.Context, job *sdk.Job) error {
		started <- job
		<-ctx.Done()
		late = job.Statef(context.WithoutCancel(ctx), "too late")
		return ctx.Err()
	})
	r := w.submit(`{}`)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.Run(context.WithoutCancel(t.Context()), r.ID)
	}()
	<-started
	if _, err := w.Cancel(t.Context(), r.ID, "The request was cancelled by jane."); err != nil {
		t.Fatal(err)
	}
	<-ended
	w.wantState(r.ID, core.Failed, "cancelled by jane")
	if sdk.CodeOf(late) != sdk.Conflict {
		t.Errorf("a late write gave %v, want a Conflict", late)
	}
	if _, err := w.Cancel(t.Context(), r.ID, "again"); sdk.ReasonOf(err) != core.ReasonFinal {
		t.Errorf("a second cancel gave %v", err)
	}
}

func TestAStoppingWorkerHandsTheRequestBack(t *testing.T) {
	started := make(chan struct{}, 2)
	stopping := true
	w := newWorld(t, func(ctx context.Context, _ *sdk.Job) error {
		started <- struct{}{}
		if stopping {
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	})
	r := w.submit(`{}`)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.Run(ctx, r.ID)
	}()
	<-started
	stop()
	<-ended
	w.wantState(r.ID, core.InProgress, "")
	stopping = false
	other := w.engine("worker-2")
	other.Run(t.Context(), r.Queue)
	w.wantState(r.ID, core.Complete, "")
	if got := w.request(r.ID).Attempt; got != 1 {
		t.Errorf("attempt %d: being handed back must not count", got)
	}
}

// awayStore lets nobody give a claim back.
type awayStore struct{ core.Store }

func (awayStore) Release(context.Context, core.Claim, time.Duration, bool) error {
	return sdk.Errorf(sdk.Unavailable, "the database is away")
}

func TestAWorkerStopsAlsoWhereItsDatabaseIsAway(t *testing.T) {
	started := make(chan struct{})
	w := newWorld(t, func(ctx context.Context, _ *sdk.Job) error {
		close(started)
		<-ctx.Done()
		return ctx.Err()
	})
	r := w.submit(`{}`)
	synctest.Test(t, func(t *testing.T) {
		started = make(chan struct{}) // what it waits for belongs here
		e := w.engine("worker-2")
		e.Store = awayStore{w.store}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			e.Run(ctx, r.Queue)
		}()
		<-started
		stop()
		began := time.Now()
		<-ended
		if took := time.Since(began); took < time.Second || took > 20*time.Second {
			t.Errorf("it tried for %s", took)
		}
	})
	w.wantState(r.ID, core.InProgress, "")
}

func TestBuildFansOutOverTheArchitectures(t *testing.T) {
	var mu sync.Mutex
	var arches []string
	w := newWorld(t, func(ctx context.Context, job *sdk.Job) error {
		built, err := job.Build(ctx, &sdk.ImageSpec{Base: "q/base@sha256:1", Arches: []string{"amd64", "s390x"}})
		if err != nil {
			return err
		}
		_, err = job.Publish(ctx, &sdk.Publication{Image: built.Image, BuildTags: []string{"v4.14"}})
		return err
	})
	w.lineup.TheBuilder = &core.Builder{Plugin: "builder", Builder: builderFunc(func(spec *sdk.BuildSpec) (sdk.Digest, error) {
		mu.Lock()
		defer mu.Unlock()
		arches = append(arches, spec.Arch)
		return sdk.Digest("sha256:" + spec.Arch), nil
	})}
	r := w.submit(`{}`)
	w.Run(t.Context(), r.ID)
	w.wantState(r.ID, core.Complete, "")
	if len(arches) != 2 {
		t.Errorf("built %v", arches)
	}
	want := []string{"build.example.com/iib-build:1", "build.example.com/iib-build:v4.14"}
	if diff := cmp.Diff(want, w.images.Moves()); diff != "" {
		t.Error(diff)
	}
}

func TestAFailedArchitecturePublishesNothing(t *testing.T) {
	w := newWorld(t, func(ctx context.Context, job *sdk.Job) error {
		_, err := job.Build(ctx, &sdk.ImageSpec{Base: "scratch", Arches: []string{"amd64", "s390x"}})
		return err
	})
	w.lineup.TheBuilder = &core.Builder{Plugin: "builder", Builder: builderFunc(func(spec *sdk.BuildSpec) (sdk.Digest, error) {
		if spec.Arch == "s390x" {
			return "", sdk.Errorf(sdk.Denied, "push is not allowed")
		}
		return "sha256:1", nil
	})}
	r := w.submit(`{}`)
	w.Run(t.Context(), r.ID)
	w.wantState(r.ID, core.Failed, "push is not allowed")
	if moves := w.images.Moves(); len(moves) != 0 {
		t.Errorf("moved %v", moves)
	}
}

func TestPublishRefusesAnIndexThatMoved(t *testing.T) {
	const index = "q/index:v4.14"
	var first error
	w := newWorld(t, nil)
	w.lineup.Types[0].Handler = handlerFunc(func(ctx context.Context, job *sdk.Job) error {
		p := &sdk.Publication{Image: "build.example.com/iib-build@sha256:new", Overwrite: index, Base: "q/index@sha256:old"}
		_, first = job.Publish(ctx, p)
		p.Base = "q/index@sha256:other"
		published, err := job.Publish(ctx, p)
		if err != nil {
			return err
		}
		if published.IndexImage != index || published.IndexImageResolved != "q/index@sha256:new" {
			t.Errorf("published %+v", published)
		}
		return nil
	})
	w.images.Set(index, "sha256:other")
	r := w.submit(`{}`)
	w.Run(t.Context(), r.ID)
	w.wantState(r.ID, core.Complete, "")
	if sdk.ReasonOf(first) != sdk.ReasonMoved {
		t.Errorf("the overtaken publication gave %v", first)
	}
}

func TestSubmitBlamesTheItem(t *testing.T) {
	w := newWorld(t, nil)
	_, _, err := w.Submit(t.Context(), &core.Submission{Items: []core.SubmissionItem{
		{Type: "test", Body: json.RawMessage(`{}`)}, {Type: "unknown", Body: json.RawMessage(`{}`)},
	}})
	var item *core.ItemError
	if !errors.As(err, &item) || item.Index != 1 || sdk.CodeOf(err) != sdk.NotFound {
		t.Fatalf("got %v", err)
	}
	if _, total, _ := w.store.List(t.Context(), core.Filter{}, core.Page{Number: 1, Size: 10}); total != 0 {
		t.Errorf("%d requests were stored", total)
	}
}

type customizerFunc func(*sdk.Bundle) error

func (f customizerFunc) Customize(_ context.Context, b *sdk.Bundle) error { return f(b) }

func TestCustomizationsRunInOrderUntilTheNamedStep(t *testing.T) {
	for until, want := range map[string]string{"": "a b c b", "b": "a", "c": "a b", "a": "", "none": "a b c b"} {
		t.Run("until "+until, func(t *testing.T) {
			var ran []string
			step := func(name string) core.Step {
				return core.Step{Name: name, Customizer: customizerFunc(func(*sdk.Bundle) error {
					ran = append(ran, name)
					return nil
				})}
			}
			w := newWorld(t, func(ctx context.Context, job *sdk.Job) error {
				return job.Customize(ctx, "acme", &sdk.Bundle{Until: until})
			})
			w.lineup.StepList = map[string][]core.Step{"acme": {step("a"), step("b"), step("c"), step("b")}}
			r := w.submit(`{}`)
			w.Run(t.Context(), r.ID)
			w.wantState(r.ID, core.Complete, "")
			if got := strings.Join(ran, " "); got != want {
				t.Errorf("ran %q, want %q", got, want)
			}
		})
	}
}
