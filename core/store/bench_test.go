package store

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/core/store/storetest"
	"github.com/iib-engine/iib/sdk"
)

var (
	rate = flag.Int("rate", 300, "submissions a second in BenchmarkCreateAtRate")
	rows = flag.Int("rows", 1_000_000, "stored requests in BenchmarkList")
	// A server for benchmarks flushes to its disk, unlike those of the tests.
	benchAddress = flag.String("address", "", "database for the benchmarks, empty and thrown away after; a file if not given")
)

func openBench(b *testing.B) *Store {
	b.Helper()
	key := Key{ID: "k", Bytes: bytes.Repeat([]byte{1}, 32)}
	address := *benchAddress
	if address == "" {
		address = "sqlite://" + filepath.Join(b.TempDir(), "iib.db")
	}
	s, err := Open(b.Context(), address, Options{Keys: []Key{key}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	return s
}

// submissionOf returns an add of some bundles, about 2 KB of JSON.
func submissionOf(i int) *core.NewBatch {
	var images []string
	for j := range 4 {
		images = append(images, fmt.Sprintf("registry.test/namespace/operator-bundle-%d@sha256:%064d", j, i))
	}
	bundles, _ := json.Marshal(images)
	from := fmt.Sprintf("registry.test/namespace/index:v4.%d", i%20)
	fields := map[string]json.RawMessage{"bundles": bundles, "from_index": json.RawMessage(strconv.Quote(from))}
	for _, name := range []string{"binary_image", "index_image", "distribution_scope", "build_tags", "bundle_mapping", "organization"} {
		fields[name] = json.RawMessage(`null`)
	}
	params, _ := json.Marshal(map[string]any{"bundles": images, "from_index": from})
	return &core.NewBatch{User: "user-" + strconv.Itoa(i%50) + "@EXAMPLE.COM", Requests: []core.NewRequest{{
		Type: "add", Queue: "default", Target: from, Params: params, Fields: fields, Images: append(images, from),
		Secrets: map[string]sdk.Secret{"overwrite_from_index_token": "user:token"},
		Reason:  "The request was accepted.",
	}}}
}

// reportLatencies reports percentiles in milliseconds.
func reportLatencies(b *testing.B, took []time.Duration) {
	b.Helper()
	slices.Sort(took)
	for _, p := range []struct {
		unit string
		at   float64
	}{{"p50-ms", 0.5}, {"p99-ms", 0.99}, {"max-ms", 1}} {
		i := min(len(took)-1, int(p.at*float64(len(took))))
		b.ReportMetric(float64(took[i].Microseconds())/1000, p.unit)
	}
}

// BenchmarkCreateAtRate stores submissions that arrive at a steady rate,
// whether or not the ones before have been answered.
func BenchmarkCreateAtRate(b *testing.B) {
	s := openBench(b)
	took := make([]time.Duration, b.N)
	var wg sync.WaitGroup
	begin := time.Now()
	b.ResetTimer()
	for i := range b.N {
		due := begin.Add(time.Duration(i) * time.Second / time.Duration(*rate))
		time.Sleep(time.Until(due))
		wg.Go(func() {
			if _, _, err := s.Create(b.Context(), submissionOf(i)); err != nil {
				b.Error(err)
			}
			took[i] = time.Since(due)
		})
	}
	wg.Wait()
	reportLatencies(b, took)
}

// BenchmarkCreate stores submissions of 32 clients as fast as it can.
func BenchmarkCreate(b *testing.B) {
	s := openBench(b)
	took := make([]time.Duration, b.N)
	next := make(chan int)
	var wg sync.WaitGroup
	b.ResetTimer()
	for range 32 {
		wg.Go(func() {
			for i := range next {
				begin := time.Now()
				if _, _, err := s.Create(b.Context(), submissionOf(i)); err != nil {
					b.Error(err)
				}
				took[i] = time.Since(begin)
			}
		})
	}
	for i := range b.N {
		next <- i
	}
	close(next)
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "creates/s")
	reportLatencies(b, took)
}

// BenchmarkLife takes requests through claim, five states, values and end, with
// 16 workers.
func BenchmarkLife(b *testing.B) {
	s := openBench(b)
	var wg sync.WaitGroup
	next := make(chan int)
	b.ResetTimer()
	for w := range 16 {
		wg.Go(func() {
			for i := range next {
				if err := live(b, s, i, strconv.Itoa(w)); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for i := range b.N {
		next <- i
	}
	close(next)
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
}

func live(b *testing.B, s *Store, i int, worker string) error {
	requests, _, err := s.Create(b.Context(), submissionOf(i))
	if err != nil {
		return err
	}
	_, claim, err := s.Claim(b.Context(), requests[0].ID, worker, time.Minute)
	if err != nil {
		return err
	}
	for _, reason := range []string{"resolving", "editing", "building", "pushing"} {
		change := &core.Change{State: core.InProgress, Reason: reason, Fields: map[string]json.RawMessage{reason: json.RawMessage(`"x"`)}}
		if _, err := s.Change(b.Context(), claim, change); err != nil {
			return err
		}
	}
	_, err = s.Change(b.Context(), claim, &core.Change{State: core.Complete, Reason: "done", Arches: []string{"amd64"}})
	return err
}

// BenchmarkList reads any page of a long list, for each filter. The first list
// of a process, which fills its listing, is reported as fill-ms.
func BenchmarkList(b *testing.B) {
	s := openBench(b)
	err := s.write(b.Context(), func(t *tx) error { return storetest.Fill(*rows, t.exec) })
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		filter core.Filter
	}{
		{"everything", core.Filter{}},
		{"state", core.Filter{State: core.Complete}},
		{"in progress", core.Filter{State: core.InProgress}},
		{"batch", core.Filter{HasBatch: true, Batch: 77}},
		{"type", core.Filter{Type: storetest.Types[3]}},
		{"user", core.Filter{User: storetest.User(7)}},
		{"index image of many", core.Filter{IndexImage: storetest.Index(31)}},
		{"index image of one", core.Filter{IndexImage: storetest.Image(4242)}},
		{"from index", core.Filter{FromIndex: storetest.Index(31)}},
		{"from index prefix", core.Filter{FromIndexPrefix: "registry.test/namespace/index:v4.1"}},
		{"user, from index, state", core.Filter{User: storetest.User(7), FromIndex: storetest.Index(17), State: core.Complete}},
		{"all that match everything", core.Filter{FromIndexPrefix: "registry.test/", State: core.Complete, Type: storetest.Types[1]}},
	} {
		b.Run(c.name, func(b *testing.B) {
			random := rand.New(rand.NewPCG(1, 1))
			begin := time.Now()
			_, total, err := s.List(b.Context(), c.filter, core.Page{Size: 20})
			if err != nil {
				b.Fatal(err)
			}
			filled := time.Since(begin)
			took := make([]time.Duration, 0, 1024)
			for b.Loop() {
				begin := time.Now()
				page := core.Page{Size: 20, Number: 1 + random.IntN(1+int(total)/20)}
				if _, _, err := s.List(b.Context(), c.filter, page); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(begin))
			}
			reportLatencies(b, took)
			b.ReportMetric(float64(filled.Milliseconds()), "first-ms")
			b.ReportMetric(float64(total), "matches")
		})
	}
}

// BenchmarkDue hands out and settles events behind as many that wait as there
// can be, each of a batch of its own.
func BenchmarkDue(b *testing.B) {
	s := openBench(b)
	turn, err := s.TakeTurn(b.Context(), "amqp", "w", time.Hour)
	if err != nil {
		b.Fatal(err)
	}
	for i := range maxWaiting/2 - 20 {
		if _, _, err := s.Create(b.Context(), submissionOf(i)); err != nil {
			b.Fatal(err)
		}
	}
	for {
		due, err := s.Due(b.Context(), turn, 500)
		if err != nil {
			b.Fatal(err)
		}
		if len(due) == 0 {
			break
		}
		var outcomes []core.Outcome
		for _, d := range due {
			outcomes = append(outcomes, core.Outcome{Sequence: d.Event.Sequence, Error: "no", Retry: time.Hour})
		}
		if err := s.Settle(b.Context(), turn, outcomes); err != nil {
			b.Fatal(err)
		}
	}
	b.ResetTimer()
	for i := range b.N {
		if _, _, err := s.Create(b.Context(), submissionOf(i)); err != nil {
			b.Fatal(err)
		}
		due, err := s.Due(b.Context(), turn, 16)
		if err != nil || len(due) != 2 {
			b.Fatalf("due: %d, %v", len(due), err)
		}
		if err := s.Settle(b.Context(), turn, []core.Outcome{{Sequence: due[0].Event.Sequence}, {Sequence: due[1].Event.Sequence}}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFloor appends to a file and flushes it, at the same rate and with
// about as many bytes as a submission: what the disk and the machine give.
func BenchmarkFloor(b *testing.B) {
	f, err := os.Create(filepath.Join(b.TempDir(), "floor"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	page := make([]byte, 64<<10)
	took := make([]time.Duration, b.N)
	begin := time.Now()
	for i := range b.N {
		due := begin.Add(time.Duration(i) * time.Second / time.Duration(*rate))
		time.Sleep(time.Until(due))
		if _, err := f.Write(page); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
		took[i] = time.Since(due)
	}
	reportLatencies(b, took)
}
