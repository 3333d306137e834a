package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"github.com/iib-engine/iib/sdk/sdktest/poll"
)

func TestGroupCommit(t *testing.T) {
	open := func(t *testing.T) *group {
		db, err := sql.Open("sqlite", filepath.Join(t.TempDir(), "group.db"))
		if err != nil {
			t.Fatal(err)
		}
		g := newGroup(db)
		t.Cleanup(func() {
			g.close()
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		})
		if err := g.write(t.Context(), execute(`CREATE TABLE n (i INTEGER PRIMARY KEY CHECK (i <> 13))`)); err != nil {
			t.Fatal(err)
		}
		return g
	}
	count := func(t *testing.T, g *group) (n int) {
		t.Helper()
		err := g.write(t.Context(), func(ctx context.Context, q querier) error {
			return q.QueryRowContext(ctx, `SELECT count(*) FROM n`).Scan(&n)
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}

	t.Run("a write that fails does not disturb those beside it", func(t *testing.T) {
		g := open(t)
		var wg sync.WaitGroup
		for i := range 40 {
			wg.Go(func() {
				err := g.write(t.Context(), execute(fmt.Sprintf(`INSERT INTO n VALUES (%d)`, i)))
				if (err != nil) != (i == 13) {
					t.Errorf("write %d: %v", i, err)
				}
			})
		}
		wg.Wait()
		if n := count(t, g); n != 39 {
			t.Errorf("there are %d rows", n)
		}
	})

	t.Run("a transaction that one write breaks is done again without it", func(t *testing.T) {
		g := open(t)
		// The first write holds the line up until the others are in it.
		begun, proceed := make(chan struct{}), make(chan struct{})
		var once sync.Once
		results := make([]error, 3)
		var wg sync.WaitGroup
		wg.Go(func() {
			results[0] = g.write(t.Context(), func(ctx context.Context, q querier) error {
				once.Do(func() { close(begun); <-proceed })
				return execute(`INSERT INTO n VALUES (1)`)(ctx, q)
			})
		})
		<-begun
		wg.Go(func() {
			results[1] = g.write(t.Context(), func(ctx context.Context, q querier) error {
				// As SQLite itself does when the disk is full.
				if err := execute(`ROLLBACK`)(ctx, q); err != nil {
					return err
				}
				return errors.New("broken")
			})
		})
		wg.Go(func() { results[2] = g.write(t.Context(), execute(`INSERT INTO n VALUES (2)`)) })
		poll.Until(t, "two writes wait", func() bool { return len(g.line) == 2 })
		close(proceed)
		wg.Wait()
		if results[0] != nil || results[1] == nil || results[2] != nil {
			t.Errorf("results %v", results)
		}
		if n := count(t, g); n != 2 {
			t.Errorf("there are %d rows", n)
		}
	})

	t.Run("a write whose caller has gone before it began is not done", func(t *testing.T) {
		g := open(t)
		begun, proceed := make(chan struct{}), make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			err := g.write(t.Context(), func(context.Context, querier) error { close(begun); <-proceed; return nil })
			if err != nil {
				t.Error(err)
			}
		})
		<-begun
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan error)
		go func() { gone <- g.write(ctx, execute(`INSERT INTO n VALUES (1)`)) }()
		poll.Until(t, "one write waits", func() bool { return len(g.line) == 1 })
		cancel()
		if err := <-gone; err != context.Canceled {
			t.Errorf("write: %v", err)
		}
		close(proceed)
		wg.Wait()
		if n := count(t, g); n != 0 {
			t.Errorf("there are %d rows", n)
		}
	})

	t.Run("a write after the end is refused", func(t *testing.T) {
		g := open(t)
		g.close()
		if err := g.write(t.Context(), execute(`INSERT INTO n VALUES (1)`)); err != errClosed {
			t.Errorf("write: %v", err)
		}
	})
}

func execute(query string) operation {
	return func(ctx context.Context, q querier) error {
		_, err := q.ExecContext(ctx, query)
		return err
	}
}
