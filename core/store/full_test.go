package store

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// TestDiskFull lets the database grow to its limit, where SQLite behaves as
// with a full disk: wherever in a transaction that happens, it undoes all of it.
func TestDiskFull(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "iib.db"), Options{})
	limit := func(pages int) {
		t.Helper()
		err := s.transact(t.Context(), func(ctx context.Context, q querier) error {
			var set int
			return q.QueryRowContext(ctx, fmt.Sprintf(`PRAGMA max_page_count = %d`, pages)).Scan(&set)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	pages := func() (n int) {
		t.Helper()
		err := s.read(t.Context(), func(t *tx) error { return t.row(`PRAGMA page_count`).Scan(&n) })
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	// Each size of reason meets the limit at another statement.
	stored := 0
	for round := range 12 {
		n := core.NewRequest{Type: "add", Reason: strings.Repeat("x", 300*round), Images: []string{fmt.Sprint("registry.test/x:", round)}}
		batch := &core.NewBatch{Requests: []core.NewRequest{n, n}}
		limit(pages() + 1 + round%3)
		var err error
		for err == nil {
			if _, _, err = s.Create(t.Context(), batch); err == nil {
				stored += 2
			}
		}
		if sdk.CodeOf(err) != sdk.Unavailable {
			t.Fatalf("Create on a full disk: %v", err)
		}
		if _, total, err := s.List(t.Context(), core.Filter{}, core.Page{}); total != int64(stored) || err != nil {
			t.Errorf("List finds %d, error %v; %d were stored", total, err, stored)
		}
		checkWhole(t, s)
		limit(1 << 30)
		if _, _, err := s.Create(t.Context(), batch); err != nil {
			t.Fatalf("Create when there is room again: %v", err)
		}
		stored += 2
	}
}
