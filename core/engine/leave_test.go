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
		// The queue allows 3 attempts, and a minute for a run.
		for pause := 2 * time.Second; pause <= time.Minute; pause *= 2 {
			w.Run(t.Context(), r.ID)
			w.wantState(r.ID, core.InProgress, `no plugin for requests of type "test" and leaves it to another one`)
			time.Sleep(pause - time.Second)
			w.Run(t.Context(), r.ID)
			if got := w.request(r.ID); got.Worker != "" || got.Attempt != 0 || len(got.History) != 2 {
				t.Errorf("after a pause of less than %v: %+v", pause, got)
			}
			time.Sleep(time.Second)
		}
		w.Run(t.Context(), r.ID)
		time.Sleep(time.Hour)
		w.lineup.Types = known
		w.Run(t.Context(), r.ID)
		w.wantState(r.ID, core.Complete, "The request is complete.")
	})
}
