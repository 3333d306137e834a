package store

import (
	"database/sql"
	"path/filepath"
	"strings"
	"testing"
)

// Every filter of a list is answered from the listing in memory, or from one
// batch. What a list then reads of the database is found by keys, however many
// requests there are.
func TestListsReadByKeys(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "iib.db"), Options{})
	ids, args := in([]int64{3, 2, 1})
	for name, c := range map[string]struct {
		query string
		args  []any
	}{
		"the requests of a page":       {`SELECT ` + requestColumns + `WHERE r.id IN (` + ids + `) ORDER BY r.id DESC`, args},
		"the members of a batch":       {`SELECT ` + listedColumns + `WHERE r.batch = $1 ORDER BY r.id DESC`, []any{int64(1)}},
		"whether anything has changed": {`SELECT value FROM counters WHERE name = 'event'`, nil},
		"what has changed": {`SELECT ` + listedColumns + `WHERE r.id IN
			(SELECT e.request FROM events e WHERE e.sequence > $1 AND e.request IS NOT NULL)`, []any{int64(1)}},
		"a pull spec or a prefix of one": {`SELECT spec FROM images WHERE spec >= $1 ORDER BY spec LIMIT 1`, []any{"q"}},
		"the events after one":           {`SELECT sequence FROM events WHERE sequence > $1 ORDER BY sequence LIMIT 10`, []any{int64(1)}},
		"the events of a request":        {`SELECT sequence FROM events WHERE request = $1 AND sequence > $2 ORDER BY sequence LIMIT 10`, []any{int64(1), int64(1)}},
	} {
		t.Run(name, func(t *testing.T) {
			var steps []string
			err := s.read(t.Context(), func(tx *tx) error {
				return tx.each(func(rows *sql.Rows) error {
					var id, parent, unused int
					var step string
					err := rows.Scan(&id, &parent, &unused, &step)
					steps = append(steps, step)
					return err
				}, `EXPLAIN QUERY PLAN `+c.query, c.args...)
			})
			if err != nil || len(steps) == 0 {
				t.Fatal(err, steps)
			}
			for _, step := range steps {
				if strings.HasPrefix(step, "SCAN") || strings.Contains(step, "TEMP B-TREE") {
					t.Errorf("%s", strings.Join(steps, "\n"))
				}
			}
		})
	}
}
