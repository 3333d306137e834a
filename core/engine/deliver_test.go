package engine_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
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

type notifierFunc func(ctx context.Context, e *sdk.Event) error

func (f notifierFunc) Notify(ctx context.Context, e *sdk.Event) error { return f(ctx, e) }

// listener is a notifier that keeps what it took, and fails as a test wants.
type listener struct {
	fail func(ctx context.Context, e *sdk.Event) error

	mu     sync.Mutex
	offers map[string]int
	taken  []*sdk.Event
	now    int // calls at this moment
	most   int
	busy   map[int64]bool
	faults []string
}

func (l *listener) Notify(ctx context.Context, e *sdk.Event) error {
	l.mu.Lock()
	if l.offers == nil {
		l.offers, l.busy = make(map[string]int), make(map[int64]bool)
	}
	l.offers[e.ID]++
	l.now++
	l.most = max(l.most, l.now)
	if l.busy[e.Batch] {
		l.faults = append(l.faults, fmt.Sprintf("event %s came while another of batch %d was on its way", e.ID, e.Batch))
	}
	l.busy[e.Batch] = true
	fail := l.fail
	l.mu.Unlock()
	var err error
	if fail != nil {
		err = fail(ctx, e)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now--
	l.busy[e.Batch] = false
	if err == nil {
		l.taken = append(l.taken, e)
	}
	return err
}

func (l *listener) setFail(fail func(ctx context.Context, e *sdk.Event) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail = fail
}

// events is what was taken, in order.
func (l *listener) events() []*sdk.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.taken)
}

// heard is the IDs of what was taken.
func (l *listener) heard() []string {
	var all []string
	for _, e := range l.events() {
		all = append(all, e.ID)
	}
	return all
}

func (l *listener) offered(id string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.offers[id]
}

// changingRoster lends a line-up that a test may replace.
type changingRoster struct {
	mu      sync.Mutex
	current *coretest.Lineup
}

func (r *changingRoster) Acquire() (core.Lineup, func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.current, func() {}
}

func (r *changingRoster) set(notifiers ...core.Notifier) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := *r.current
	next.Notified = notifiers
	r.current = &next
}

// newsroom is a world in which events are delivered.
type newsroom struct {
	*world
	roster *changingRoster
	stop   func()
}

const bell = "bell"

// newNewsroom must be called in a synctest bubble. Deliveries stop with the test.
func newNewsroom(t *testing.T, notifiers ...core.Notifier) *newsroom {
	t.Helper()
	n := &newsroom{world: newWorld(t, func(context.Context, *sdk.Job) error { return nil })}
	n.roster = &changingRoster{current: n.lineup}
	n.roster.set(notifiers...)
	n.Engine.Roster = n.roster
	n.stop = n.deliver(n.Engine)
	return n
}

// deliver starts an engine's deliveries and returns what stops them.
func (n *newsroom) deliver(e *engine.Engine) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		e.Deliver(ctx)
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	n.t.Cleanup(stop)
	synctest.Wait()
	return stop
}

// another is a second process on the same store.
func (n *newsroom) another(worker string) *engine.Engine {
	e := n.engine(worker)
	e.Roster = n.roster
	return e
}

// events submits so many requests, each a batch of its own with two events.
func (n *newsroom) events(requests int) {
	n.t.Helper()
	for range requests {
		n.submit(`{"a":1}`)
	}
}

func (n *newsroom) standing() core.Subscription {
	n.t.Helper()
	all, err := n.store.Subscriptions(context.Background())
	if err != nil || len(all) != 1 {
		n.t.Fatalf("subscriptions: %+v, %v", all, err)
	}
	return all[0]
}

func (n *newsroom) undelivered() []core.Undelivered {
	n.t.Helper()
	all, err := n.store.Undelivered(context.Background(), bell, 0, 1000)
	if err != nil {
		n.t.Fatal(err)
	}
	return all
}

// ids are those of the events from one to another.
func ids(from, to int) []string {
	var all []string
	for i := from; i <= to; i++ {
		all = append(all, fmt.Sprint(i))
	}
	return all
}

func wantSet(t *testing.T, want, got []string) {
	t.Helper()
	count := make(map[string]int)
	for _, id := range got {
		count[id]++
	}
	wanted := make(map[string]int)
	for _, id := range want {
		wanted[id] = 1
	}
	if diff := cmp.Diff(wanted, count); diff != "" {
		t.Errorf("events by how often they were taken (-want +got):\n%s", diff)
	}
}

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

func TestOneOfSeveralProcessesDeliversAndAnotherTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(listener)
		l.setFail(func(context.Context, *sdk.Event) error {
			time.Sleep(10 * time.Millisecond)
			return nil
		})
		n := newNewsroom(t, core.Notifier{Plugin: bell, Notifier: l})
		second := n.another("worker-2")
		n.deliver(second)
		n.deliver(n.another("worker-3"))
		n.events(100)
		time.Sleep(30 * time.Second)
		wantSet(t, ids(1, 200), l.heard())
		n.stop()
		n.events(10)
		time.Sleep(3 * time.Second)
		wantSet(t, ids(1, 220), l.heard())
	})
}

func TestADeadProcessIsReplacedWhenItsTurnIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(listener)
		n := newNewsroom(t, core.Notifier{Plugin: bell, Notifier: l})
		n.stop()
		turn, err := n.store.TakeTurn(t.Context(), bell, "dead", 6*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		n.events(3)
		if due, err := n.store.Due(t.Context(), turn, 10); len(due) != 6 || err != nil {
			t.Fatalf("%v, %v", due, err)
		}
		n.deliver(n.another("worker-2"))
		time.Sleep(5 * time.Second)
		wantSet(t, nil, l.heard())
		time.Sleep(5 * time.Second)
		wantSet(t, ids(1, 6), l.heard())
	})
}

func TestAReloadLetsTheOldCallEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, next := new(listener), new(listener)
		release := make(chan struct{})
		old.setFail(func(ctx context.Context, _ *sdk.Event) error {
			select {
			case <-release:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		n := newNewsroom(t, core.Notifier{Plugin: bell, Notifier: old})
		n.events(1)
		time.Sleep(time.Second)

		// It changes.
		n.roster.set(core.Notifier{Plugin: bell, Notifier: next})
		n.LineupChanged()
		time.Sleep(time.Second)
		wantSet(t, nil, next.heard())
		close(release)
		synctest.Wait()
		wantSet(t, ids(1, 1), old.heard())
		wantSet(t, ids(2, 2), next.heard())

		// It is taken out.
		hold := make(chan struct{})
		next.setFail(func(context.Context, *sdk.Event) error {
			<-hold
			return nil
		})
		n.events(1)
		time.Sleep(time.Second)
		n.roster.set()
		n.LineupChanged()
		time.Sleep(time.Second)
		close(hold)
		time.Sleep(time.Second)
		wantSet(t, ids(2, 3), next.heard())
		if s := n.standing(); s.Worker != "" || s.Waiting != 1 {
			t.Errorf("after it was taken out: %+v", s)
		}

		// It is there again, and hears what it missed.
		next.setFail(nil)
		n.events(1)
		n.roster.set(core.Notifier{Plugin: bell, Notifier: next})
		n.LineupChanged()
		time.Sleep(2 * time.Second)
		wantSet(t, ids(2, 6), next.heard())
	})
}

func TestANotifierThatIsNewHearsFromItsSubscriptionOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(listener)
		n := newNewsroom(t)
		n.events(1)
		if err := n.Subscribe(t.Context(), []string{bell}); err != nil {
			t.Fatal(err)
		}
		n.events(1)
		if err := n.Subscribe(t.Context(), []string{bell}); err != nil {
			t.Fatal(err)
		}
		n.roster.set(core.Notifier{Plugin: bell, Notifier: l})
		n.LineupChanged()
		time.Sleep(time.Second)
		wantSet(t, ids(3, 4), l.heard())
		if err := n.Forget(t.Context(), bell); sdk.CodeOf(err) != sdk.Conflict {
			t.Errorf("to forget one that is in force gave %v", err)
		}
	})
}

func TestAStopGivesBackWhatWasNotTried(t *testing.T) {
	for _, c := range []struct {
		name    string
		notify  func(ctx context.Context) error
		most    time.Duration
		waiting int64
	}{
		{"a call that ends in time is settled", func(context.Context) error {
			time.Sleep(time.Second)
			return nil
		}, 2 * time.Second, 40 - 8},
		{"a call that hangs is cut short and not counted", func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}, 6 * time.Second, 40},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := new(listener)
				l.setFail(func(ctx context.Context, _ *sdk.Event) error { return c.notify(ctx) })
				n := newNewsroom(t, core.Notifier{Plugin: bell, Notifier: l})
				n.events(20)
				time.Sleep(100 * time.Millisecond)
				began := time.Now()
				n.stop()
				if took := time.Since(began); took > c.most {
					t.Errorf("the stop took %s", took)
				}
				if s := n.standing(); s.Worker != "" || s.Waiting != c.waiting {
					t.Errorf("after the stop: %+v", s)
				}
				for _, u := range n.undelivered() {
					if u.Attempts != 0 {
						t.Errorf("event %d: %d attempts were counted", u.Sequence, u.Attempts)
					}
				}
				l.setFail(nil)
				n.deliver(n.another("worker-2"))
				time.Sleep(time.Second)
				wantSet(t, ids(1, 40), l.heard())
			})
		})
	}
}

// moodyStore is one whose calls about deliveries fail as long as it is away.
type moodyStore struct {
	core.Store
	mu   sync.Mutex
	away bool
}

func (s *moodyStore) fault() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return sdk.Errorf(sdk.Unavailable, "database is away")
	}
	return nil
}

func (s *moodyStore) set(away bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = away
}

func (s *moodyStore) Settle(ctx context.Context, turn core.Turn, outcomes []core.Outcome) error {
	if err := s.fault(); err != nil {
		return err
	}
	return s.Store.Settle(ctx, turn, outcomes)
}

func (s *moodyStore) Due(ctx context.Context, turn core.Turn, limit int) ([]core.Delivery, error) {
	if err := s.fault(); err != nil {
		return nil, err
	}
	return s.Store.Due(ctx, turn, limit)
}

func TestAStoreThatIsAwayForAMomentRepeatsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(listener)
		n := newNewsroom(t, core.Notifier{Plugin: bell, Notifier: l})
		n.stop()
		moody := &moodyStore{Store: n.store}
		e := n.another("worker-2")
		e.Store = moody
		l.setFail(func(context.Context, *sdk.Event) error {
			moody.set(true)
			return nil
		})
		n.deliver(e)
		n.events(10)
		time.Sleep(4 * time.Second)
		l.setFail(nil)
		moody.set(false)
		time.Sleep(4 * time.Second)
		wantSet(t, ids(1, 20), l.heard())
		if s := n.standing(); s.Waiting+s.Behind != 0 {
			t.Errorf("afterwards: %+v", s)
		}
	})
}

func TestANotifierHearsOfItsRequestTypesOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all, none := new(listener), new(listener)
		n := newNewsroom(t, core.Notifier{Plugin: bell, Requests: []string{"other", "test"}, Notifier: all},
			core.Notifier{Plugin: "deaf", Requests: []string{"other"}, Notifier: none})
		n.events(2)
		time.Sleep(time.Second)
		wantSet(t, ids(1, 4), all.heard())
		wantSet(t, nil, none.heard())
		states, err := n.store.Subscriptions(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range states {
			if s.Behind+s.Waiting != 0 {
				t.Errorf("%s: %+v", s.Notifier, s)
			}
		}
	})
}
