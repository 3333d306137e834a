package store

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/core/coretest"
	"github.com/iib-engine/iib/sdk"
)

// crowd stores so many requests that wait in the queue "default", of so many
// users.
func crowd(t testing.TB, s *Store, requests, users int) {
	t.Helper()
	for u := range users {
		batch := &core.NewBatch{User: fmt.Sprintf("user-%d", u)}
		for range requests / users {
			batch.Requests = append(batch.Requests, core.NewRequest{Type: "add", Queue: "default"})
		}
		if _, _, err := s.Create(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
}

// choices are the queries that find what is next.
var choices = map[string]struct {
	query string
	args  []any
	// index is what it must read by.
	index string
}{
	"whether there is anything":  {anyShare, []any{"default"}, "shares_turn"},
	"the users in their turn":    {nextShares, []any{"default", int64(-1), int64(0), "", sharesPage}, "shares_turn"},
	"a user's oldest request":    {nextRun, []any{"default", "user-1", int64(1)}, "requests_open"},
	"whether a user has nothing": {`SELECT 1` + openRuns + ` LIMIT 1`, []any{"default", "user-1"}, "requests_open"},
	"what runs":                  {heldRuns, nil, "runs_held"},
}

// The choice of the next request reads by keys, however many wait.
func TestTheNextRequestIsFoundByKeys(t *testing.T) {
	t.Run("SQLite", func(t *testing.T) {
		s := open(t, filepath.Join(t.TempDir(), "iib.db"), Options{})
		for name, c := range choices {
			plan := explain(t, s, `EXPLAIN QUERY PLAN `+c.query, c.args, 4)
			// The index of what runs has nothing else, so that it is read whole.
			if !strings.Contains(plan, c.index) || strings.Contains(plan, "TEMP B-TREE") || strings.Contains(plan, "SCAN r") {
				t.Errorf("%s:\n%s", name, plan)
			}
		}
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		s, err := Open(t.Context(), coretest.StartPostgres(t).Database(), Options{Keys: testKeys})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		crowd(t, s, 5000, 500)
		if _, err := s.pools[0].ExecContext(t.Context(), `ANALYZE`); err != nil {
			t.Fatal(err)
		}
		for name, c := range choices {
			plan := explain(t, s, `EXPLAIN `+c.query, c.args, 1)
			if !strings.Contains(plan, c.index) || strings.Contains(plan, "Seq Scan") {
				t.Errorf("%s:\n%s", name, plan)
			}
		}
	})
}

// explain returns the last of so many columns of a plan.
func explain(t *testing.T, s *Store, query string, args []any, columns int) string {
	t.Helper()
	var plan strings.Builder
	err := s.read(t.Context(), func(tx *tx) error {
		return tx.each(func(rows *sql.Rows) error {
			values := make([]any, columns)
			for i := range values {
				values[i] = new(any)
			}
			err := rows.Scan(values...)
			fmt.Fprintln(&plan, *values[columns-1].(*any))
			return err
		}, query, args...)
	})
	if err != nil {
		t.Fatal(err)
	}
	return plan.String()
}

// A process of an older version stores requests, and tells nothing of their users.
func TestRequestsOfAnOlderProgramAreFound(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "iib.db"), Options{})
	r := create(t, s, core.NewRequest{})
	err := s.write(t.Context(), func(t *tx) error { return t.exec(`DELETE FROM shares`) })
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.ClaimNext(t.Context(), "default", "w", time.Hour); sdk.CodeOf(err) != sdk.NotFound {
		t.Errorf("before: %v", err)
	}
	if err := s.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, _, err := s.ClaimNext(t.Context(), "default", "w", time.Hour)
	if err != nil || got.ID != r.ID {
		t.Errorf("after: %+v, %v", got, err)
	}
}

// BenchmarkClaimNext takes requests of which 10,000 wait: of one user, of many,
// and of as many as there are requests.
func BenchmarkClaimNext(b *testing.B) {
	for name, address := range map[string]func(b *testing.B) string{
		"SQLite":     func(b *testing.B) string { return "sqlite://" + filepath.Join(b.TempDir(), "iib.db") },
		"PostgreSQL": func(b *testing.B) string { return coretest.StartPostgres(b).Database() },
	} {
		for _, users := range []int{1, 100, 10_000} {
			b.Run(fmt.Sprintf("%s/%d users", name, users), func(b *testing.B) {
				s, err := Open(b.Context(), address(b), Options{Keys: testKeys})
				if err != nil {
					b.Fatal(err)
				}
				defer s.Close()
				crowd(b, s, 10_000, users)
				for b.Loop() {
					r, claim, err := s.ClaimNext(b.Context(), "default", "w", time.Hour)
					if err != nil {
						b.Fatal(err)
					}
					if _, err := s.Change(b.Context(), claim, &core.Change{State: core.Complete, Reason: "Done."}); err != nil {
						b.Fatal(r.ID, err)
					}
				}
			})
		}
	}
}
