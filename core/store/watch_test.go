package store

import (
	"database/sql"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// clock is a clock that stands still until it is told.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func claimed(t *testing.T, s *Store, id int64) bool {
	t.Helper()
	_, _, err := s.Claim(t.Context(), id, "thief", time.Minute)
	if err != nil && sdk.CodeOf(err) != sdk.Conflict {
		t.Fatalf("Claim: %v", err)
	}
	return err == nil
}

func TestLeases(t *testing.T) {
	const lease = 2 * time.Second
	setup := func(t *testing.T) (holder, watcher *Store, c *clock, r *core.Request, claim core.Claim) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "iib.db")
		c = &clock{at: time.Now()}
		holder, watcher = open(t, file, Options{Now: c.now}), open(t, file, Options{Now: c.now})
		r = create(t, holder, core.NewRequest{})
		_, claim, err := holder.Claim(t.Context(), r.ID, "worker", lease)
		if err != nil {
			t.Fatal(err)
		}
		return holder, watcher, c, r, claim
	}

	t.Run("a process waits a whole lease from when it first saw the claim", func(t *testing.T) {
		_, watcher, c, r, _ := setup(t)
		c.pass(time.Hour)
		if claimed(t, watcher, r.ID) {
			t.Error("a claim was taken over by a process that had never seen it")
		}
		c.pass(lease - time.Millisecond)
		if claimed(t, watcher, r.ID) {
			t.Error("a claim was taken over before its lease was over")
		}
		c.pass(time.Millisecond)
		if !claimed(t, watcher, r.ID) {
			t.Error("a dead claim was not taken over")
		}
	})

	t.Run("a renewal starts the lease again", func(t *testing.T) {
		holder, watcher, c, r, claim := setup(t)
		for range 5 {
			if claimed(t, watcher, r.ID) {
				t.Fatal("a claim was taken over that is renewed in time")
			}
			c.pass(lease - time.Millisecond)
			if err := holder.Renew(t.Context(), claim, lease); err != nil {
				t.Fatal(err)
			}
		}
	})

	t.Run("an outage of the database starts every lease again", func(t *testing.T) {
		_, watcher, c, r, _ := setup(t)
		claimed(t, watcher, r.ID)
		c.pass(lease)
		if err := watcher.fault(busy(t), "renew"); sdk.CodeOf(err) != sdk.Unavailable {
			t.Fatalf("a locked database is %s", sdk.CodeOf(err))
		}
		if claimed(t, watcher, r.ID) {
			t.Error("a claim was taken over that could not be renewed for the outage")
		}
	})

	t.Run("looking for work takes dead claims away for all processes", func(t *testing.T) {
		holder, watcher, c, r, claim := setup(t)
		third := holder // has seen the claim, but asks only after the watcher
		ready := func() (ready int64) {
			t.Helper()
			if err := watcher.Recover(t.Context()); err != nil {
				t.Fatal(err)
			}
			queues, err := watcher.Queues(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, q := range queues {
				ready += q.Ready
			}
			return ready
		}
		if n := ready(); n != 0 {
			t.Errorf("%d ready under a fresh claim", n)
		}
		c.pass(lease)
		if n := ready(); n != 1 {
			t.Errorf("%d ready under a dead claim", n)
		}
		if err := holder.Renew(t.Context(), claim, lease); sdk.CodeOf(err) != sdk.Conflict {
			t.Errorf("Renew: %v", err)
		}
		if !claimed(t, third, r.ID) {
			t.Error("the request cannot be claimed")
		}
	})
}

func TestTakeAway(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "iib.db"), Options{})
	r := create(t, s, core.NewRequest{})
	_, claim, err := s.Claim(t.Context(), r.ID, "worker", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	var seen []heldRun
	err = s.read(t.Context(), func(t *tx) (err error) {
		seen, err = t.held()
		return err
	})
	if err != nil || len(seen) != 1 {
		t.Fatalf("held = %v, %v", seen, err)
	}
	// The worker comes to life between the look at its claim and the end of it.
	if err := s.Renew(t.Context(), claim, time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := s.takeAway(t.Context(), seen[0]); err != nil {
		t.Error(err)
	}
	if err := s.Renew(t.Context(), claim, time.Minute); err != nil {
		t.Errorf("Renew: %v", err)
	}
}

// busy returns SQLite's own error of a database that another has locked.
func busy(t *testing.T) error {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(t.TempDir(), "busy.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	holder, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	if _, err := holder.ExecContext(t.Context(), `BEGIN EXCLUSIVE`); err != nil {
		t.Fatal(err)
	}
	_, err = db.ExecContext(t.Context(), `CREATE TABLE x (y)`)
	return err
}

func TestClockJumps(t *testing.T) {
	c := &clock{at: time.Now().Round(0)} // a bare wall clock
	s := open(t, filepath.Join(t.TempDir(), "iib.db"), Options{Now: c.now})

	t.Run("a history does not go back in time", func(t *testing.T) {
		r := create(t, s, core.NewRequest{Reason: "accepted"})
		c.pass(-time.Hour)
		got, err := s.Patch(t.Context(), r.ID, &core.Change{State: core.InProgress, Reason: "an hour before"})
		if err != nil {
			t.Fatal(err)
		}
		if got.State().Time.Before(r.State().Time) {
			t.Errorf("an entry of %v follows one of %v", got.State().Time, r.State().Time)
		}
	})

	t.Run("a clock that is set back does not prolong a delay", func(t *testing.T) {
		r := create(t, s, core.NewRequest{})
		_, claim, err := s.Claim(t.Context(), r.ID, "w", time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Release(t.Context(), claim, 10*time.Second, false); err != nil {
			t.Fatal(err)
		}
		if claimed(t, s, r.ID) {
			t.Error("the delay did not hold")
		}
		c.pass(-time.Hour)
		if !claimed(t, s, r.ID) {
			t.Error("the delay grew by an hour")
		}
	})
}
