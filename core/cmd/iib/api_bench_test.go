package main

import (
	"bufio"
	"database/sql"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/iib-engine/iib/core/store/storetest"
)

// reportPercentiles reports latencies in milliseconds.
func reportPercentiles(b *testing.B, took []time.Duration) {
	b.Helper()
	if len(took) == 0 {
		b.Fatal("nothing was measured")
	}
	slices.Sort(took)
	for _, p := range []struct {
		unit  string
		share int
	}{{"p50-ms", 50}, {"p99-ms", 99}, {"max-ms", 100}} {
		at := took[min(len(took)-1, len(took)*p.share/100)]
		b.ReportMetric(float64(at.Microseconds())/1000, p.unit)
	}
}

// BenchmarkPostAtRate submits 300 requests a second to a server on SQLite,
// whether or not those before were answered. A submission is durable when it is
// answered. Latencies count from when it was due. In "running" workers of the
// same process run the requests meanwhile, on the same processors; in "queued"
// the queue is paused, as where workers have machines of their own.
func BenchmarkPostAtRate(b *testing.B) {
	b.Run("queued", func(b *testing.B) { benchmarkPostAtRate(b, true) })
	b.Run("running", func(b *testing.B) { benchmarkPostAtRate(b, false) })
}

func benchmarkPostAtRate(b *testing.B, paused bool) {
	const rate = 300
	p := startServer(b, fmt.Sprintf("plugin \"echo-handler\" {\n  kind = \"handler\"\n  path = %q\n}\n", example(b, "echo-handler")))
	if paused {
		p.want(exitOK, []string{"is paused"}, "queue", "pause", "default", "--reason", "the workers are elsewhere", "--server", p.url)
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	defer client.CloseIdleConnections()
	took := make([]time.Duration, b.N)
	var wg sync.WaitGroup
	begin := time.Now()
	b.ResetTimer()
	for i := range b.N {
		due := begin.Add(time.Duration(i) * time.Second / rate)
		time.Sleep(time.Until(due))
		wg.Go(func() {
			response, err := client.Post(p.url+"/api/v1/builds/echo", "application/json", strings.NewReader(`{"text":"hello"}`))
			if err != nil {
				b.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
			if response.StatusCode != http.StatusCreated {
				b.Errorf("got %d", response.StatusCode)
			}
			took[i] = time.Since(due)
		})
	}
	wg.Wait()
	b.StopTimer()
	reportPercentiles(b, took)
}

var storedRequests = flag.Int("stored", 1_000_000, "stored requests in BenchmarkListOverHTTP")

// BenchmarkListOverHTTP reads any page of a long list from a server, for each
// filter, and walks down below IDs. The floor is an answer without a list. What
// the first list after a start takes is reported by the first of them.
func BenchmarkListOverHTTP(b *testing.B) {
	p := startServer(b, "")
	p.stop()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(p.dataDir, "iib.db")+"?_pragma=busy_timeout(10000)&_txlock=immediate")
	if err != nil {
		b.Fatal(err)
	}
	tx, err := db.Begin()
	if err != nil {
		b.Fatal(err)
	}
	err = storetest.Fill(*storedRequests, func(query string, args ...any) error {
		_, err := tx.Exec(query, args...)
		return err
	})
	if err := errors.Join(err, tx.Commit(), db.Close()); err != nil {
		b.Fatal(err)
	}
	p.start()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}
	defer client.CloseIdleConnections()
	read := func(query string) (page listPage, took time.Duration) {
		begin := time.Now()
		response, err := client.Get(p.url + "/api/v1/builds" + query)
		if err != nil {
			b.Fatal(err)
		}
		defer response.Body.Close()
		data, err := io.ReadAll(response.Body)
		took = time.Since(begin)
		if err != nil || response.StatusCode != http.StatusOK {
			b.Fatalf("%s: %d: %s (%v)", query, response.StatusCode, data, err)
		}
		if err := json.Unmarshal(data, &page); err != nil {
			b.Fatal(err)
		}
		return page, took
	}
	b.Run("floor", func(b *testing.B) {
		var took []time.Duration
		for b.Loop() {
			begin := time.Now()
			response, err := client.Get(p.url + "/livez")
			if err != nil {
				b.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
			took = append(took, time.Since(begin))
		}
		reportPercentiles(b, took)
	})
	user, index := "user="+storetest.User(7), "from_index="+url.QueryEscape(storetest.Index(31))
	for _, c := range []struct{ name, filter string }{
		{"everything", "all_types=true"},
		{"the contract's types", ""},
		{"state", "state=complete"},
		{"in progress", "state=in_progress"},
		{"batch", "batch=77"},
		{"type", "request_type=" + storetest.Types[3]},
		{"user", user},
		{"index image of many", "index_image=" + url.QueryEscape(storetest.Index(31))},
		{"index image of one", "index_image=" + url.QueryEscape(storetest.Image(4242))},
		{"from index", index},
		{"from index prefix", "from_index_startswith=" + url.QueryEscape(storetest.Index(1))},
		{"user, from index, state", user + "&" + index + "&state=complete"},
		{"verbose", "verbose=true"},
	} {
		b.Run(c.name, func(b *testing.B) {
			random := rand.New(rand.NewPCG(1, 1))
			first, begin := read("?" + c.filter)
			var took []time.Duration
			for b.Loop() {
				_, t := read(fmt.Sprintf("?%s&page=%d", c.filter, 1+random.IntN(max(first.Meta.Pages, 1))))
				took = append(took, t)
			}
			reportPercentiles(b, took)
			b.ReportMetric(float64(begin.Milliseconds()), "first-ms")
			b.ReportMetric(float64(first.Meta.Total), "matches")
		})
	}
	b.Run("below an ID", func(b *testing.B) {
		random := rand.New(rand.NewPCG(1, 1))
		var took []time.Duration
		for b.Loop() {
			_, t := read(fmt.Sprintf("?before=%d", 1+random.IntN(*storedRequests)))
			took = append(took, t)
		}
		reportPercentiles(b, took)
	})
}

// BenchmarkLogFollowers has 200 clients follow the log of one request, and
// measures how long after a line was written each of them has it.
func BenchmarkLogFollowers(b *testing.B) {
	const followers = 200
	p := startServer(b, actor(b, b.TempDir(), "handler", "actor-scribe"))
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: followers}}
	defer client.CloseIdleConnections()
	var mu sync.Mutex
	var delays []time.Duration
	for b.Loop() {
		status, build := p.post("/api/v1/builds/lines", `{"Lines": 30, "Milliseconds": 100}`)
		if status != http.StatusCreated {
			b.Fatalf("%d: %v", status, build)
		}
		var wg sync.WaitGroup
		for range followers {
			wg.Go(func() {
				response, err := client.Get(fmt.Sprintf("%s/api/v1/builds/%v/logs?follow=true", p.url, build["id"]))
				if err != nil {
					b.Error(err)
					return
				}
				defer response.Body.Close()
				connected, lines := time.Now(), 0
				for scanner := bufio.NewScanner(response.Body); scanner.Scan(); {
					stamp, text, _ := strings.Cut(scanner.Text(), " ")
					if !strings.Contains(text, " line ") {
						continue
					}
					lines++
					// What was there before the follower is no delay.
					if written, err := time.Parse("2006-01-02T15:04:05.000000Z", stamp); err == nil && written.After(connected) {
						mu.Lock()
						delays = append(delays, time.Since(written))
						mu.Unlock()
					}
				}
				if lines != 30 {
					b.Errorf("a follower saw %d lines", lines)
				}
			})
		}
		wg.Wait()
	}
	reportPercentiles(b, delays)
}
