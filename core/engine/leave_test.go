package engine_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

func TestARequestWithoutAPluginHereIsLeftToAnotherWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(context.Context, *sdk.Job) error { return nil })
		r := w.submit(`{}`)
		known := w.lineup.Types
		w.lineup.Types = nil
		// The queue allows 3 attempts.
		for range 4 {
			w.Run(t.Context(), r.ID)
			w.wantState(r.ID, core.InProgress, `no plugin for requests of type "test" and leaves it to another one`)
			time.Sleep(10 * time.Second)
		}
		if got := w.request(r.ID); got.Attempt != 0 || len(got.History) != 2 {
			t.Errorf("%d attempts were counted, and the history is %+v", got.Attempt, got.History)
		}
		w.lineup.Types = known
		w.Run(t.Context(), r.ID)
		w.wantState(r.ID, core.Complete, "The request is complete.")
	})
}

func TestARequestForWhichNobodyHasAPluginFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(context.Context, *sdk.Job) error { return nil })
		r := w.submit(`{}`)
		w.lineup.Types = nil
		w.Run(t.Context(), r.ID)
		time.Sleep(time.Minute) // all that the queue allows for a run
		w.Run(t.Context(), r.ID)
		w.wantState(r.ID, core.InProgress, "leaves it to another one")
		time.Sleep(time.Minute)
		w.Run(t.Context(), r.ID)
		w.wantState(r.ID, core.Failed, `No worker with a plugin for requests of type "test" took the request within 1m0s.`)
	})
}
