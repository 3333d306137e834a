package engine_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

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
