package engine_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// dies makes an attempt at a request whose worker does not live to its end.
func (w *world) dies(id int64, meanwhile ...func(core.Claim)) {
	w.t.Helper()
	_, claim, err := w.store.Claim(w.t.Context(), id, "doomed", time.Second)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, do := range meanwhile {
		do(claim)
	}
	time.Sleep(2 * time.Second)
}

func TestADeadWorkerCostsARequestNoAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runs := 0
		w := newWorld(t, func(context.Context, *sdk.Job) error {
			runs++
			return sdk.Errorf(sdk.Unavailable, "registry is away")
		})
		r := w.submit(`{}`)
		// The queue allows 3 attempts.
		for range 4 {
			w.dies(r.ID)
		}
		for attempt := 1; attempt < 3; attempt++ {
			w.Run(t.Context(), r.ID)
			w.wantState(r.ID, core.InProgress, fmt.Sprintf("Attempt %d of 3", attempt))
			time.Sleep(time.Minute)
		}
		w.Run(t.Context(), r.ID)
		w.wantState(r.ID, core.Failed, "Registry is away.")
		if runs != 3 {
			t.Errorf("the handler ran %d times", runs)
		}
		// The log numbers the runs, whatever they count for.
		if log := w.files.Log(r.ID); !strings.Contains(log, "attempt 5 on worker") || strings.Contains(log, "attempt 1 on worker") {
			t.Errorf("log: %s", log)
		}
	})
}

func TestARequestThatKillsItsWorkersIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(context.Context, *sdk.Job) error { return nil })
		r := w.submit(`{}`)
		for range 10 {
			w.dies(r.ID)
		}
		w.Run(t.Context(), r.ID)
		w.wantState(r.ID, core.Failed, "The worker died 10 times while it ran this request")
		w.wantState(r.ID, core.Failed, "submit the request again.")
	})
}

// What others have seen of a request is not told to have failed because of deaths
// alone.
func TestARequestThatHasMovedAnIndexIsNotGivenUp(t *testing.T) {
	for _, c := range []struct {
		spec   string
		deaths int
		want   core.State
	}{
		{movedIndex, 10, core.Complete},
		{movedIndex, 19, core.Complete},
		{movedIndex, 20, core.Failed},
		{"build.example.com/iib-build:1", 10, core.Failed},
	} {
		t.Run(fmt.Sprint(c.spec, " ", c.deaths), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, func(context.Context, *sdk.Job) error { return nil })
				r := w.submit(`{}`)
				w.dies(r.ID, func(claim core.Claim) {
					m := core.TagMove{Spec: c.spec, To: digestB, Kind: core.MovePublish}
					if _, err := w.store.BeginMove(t.Context(), m, &claim); err != nil {
						t.Fatal(err)
					}
				})
				for range c.deaths - 1 {
					w.dies(r.ID)
				}
				w.Run(t.Context(), r.ID)
				w.wantState(r.ID, c.want, "")
			})
		})
	}
}

// What kills a worker takes the requests beside it along, as suspect as itself.
func TestASuspectRunsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := make(chan int64, 3)
		end := make(chan struct{})
		w := newWorld(t, func(ctx context.Context, job *sdk.Job) error {
			begun <- job.Request.ID
			<-end
			return nil
		})
		run := func() {
			release, ok := w.Slot(t.Context(), "default", noPass)
			if !ok {
				t.Error("no slot")
				return
			}
			defer release()
			w.Engine.Run(t.Context(), "default")
		}
		isBegun := func(want int64) {
			t.Helper()
			synctest.Wait()
			select {
			case id := <-begun:
				if id != want {
					t.Fatalf("request %d runs, want %d", id, want)
				}
			default:
				t.Fatalf("request %d does not run", want)
			}
			if len(begun) > 0 {
				t.Fatalf("request %d runs beside it", <-begun)
			}
		}
		before := w.submit(`{}`)
		go run()
		isBegun(before.ID)
		suspect := w.submit(`{}`)
		for range 3 {
			w.dies(suspect.ID)
		}
		after := w.submit(`{}`)
		if err := w.store.Recover(t.Context()); err != nil {
			t.Fatal(err)
		}
		go run()
		synctest.Wait()
		go run()
		synctest.Wait()
		if len(begun) > 0 {
			t.Fatalf("request %d runs beside request %d", <-begun, before.ID)
		}
		for _, id := range []int64{suspect.ID, after.ID} {
			end <- struct{}{}
			isBegun(id)
		}
		end <- struct{}{}
		synctest.Wait()
		for _, r := range []*core.Request{before, suspect, after} {
			w.wantState(r.ID, core.Complete, "")
		}
		if log := w.files.Log(suspect.ID); !strings.Contains(log, "died 3 times while it ran this request, which runs alone") {
			t.Errorf("log: %s", log)
		}
	})
}

// A suspect that is not to run any more keeps nobody waiting.
func TestASuspectThatEndsWhileItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ran := 0
		end := make(chan struct{})
		w := newWorld(t, func(ctx context.Context, job *sdk.Job) error {
			ran++
			<-end
			return nil
		})
		run := func() {
			if release, ok := w.Slot(t.Context(), "default", noPass); ok {
				defer release()
				w.Engine.Run(t.Context(), "default")
			}
		}
		w.submit(`{}`)
		go run()
		synctest.Wait()
		suspect := w.submit(`{}`)
		for range 3 {
			w.dies(suspect.ID)
		}
		if err := w.store.Recover(t.Context()); err != nil {
			t.Fatal(err)
		}
		go run()
		synctest.Wait()
		w.submit(`{}`)
		go run()
		synctest.Wait()
		if ran != 1 {
			t.Fatalf("%d run", ran)
		}
		if _, err := w.Cancel(t.Context(), suspect.ID, "The request was cancelled by jane."); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if ran != 2 {
			t.Errorf("%d run after the suspect was cancelled", ran)
		}
		close(end)
	})
}
