package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// engines are the two shapes of an engine: one process, and an API with a
// worker on PostgreSQL and Redis. Both run a handler that does nothing.
var engines = []struct {
	name  string
	start func(b *testing.B, plugin string) *process
}{
	{"one process", func(b *testing.B, plugin string) *process { return startServer(b, plugin) }},
	{"API and worker", func(b *testing.B, plugin string) *process { return startCluster(b, 1, plugin).process }},
}

// BenchmarkIdleToRunning is how long an idle engine takes from the answer to a
// submission until a worker runs it, by the first line of its log.
func BenchmarkIdleToRunning(b *testing.B) {
	for _, engine := range engines {
		b.Run(engine.name, func(b *testing.B) {
			p := engine.start(b, echoBlock(b))
			var took []time.Duration
			for b.Loop() {
				status, answer := p.post("/api/v1/builds/echo", `{"text":"hello"}`)
				accepted := time.Now()
				if status != http.StatusCreated {
					b.Fatalf("%d %v", status, answer)
				}
				p.wait(answer["id"])
				running, _ := p.ran(answer["id"])
				took = append(took, running.Sub(accepted))
			}
			reportPercentiles(b, took)
		})
	}
}

// BenchmarkTenThousandQueued submits 10,000 requests at once, durably, while
// workers run them as they would. Reported is when the last one was accepted,
// and when it had ended.
func BenchmarkTenThousandQueued(b *testing.B) {
	const requests, clients = 10_000, 32
	for _, engine := range engines {
		b.Run(engine.name, func(b *testing.B) {
			p := engine.start(b, echoBlock(b))
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
			defer client.CloseIdleConnections()
			for range b.N {
				began := time.Now()
				var left atomic.Int64
				left.Store(requests)
				var wg sync.WaitGroup
				for range clients {
					wg.Go(func() {
						for left.Add(-1) >= 0 {
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
						}
					})
				}
				wg.Wait()
				b.ReportMetric(time.Since(began).Seconds(), "s-queued")
				for r := (&releases{process: p}); r.total("echo&state=in_progress") > 0; {
					time.Sleep(250 * time.Millisecond) // a list of thousands is work as well
				}
				b.ReportMetric(time.Since(began).Seconds(), "s-run")
			}
		})
	}
}

func echoBlock(b *testing.B) string {
	return fmt.Sprintf("plugin \"echo-handler\" {\n  kind = \"handler\"\n  path = %q\n}\n", example(b, "echo-handler"))
}
