package store

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/core/coretest"
	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/sdktest/poll"
)

func TestAMigrationSaysWhichProgramsWorkOnItsResult(t *testing.T) {
	for text, want := range map[string]int64{
		"-- oldest: 1\nSELECT 1;": 1, "-- oldest: 12\n": 12,
		"": 0, "SELECT 1;": 0, "-- oldest: 13\n": 0, "-- oldest: 0\n": 0, "-- oldest: eleven\n": 0, "\n-- oldest: 11\n": 0,
	} {
		m, err := newMigration("0012_colours", text, 12)
		if m.oldest != want || (err == nil) != (want > 0) {
			t.Errorf("%q: %d, %v", text, m.oldest, err)
		}
	}
	if _, err := newMigration("0012_colours", "-- oldest: 1\n", 11); err == nil || !strings.Contains(err.Error(), "want number 11") {
		t.Errorf("a number that is left out: %v", err)
	}
}

// onBoth runs a test with an empty SQLite database and an empty PostgreSQL one.
func onBoth(t *testing.T, test func(t *testing.T, address string)) {
	t.Run("SQLite", func(t *testing.T) { test(t, "sqlite://"+filepath.Join(t.TempDir(), "iib.db")) })
	t.Run("PostgreSQL", func(t *testing.T) { test(t, coretest.StartPostgres(t).Database()) })
}

func mustOpen(t *testing.T, address string) *Store {
	t.Helper()
	s, err := Open(t.Context(), address, Options{Keys: testKeys})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// release is a program with further migrations.
type release []migration

// next returns the release after r, whose migration says for which programs its
// result is.
func (r release) next(t *testing.T, oldest int, sql string) release {
	t.Helper()
	version := len(r) + 1
	m, err := newMigration(fmt.Sprintf("%04d_next", version), fmt.Sprintf("-- oldest: %d\n%s", oldest, sql), int64(version))
	if err != nil {
		t.Fatal(err)
	}
	return append(r[:len(r):len(r)], m)
}

func thisRelease(t *testing.T) release {
	t.Helper()
	steps, err := migrations()
	if err != nil {
		t.Fatal(err)
	}
	return steps
}

// starts has a release start on a database that a store is open on.
func (r release) starts(t *testing.T, s *Store) error {
	t.Helper()
	return migrate(t.Context(), s.pools[0], s.dialect, r)
}

func TestReleasesSideBySide(t *testing.T) {
	onBoth(t, func(t *testing.T, address string) {
		this := thisRelease(t)
		newest := len(this)
		running := mustOpen(t, address)
		expanded := this.next(t, newest, `ALTER TABLE runs ADD COLUMN mood <text> NOT NULL DEFAULT 'calm'; CREATE TABLE moods (name <text> PRIMARY KEY) <table>;`)
		if err := expanded.starts(t, running); err != nil {
			t.Fatal(err)
		}
		t.Run("programs work on what a newer one has only added to, and start on it", func(t *testing.T) {
			for what, s := range map[string]*Store{"running": running, "started": mustOpen(t, address)} {
				r := create(t, s, core.NewRequest{})
				_, claim, err := s.ClaimNext(t.Context(), "default", "w", time.Minute)
				if err != nil || claim.Request != r.ID {
					t.Errorf("%s: %+v, %v", what, claim, err)
				}
				if _, err := s.Change(t.Context(), claim, &core.Change{State: core.Complete, Reason: "done"}); err != nil {
					t.Errorf("%s: %v", what, err)
				}
			}
			c, err := Examine(t.Context(), address, testKeys)
			if want := (Condition{Schema: int64(newest) + 1, Newest: int64(newest), Oldest: int64(newest)}); err != nil ||
				c.Schema != want.Schema || c.Newest != want.Newest || c.Oldest != want.Oldest {
				t.Errorf("%+v, %v", c, err)
			}
		})
		contracted := expanded.next(t, newest+1, `DROP TABLE moods;`)
		if err := contracted.starts(t, running); err != nil {
			t.Fatal(err)
		}
		t.Run("a program that a migration leaves behind is told what to do", func(t *testing.T) {
			_, err := Open(t.Context(), address, Options{})
			want := fmt.Sprintf("the database has schema version %d, which takes programs that know at least version %d, "+
				"and this program knows versions up to %d: start a newer program, or restore a backup from before the upgrade",
				newest+2, newest+1, newest)
			if sdk.CodeOf(err) != sdk.Conflict || err.Error() != want {
				t.Errorf("%v", err)
			}
		})
		t.Run("what is left behind stays behind, whatever comes later", func(t *testing.T) {
			if err := contracted.next(t, 1, `SELECT 1;`).starts(t, running); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(t.Context(), address, Options{}); sdk.CodeOf(err) != sdk.Conflict {
				t.Errorf("%v", err)
			}
			if err := expanded.starts(t, running); err != nil {
				t.Errorf("a release that knows what is needed: %v", err)
			}
		})
		t.Run("what runs goes on", func(t *testing.T) { create(t, running, core.NewRequest{}) })
	})
}

// The releases before the rule refused whatever was newer, and had no column for it.
func TestADatabaseOfBeforeTheRule(t *testing.T) {
	onBoth(t, func(t *testing.T, address string) {
		this := thisRelease(t)
		const before = 8
		s := &Store{}
		if err := s.connect(address, 1); err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		exec := func(query string, args ...any) {
			t.Helper()
			if _, err := s.pools[0].ExecContext(t.Context(), s.dialect.types.Replace(query), args...); err != nil {
				t.Fatal(err)
			}
		}
		exec(`CREATE TABLE migrations (version <int> PRIMARY KEY, name <text> NOT NULL, time <int> NOT NULL) <table>`)
		for _, m := range this[:before] {
			exec(m.sql)
			exec(`INSERT INTO migrations (version, name, time) VALUES ($1, $2, 1)`, m.version, m.name)
		}
		c, err := Examine(t.Context(), address, testKeys)
		if err != nil || c.Schema != before || c.Oldest != oldestOf(this) {
			t.Errorf("%+v, %v", c, err)
		}
		create(t, mustOpen(t, address), core.NewRequest{})
		stated := make(map[int64]int64)
		rows, err := s.pools[0].QueryContext(t.Context(), `SELECT version, oldest FROM migrations`)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			var version, oldest int64
			if err := rows.Scan(&version, &oldest); err != nil {
				t.Fatal(err)
			}
			stated[version] = oldest
		}
		want := make(map[int64]int64)
		for _, m := range this {
			if want[m.version] = m.oldest; m.version <= before {
				want[m.version] = 0
			}
		}
		if diff := cmp.Diff(want, stated); diff != "" {
			t.Error(diff)
		}
	})
}

// Somebody holds a table that a migration wants, and the others do not wait for
// either.
func TestAMigrationIsInNobodysWay(t *testing.T) {
	t.Parallel()
	address := coretest.StartPostgres(t).Database()
	s := mustOpen(t, address)
	r := create(t, s, core.NewRequest{})
	holder, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close(t.Context())
	held, err := holder.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := held.Exec(t.Context(), `SELECT 1 FROM runs WHERE request = $1 FOR UPDATE`, r.ID); err != nil {
		t.Fatal(err)
	}
	migrated := make(chan error, 1)
	next := thisRelease(t).next(t, 1, `ALTER TABLE requests ADD COLUMN mood <text>; ALTER TABLE runs ADD COLUMN mood <text>;`)
	go func() { migrated <- next.starts(t, s) }()
	poll.Until(t, "the migration waits for a table", func() bool {
		waiting := 0
		err := s.pools[0].QueryRowContext(t.Context(), `SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'`).Scan(&waiting)
		return err != nil || waiting > 0
	})
	create(t, s, core.NewRequest{})
	select {
	case err := <-migrated:
		t.Fatalf("it did not wait: %v", err)
	default:
	}
	if err := held.Commit(t.Context()); err != nil {
		t.Errorf("who held the table: %v", err)
	}
	if err := <-migrated; err != nil {
		t.Errorf("migrate: %v", err)
	}
}

// A newer program beside this one writes events of a kind that this one does not
// know, and has begun to deliver them.
func TestEventsOfANewerProgram(t *testing.T) {
	onBoth(t, func(t *testing.T, address string) {
		ctx, s := t.Context(), mustOpen(t, address)
		turn, err := s.TakeTurn(ctx, "bell", "w", time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		r := create(t, s, core.NewRequest{})
		err = s.write(ctx, func(t *tx) error {
			t.notes = append(t.notes,
				note{kind: "forecast", time: t.now, batch: r.Batch, request: r.ID, position: 1, state: "expected"},
				note{kind: core.BatchEvent, time: t.now, batch: r.Batch, state: core.InProgress})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		want := []int64{1, 2, 4}
		events, err := s.EventsAfter(ctx, 0, 10)
		var got []int64
		for _, e := range events {
			got = append(got, e.Sequence)
		}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("events: %v %s", err, diff)
		}
		if events, err := s.RequestEventsAfter(ctx, r.ID, 0, 10); err != nil || len(events) != 1 {
			t.Errorf("events of the request: %+v, %v", events, err)
		}
		deliver := func(want ...int64) {
			t.Helper()
			due, err := s.Due(ctx, turn, 10)
			if err != nil {
				t.Fatal(err)
			}
			var got []int64
			var outcomes []core.Outcome
			for _, d := range due {
				got = append(got, d.Event.Sequence)
				outcomes = append(outcomes, core.Outcome{Sequence: d.Event.Sequence})
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("due: %s", diff)
			}
			if err := s.Settle(ctx, turn, outcomes); err != nil {
				t.Fatal(err)
			}
		}
		deliver(want...)
		err = s.write(ctx, func(t *tx) error {
			return t.exec(`INSERT INTO deliveries (notifier, sequence, batch, hand, attempts, parked, tried, not_before, error)
				VALUES ('bell', 3, $1, 0, 0, CAST(0 AS BOOLEAN), 0, 0, '')`, r.Batch)
		})
		if err != nil {
			t.Fatal(err)
		}
		if count, err := s.Replay(ctx, "bell", core.Replay{From: 1}); err != nil || count != 3 {
			t.Errorf("replay: %d, %v", count, err)
		}
		deliver(want...)
		deliver()
	})
}
