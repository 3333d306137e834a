package store

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// BenchmarkHistory lists the history of a repository that has a million rows
// by 10,000 names, of which most are dead, and reports how long the slowest of
// a hundred took.
func BenchmarkHistory(b *testing.B) {
	const rows, names = 1_000_000, 10_000
	s, err := Open(b.Context(), b.TempDir(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	fillHistory(b, s, "bench/index", rows, names)

	const limit = 50
	for _, c := range []struct {
		name   string
		filter func() Filter
		last   int64 // offset of the last page that is asked for
	}{
		{"first page", func() Filter { return Filter{} }, 0},
		{"any page", func() Filter { return Filter{} }, rows - limit},
		{"one tag", func() Filter { return Filter{Name: benchName(rand.IntN(names))} }, rows/names - limit},
		{"alive", func() Filter { return Filter{Alive: true} }, names - limit},
		{"part of a name, rare", func() Filter { return Filter{Like: fmt.Sprint("-", rand.IntN(names), "X")} }, limit},
		{"part of a name, common", func() Filter { return Filter{Like: "V4"} }, 1000},
		{"part of a name, absent", func() Filter { return Filter{Like: "nothing"} }, 0},
		{"part of a name, alive", func() Filter { return Filter{Like: "99", Alive: true} }, 50},
	} {
		b.Run(c.name, func(b *testing.B) {
			var took []time.Duration
			for b.Loop() {
				offset := int64(0)
				if c.last > 0 {
					offset = rand.Int64N(c.last)
				}
				filter := c.filter()
				start := time.Now()
				if _, _, err := s.History(b.Context(), "bench/index", filter, offset, limit); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(start))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
		})
	}
}

func benchName(i int) string { return fmt.Sprintf("v%d.%d-%dx", i%7, i%40, i) }

// fillHistory writes a history as a long life would leave it: n rows by so
// many names, each moved again and again, a row a second.
func fillHistory(tb testing.TB, s *Store, name string, n, names int) {
	tb.Helper()
	content := []byte(`{"schemaVersion":2}`)
	d := digest.FromBytes(content)
	err := s.update(tb.Context(), func(t *tx) error {
		r, err := t.make(name)
		if err != nil {
			return err
		}
		if err := t.putManifest(r, d, &document{MediaType: typeImage}, content, lease{}, nil); err != nil {
			return err
		}
		if _, err := t.exec(`WITH RECURSIVE i (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM i WHERE i + 1 < ?1)
			INSERT INTO tags (repository, number, name, digest, starts, ends)
			SELECT ?2, i + 10, printf('v%d.%d-%dx', i % ?3 % 7, i % ?3 % 40, i % ?3), ?4, ?5 + i * 1000,
				CASE WHEN i + ?3 < ?1 THEN ?5 + (i + ?3) * 1000 END FROM i`,
			n, r.id, names, d, t.wall-int64(n)*1000); err != nil {
			return err
		}
		_, err = t.exec(`UPDATE repositories SET clock = ?, changes = ? WHERE id = ?`, t.wall, n+10, r.id)
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
}
