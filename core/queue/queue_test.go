package queue

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/iib-engine/iib/core/coretest"
	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/sdktest/poll"
)

// worker serves queues and notes what runs.
type worker struct {
	mu   sync.Mutex
	ran  int
	now  int
	most int
	// hold, if not nil, keeps runs from ending.
	hold chan struct{}
	// away gives everything to others.
	away bool
}

func (w *worker) run(ctx context.Context, _ string, pass func()) {
	if w.away {
		pass()
		<-ctx.Done()
		return
	}
	w.mu.Lock()
	w.ran++
	w.now++
	w.most = max(w.most, w.now)
	hold := w.hold
	w.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
		}
	}
	w.mu.Lock()
	w.now--
	w.mu.Unlock()
}

func (w *worker) seen() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ran
}

func serve(t *testing.T, q *Queue, w *worker, specs ...Spec) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- q.Serve(ctx, specs, nil, w.run) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

func tell(t *testing.T, q *Queue, queue string, times int) {
	t.Helper()
	for range times {
		if err := q.Tell(t.Context(), queue); err != nil {
			t.Fatal(err)
		}
	}
}

func fill(t *testing.T, q *Queue, queue string, ready int64) {
	t.Helper()
	if err := q.Fill(t.Context(), queue, ready); err != nil {
		t.Fatal(err)
	}
}

// pending is how many hints wait for workers.
func pending(t *testing.T, q *Queue, queue string) int64 {
	t.Helper()
	missing, err := q.missing(t.Context(), queue, 0)
	if err != nil {
		t.Fatal(err)
	}
	return -missing
}

func open(t *testing.T, url string) *Queue {
	t.Helper()
	q, err := Open(Options{URL: url, Logger: slog.New(slog.DiscardHandler), Poll: 5 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = q.Close() })
	return q
}

func TestQueue(t *testing.T) {
	for name, start := range map[string]func(testing.TB) string{
		"embedded": func(testing.TB) string { return "" }, "Redis": coretest.StartRedis,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := start(t)
			t.Run("runs once for each hint", func(t *testing.T) {
				q, w := open(t, url), new(worker)
				tell(t, q, "once", 3)
				stop := serve(t, q, w, Spec{Name: "once", Concurrency: 4})
				defer stop()
				poll.Until(t, "three ran", func() bool { return w.seen() == 3 })
				tell(t, q, "once", 1)
				poll.Until(t, "the fourth ran", func() bool { return w.seen() == 4 })
			})
			t.Run("is filled up to what is ready and not beyond", func(t *testing.T) {
				q := open(t, url)
				tell(t, q, "full", 2)
				for _, ready := range []int64{0, 1, 2, 7, 7, 3} {
					fill(t, q, "full", ready)
				}
				if n := pending(t, q, "full"); n != 7 {
					t.Errorf("%d hints wait", n)
				}
			})
			t.Run("is filled once by many at once", func(t *testing.T) {
				q := open(t, url)
				var wg sync.WaitGroup
				for range 8 {
					wg.Go(func() {
						if err := q.Fill(context.WithoutCancel(t.Context()), "many", 100); err != nil {
							t.Error(err)
						}
					})
				}
				wg.Wait()
				if n := pending(t, q, "many"); n != 100 {
					t.Errorf("%d hints wait", n)
				}
			})
			t.Run("keeps to each queue's concurrency, and queues apart", func(t *testing.T) {
				q := open(t, url)
				narrow, wide := &worker{hold: make(chan struct{})}, new(worker)
				tell(t, q, "narrow", 4)
				tell(t, q, "wide", 3)
				stopNarrow := serve(t, q, narrow, Spec{Name: "narrow", Concurrency: 2})
				defer stopNarrow()
				poll.Until(t, "two run", func() bool { return narrow.seen() == 2 })
				stopWide := serve(t, q, wide, Spec{Name: "wide", Concurrency: 3})
				defer stopWide()
				poll.Until(t, "the other queue is not held up", func() bool { return wide.seen() == 3 })
				close(narrow.hold)
				poll.Until(t, "all ran", func() bool { return narrow.seen() == 4 })
				if narrow.most != 2 {
					t.Errorf("%d ran at once", narrow.most)
				}
			})
			t.Run("ends runs when it stops, and waits for them", func(t *testing.T) {
				q, w := open(t, url), &worker{hold: make(chan struct{})}
				tell(t, q, "stop", 1)
				stop := serve(t, q, w, Spec{Name: "stop", Concurrency: 1})
				poll.Until(t, "it runs", func() bool { return w.seen() == 1 })
				stop()
				if w.now != 0 {
					t.Error("the run goes on")
				}
			})
			if url != "" {
				t.Run("lets a worker pass on what it cannot take", func(t *testing.T) {
					q := open(t, url)
					stop := serve(t, q, &worker{away: true}, Spec{Name: "passed", Concurrency: 2})
					defer stop()
					tell(t, q, "passed", 3)
					w := new(worker)
					stopOther := serve(t, open(t, url), w, Spec{Name: "passed", Concurrency: 1})
					defer stopOther()
					poll.Until(t, "another worker ran all", func() bool { return w.seen() == 3 })
				})
			}
			t.Run("is filled again where Redis lost its data", func(t *testing.T) {
				q, w := open(t, url), new(worker)
				tell(t, q, "lost", 2)
				if err := q.redis.FlushAll(t.Context()).Err(); err != nil {
					t.Fatal(err)
				}
				fill(t, q, "lost", 2)
				stop := serve(t, q, w, Spec{Name: "lost", Concurrency: 2})
				defer stop()
				poll.Until(t, "both ran", func() bool { return w.seen() == 2 })
			})
			t.Run("is filled again where a worker took a hint and died", func(t *testing.T) {
				q := open(t, url)
				tell(t, q, "dead", 1)
				// It leaves its task active.
				key := "asynq:{" + queueName("dead") + "}:"
				if err := q.redis.LMove(t.Context(), key+"pending", key+"active", "RIGHT", "LEFT").Err(); err != nil {
					t.Fatal(err)
				}
				fill(t, q, "dead", 1)
				w := new(worker)
				stop := serve(t, q, w, Spec{Name: "dead", Concurrency: 1})
				defer stop()
				poll.Until(t, "it ran", func() bool { return w.seen() == 1 })
			})
			t.Run("is filled again where a process died while it did that", func(t *testing.T) {
				q := open(t, url)
				if err := q.redis.SetNX(t.Context(), fillingKey("left"), 1, fillTime).Err(); err != nil {
					t.Fatal(err)
				}
				poll.Until(t, "another process filled it", func() bool {
					fill(t, q, "left", 1)
					return pending(t, q, "left") == 1
				})
			})
		})
	}
}

func TestRedisThatIsAway(t *testing.T) {
	q := open(t, "redis://127.0.0.1:1/0")
	if err := q.Ping(t.Context()); sdk.CodeOf(err) != sdk.Unavailable {
		t.Errorf("ping: %v", err)
	}
	if err := q.Tell(t.Context(), "default"); sdk.CodeOf(err) != sdk.Unavailable {
		t.Errorf("tell: %v", err)
	}
	if err := q.Fill(t.Context(), "default", 1); sdk.CodeOf(err) != sdk.Unavailable {
		t.Errorf("fill: %v", err)
	}
	if _, err := Open(Options{URL: "http://user:secret@host"}); sdk.CodeOf(err) != sdk.Invalid {
		t.Errorf("a URL of another kind: %v", err)
	}
}
