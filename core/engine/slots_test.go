package engine_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iib-engine/iib/core/engine"
)

// crowded is an engine with so many slots; the queues "low" and "high" have the
// priorities 1 and 9.
func crowded(w *world, slots int) (e *engine.Engine, settings func(slots int) *engine.Settings) {
	settings = func(slots int) *engine.Settings {
		return &engine.Settings{Slots: slots, Queue: func(name string) engine.QueueSettings {
			if name == "high" {
				return engine.QueueSettings{Priority: 9}
			}
			return engine.QueueSettings{Priority: 1}
		}}
	}
	e = w.engine("worker-1")
	e.Configure(settings(slots))
	return e, settings
}

func noPass() {}

func TestASlotGoesByPriorityThenFirstCome(t *testing.T) {
	w := newWorld(t, nil)
	synctest.Test(t, func(t *testing.T) {
		e, _ := crowded(w, 1)
		release, ok := e.Slot(t.Context(), "low", func() { t.Error("a free slot was passed on") })
		if !ok {
			t.Fatal("no slot")
		}
		var order []string
		passed := 0
		for _, who := range []struct{ name, queue string }{{"low 1", "low"}, {"low 2", "low"}, {"high 1", "high"}, {"high 2", "high"}} {
			synctest.Wait()
			go func() {
				release, ok := e.Slot(t.Context(), who.queue, func() { passed++ })
				if !ok {
					t.Error("no slot")
					return
				}
				order = append(order, who.name)
				release()
			}()
		}
		synctest.Wait()
		if passed != 4 || len(order) != 0 {
			t.Errorf("%d passed on what they could not run, %v ran", passed, order)
		}
		release()
		synctest.Wait()
		if want := []string{"high 1", "high 2", "low 1", "low 2"}; !slices.Equal(order, want) {
			t.Errorf("got %v", order)
		}
	})
}

func TestWhoGivesUpWaitingLeavesTheSlotToOthers(t *testing.T) {
	w := newWorld(t, nil)
	synctest.Test(t, func(t *testing.T) {
		e, _ := crowded(w, 1)
		release, _ := e.Slot(t.Context(), "low", noPass)
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		if _, ok := e.Slot(ctx, "high", noPass); ok {
			t.Error("two have the one slot")
		}
		release()
		if _, ok := e.Slot(t.Context(), "low", func() { t.Error("the slot is not free") }); !ok {
			t.Error("no slot")
		}
	})
}

func TestAReloadChangesTheNumberOfSlots(t *testing.T) {
	w := newWorld(t, nil)
	synctest.Test(t, func(t *testing.T) {
		e, settings := crowded(w, 1)
		first, _ := e.Slot(t.Context(), "low", noPass)
		got := 0
		var second func()
		for range 3 {
			go func() {
				release, ok := e.Slot(t.Context(), "low", noPass)
				if ok {
					second = release
					got++
				}
			}()
		}
		synctest.Wait()
		e.Configure(settings(2))
		synctest.Wait()
		if got != 1 {
			t.Fatalf("%d more run with a second slot", got)
		}
		// There is one too many, which is not replaced.
		e.Configure(settings(1))
		first()
		synctest.Wait()
		if got != 1 {
			t.Fatalf("%d more run with one slot again", got)
		}
		second()
		synctest.Wait()
		if got != 2 {
			t.Fatalf("%d more run when the slot was free", got)
		}
		e.Configure(settings(0))
		synctest.Wait()
		if got != 3 {
			t.Errorf("%d more run without a limit", got)
		}
	})
}
