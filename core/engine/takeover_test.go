package engine_test

import (
	"context"
	"fmt"
	"slices"
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

// crew runs requests as a process of the engine does.
type crew struct {
	*world
	begun chan int64
	end   chan struct{}
}

// newCrew has requests run until end is sent to, and tells which have begun.
func newCrew(t *testing.T) *crew {
	c := &crew{begun: make(chan int64, 10), end: make(chan struct{})}
	c.world = newWorld(t, func(ctx context.Context, job *sdk.Job) error {
		c.begun <- job.Request.ID
		select {
		case <-c.end:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
	return c
}

// suspect submits a request over which three workers die.
func (c *crew) suspect() int64 {
	c.t.Helper()
	r := c.submit(`{}`)
	for range 3 {
		c.dies(r.ID)
	}
	if err := c.store.Recover(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	return r.ID
}

// busy has one request run while a suspect waits.
func (c *crew) busy() (running, suspect int64) {
	c.t.Helper()
	running = c.submit(`{}`).ID
	c.run(3)
	c.want(running)
	suspect = c.suspect()
	c.want()
	return running, suspect
}

// run takes what is next, as soon as there is a slot, again and again.
func (c *crew) run(times int) {
	for range times {
		go func() {
			for c.t.Context().Err() == nil {
				release, ok := c.Slot(c.t.Context(), "default", noPass)
				if !ok {
					return
				}
				c.Engine.Run(c.t.Context(), "default")
				release()
				select {
				case <-c.t.Context().Done():
				case <-time.After(100 * time.Millisecond):
				}
			}
		}()
	}
}

// want checks which requests have begun since it was last asked.
func (c *crew) want(ids ...int64) {
	c.t.Helper()
	time.Sleep(5 * time.Second)
	var got []int64
	for len(c.begun) > 0 {
		got = append(got, <-c.begun)
	}
	slices.Sort(got)
	if !slices.Equal(got, ids) {
		c.t.Fatalf("requests %v began, want %v", got, ids)
	}
}

// What kills a worker takes the requests beside it along, as suspect as itself.
func TestASuspectRunsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrew(t)
		before, suspect := c.busy()
		c.wantState(suspect, core.InProgress, "3 workers died while they ran this request, so it waits until it can run alone in one.")
		after := c.submit(`{}`).ID
		last := c.submit(`{}`).ID
		c.want()
		c.end <- struct{}{}
		c.want(suspect)
		c.end <- struct{}{}
		c.want(after, last)
		c.end <- struct{}{}
		c.end <- struct{}{}
		c.want()
		for _, id := range []int64{before, suspect, after, last} {
			c.wantState(id, core.Complete, "")
		}
		if log := c.files.Log(suspect); !strings.Contains(log, "died 3 times while it ran this request, which runs alone") {
			t.Errorf("log: %s", log)
		}
		if r := c.request(suspect); len(r.History) != 3 {
			t.Errorf("its history is %+v", r.History)
		}
	})
}

// Of several suspects only the one that runs is held to kill its worker.
func TestASuspectThatWaitsHasNoWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrew(t)
		first, second := c.suspect(), c.suspect()
		c.run(3)
		c.want(first)
		if r := c.request(second); r.Worker != "" || r.TakeOvers != 3 {
			t.Errorf("the second has worker %q and %d take-overs", r.Worker, r.TakeOvers)
		}
		c.end <- struct{}{}
		c.want(second)
		c.end <- struct{}{}
		c.want()
	})
}

// A suspect that is not to run any more keeps nobody waiting.
func TestASuspectThatEndsWhileItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrew(t)
		_, suspect := c.busy()
		if _, err := c.Cancel(t.Context(), suspect, "The request was cancelled by jane."); err != nil {
			t.Fatal(err)
		}
		c.end <- struct{}{}
		c.want()
		first, second := c.submit(`{}`).ID, c.submit(`{}`).ID
		c.want(first, second)
		c.end <- struct{}{}
		c.end <- struct{}{}
		c.want()
	})
}
