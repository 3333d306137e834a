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
func (w *world) dies(id int64) {
	w.t.Helper()
	if _, _, err := w.store.Claim(w.t.Context(), id, "doomed", time.Second); err != nil {
		w.t.Fatal(err)
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
		for range 5 {
			w.dies(r.ID)
		}
		w.Run(t.Context(), r.ID)
		w.wantState(r.ID, core.Failed, "The worker died 5 times while it ran this request")
		w.wantState(r.ID, core.Failed, "submit the request again.")
	})
}
