package store_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/iib-engine/iib/plugins/registry/internal/quay"
	"github.com/iib-engine/iib/plugins/registry/internal/store"
)

// BenchmarkTagList asks over HTTP for the history of a repository that has
// 100,000 rows by 1,000 names, and reports how long the slowest of a hundred
// took. The issue wants at most 20 ms.
func BenchmarkTagList(b *testing.B) {
	const rows, names = 100_000, 1000
	s := openStore(b, b.TempDir(), store.Options{})
	store.FillHistory(b, s, "bench/index", rows, names)
	server := httptest.NewServer(&quay.Handler{Store: s})
	b.Cleanup(server.Close)
	for _, c := range []struct {
		name  string
		query func() string
	}{
		{"first page", func() string { return "limit=100" }},
		{"any page", func() string { return fmt.Sprintf("limit=100&page=%d", 1+rand.IntN(rows/100)) }},
		{"one tag", func() string {
			i := rand.IntN(names)
			return fmt.Sprintf("specificTag=v%d.%d-%dx", i%7, i%40, i)
		}},
		{"alive", func() string { return fmt.Sprintf("onlyActiveTags=true&page=%d", 1+rand.IntN(names/50)) }},
		{"like", func() string { return fmt.Sprintf("filter_tag_name=like:-%d", rand.IntN(names)) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			var took []time.Duration
			for b.Loop() {
				start := time.Now()
				resp, err := http.Get(server.URL + "/api/v1/repository/bench/index/tag/?" + c.query())
				if err != nil {
					b.Fatal(err)
				}
				_, err = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if err != nil || resp.StatusCode != http.StatusOK {
					b.Fatal(resp.Status, err)
				}
				took = append(took, time.Since(start))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
		})
	}
}
