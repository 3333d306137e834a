package engine_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

func TestANotifierHearsWhatHappensAsTheContractHasIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(listener)
		n := newNewsroom(t, core.Notifier{Plugin: bell, Notifier: l})
		requests, _, err := n.Submit(t.Context(), &core.Submission{
			User: "jane", Annotations: json.RawMessage(`{"why":"test"}`),
			Items: []core.SubmissionItem{{Type: "test", Body: json.RawMessage(`{}`)}, {Type: "test", Body: json.RawMessage(`{}`)}},
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range requests {
			n.Run(t.Context(), r.ID)
		}
		time.Sleep(2 * time.Second)
		var got []string
		taken := l.events()
		for i, e := range taken {
			if e.ID != fmt.Sprint(i+1) || e.Delivery != 1 || e.User != "jane" || e.Batch != requests[0].Batch || e.Time.IsZero() {
				t.Errorf("event %d: %+v", i, e)
			}
			got = append(got, fmt.Sprintf("%s %d %s", e.Kind, e.Request, e.State))
		}
		want := []string{
			"request 1 in_progress", "request 2 in_progress", "batch 0 in_progress",
			"request 1 complete", "request 2 complete", "batch 0 complete",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		var build, batch map[string]any
		if err := errors.Join(json.Unmarshal(taken[3].Body, &build), json.Unmarshal(taken[5].Body, &batch)); err != nil {
			t.Fatal(err)
		}
		if build["id"] != 1.0 || build["state"] != "complete" || build["user"] != "jane" || build["logs"] != nil || build["state_history"] != nil {
			t.Errorf("the body of a request's event is %v", build)
		}
		if diff := cmp.Diff(map[string]any{
			"batch": 1.0, "annotations": map[string]any{"why": "test"}, "state": "complete", "user": "jane",
			"requests": []any{
				map[string]any{"id": 1.0, "organization": nil, "request_type": "test"},
				map[string]any{"id": 2.0, "organization": nil, "request_type": "test"},
			},
		}, batch); diff != "" {
			t.Error(diff)
		}
	})
}

func TestAnEventIsDeliveredAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var delay time.Duration
		began := time.Now()
		l := &listener{fail: func(context.Context, *sdk.Event) error {
			delay = max(delay, time.Since(began))
			return nil
		}}
		n := newNewsroom(t, core.Notifier{Plugin: bell, Notifier: l})
		time.Sleep(90 * time.Second)
		began = time.Now()
		n.events(1)
		time.Sleep(100 * time.Millisecond)
		wantSet(t, ids(1, 2), l.heard())
		if delay > 50*time.Millisecond {
			t.Errorf("it took %s", delay)
		}
	})
}

func TestANotifierThatIsDownForHoursCatchesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(listener)
		l.setFail(func(context.Context, *sdk.Event) error { return sdk.Errorf(sdk.Unavailable, "broker does not answer") })
		n := newNewsroom(t, core.Notifier{Plugin: bell, Attempts: 2, Notifier: l})
		for range 30 {
			n.events(5)
			time.Sleep(5 * time.Minute)
		}
		if s := n.standing(); s.Parked != 0 || s.Error != "broker does not answer" || len(l.heard()) != 0 {
			t.Fatalf("while it is down: %+v", s)
		}
		for _, u := range n.undelivered() {
			if u.Attempts != 0 {
				t.Errorf("event %d: %d attempts were counted", u.Sequence, u.Attempts)
			}
		}
		l.setFail(nil)
		time.Sleep(time.Minute)
		wantSet(t, ids(1, 300), l.heard())
		if s := n.standing(); s.Behind+s.Waiting+s.Parked != 0 {
			t.Errorf("after it came back: %+v", s)
		}
	})
}

func TestAPoisonedEventIsParkedAndBlocksNothing(t *testing.T) {
	for _, c := range []struct {
		name   string
		poison func(ctx context.Context) error
		offers int
	}{
		{"one that the notifier calls invalid, at once", func(context.Context) error { return sdk.Errorf(sdk.Invalid, "no such topic") }, 1},
		{"one that the notifier fails at", func(context.Context) error { return errors.New("panic") }, 4},
		{"one that the notifier hangs at while it takes others", func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := new(listener)
				l.setFail(func(ctx context.Context, e *sdk.Event) error {
					if e.ID == "3" {
						return c.poison(ctx)
					}
					return nil
				})
				n := newNewsroom(t, core.Notifier{Plugin: bell, Attempts: 4, Timeout: 10 * time.Second, Notifier: l})
				n.events(5)
				time.Sleep(time.Second)
				if c.offers > 1 {
					// What follows in its batch waits.
					wantSet(t, append(ids(1, 2), ids(5, 10)...), l.heard())
				}
				for range 60 {
					n.events(1)
					time.Sleep(5 * time.Second)
				}
				want := append(append(ids(1, 2), "4"), ids(5, 10+2*60)...)
				wantSet(t, want, l.heard())
				if got := l.offered("3"); got != c.offers {
					t.Errorf("the event was offered %d times, want %d", got, c.offers)
				}
				parked := n.undelivered()
				if len(parked) != 1 || !parked[0].Parked || parked[0].Sequence != 3 || parked[0].Error == "" {
					t.Fatalf("parked: %+v", parked)
				}
				l.setFail(nil)
				if count, err := n.Replay(t.Context(), bell, core.Replay{Parked: true}); count != 1 || err != nil {
					t.Fatalf("replayed %d, %v", count, err)
				}
				time.Sleep(time.Second)
				wantSet(t, append(want, "3"), l.heard())
			})
		})
	}
}

func TestANotifierThatHangsAtEverythingIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(listener)
		l.setFail(func(ctx context.Context, _ *sdk.Event) error {
			<-ctx.Done()
			return ctx.Err()
		})
		n := newNewsroom(t, core.Notifier{Plugin: bell, Attempts: 2, Timeout: time.Second, Notifier: l})
		n.events(20)
		time.Sleep(time.Hour)
		if s := n.standing(); s.Parked != 0 || !strings.Contains(s.Error, "did not answer within 1s") {
			t.Errorf("while it hangs: %+v", s)
		}
		l.setFail(nil)
		time.Sleep(time.Minute)
		wantSet(t, ids(1, 40), l.heard())
	})
}

func TestAnEventThatEndsThePluginIsFoundAmongOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// All calls end with the process, which the killer ends.
		var mu sync.Mutex
		process, kill := context.WithCancel(context.Background())
		l := new(listener)
		l.setFail(func(ctx context.Context, e *sdk.Event) error {
			mu.Lock()
			life := process
			if e.ID == "5" {
				kill()
				process, kill = context.WithCancel(context.Background())
			}
			mu.Unlock()
			select {
			case <-life.Done():
				ended := sdk.Errorf(sdk.Unavailable, "plugin bell ended during the call")
				ended.Reason = core.ReasonEnded
				return ended
			case <-time.After(10 * time.Millisecond):
				return nil
			}
		})
		n := newNewsroom(t, core.Notifier{Plugin: bell, Attempts: 3, Notifier: l})
		n.events(8)
		time.Sleep(10 * time.Minute)
		wantSet(t, append(append(ids(1, 4), "6"), ids(7, 16)...), l.heard())
		parked := n.undelivered()
		if len(parked) != 1 || parked[0].Sequence != 5 || !parked[0].Parked {
			t.Errorf("parked: %+v", parked)
		}
		if got := l.offered("5"); got > 4 {
			t.Errorf("it ended the plugin %d times", got)
		}
	})
}

func TestBatchesAreDeliveredInParallelAndEachInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(listener)
		l.setFail(func(context.Context, *sdk.Event) error {
			time.Sleep(100 * time.Millisecond)
			return nil
		})
		n := newNewsroom(t, core.Notifier{Plugin: bell, Notifier: l})
		n.events(20)
		for id := range int64(20) {
			n.Run(t.Context(), id+1)
		}
		time.Sleep(10 * time.Second)
		wantSet(t, ids(1, 80), l.heard())
		synctest.Wait()
		if l.most != 8 || len(l.faults) > 0 {
			t.Errorf("%d calls at once; %v", l.most, l.faults)
		}
		last := make(map[int64]string)
		for _, e := range l.events() {
			if before := last[e.Batch]; len(before) > len(e.ID) || len(before) == len(e.ID) && before > e.ID {
				t.Errorf("batch %d: event %s came after %s", e.Batch, e.ID, before)
			}
			last[e.Batch] = e.ID
		}
	})
}
