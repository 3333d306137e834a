package queue

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/core/coretest"
	"github.com/iib-engine/iib/sdk"
)

// worker serves queues and notes what runs.
type worker struct {
	mu   sync.Mutex
	ran  []int64
	now  int
	most int
	// hold, if not nil, keeps runs from ending.
	hold chan struct{}
	// away gives everything to others.
	away bool
}

func (w *worker) run(ctx context.Context, d core.Dispatch, pass func()) {
	request := d.Request
	if w.away {
		pass()
		<-ctx.Done()
		return
	}
	w.mu.Lock()
	w.ran = append(w.ran, request)
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

func (w *worker) seen() []int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(slices.Values(w.ran))
}

func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-ticker.C {
		if condition() {
			return
		}
	}
	t.Fatalf("in a minute it did not come true that %s", what)
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

func enqueue(t *testing.T, q *Queue, queue string, requests ...int64) {
	t.Helper()
	for _, id := range requests {
		if err := q.Enqueue(t.Context(), core.Dispatch{Request: id, Queue: queue, Epoch: 1}); err != nil {
			t.Fatal(err)
		}
	}
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
			t.Run("runs each dispatch once, however often it is told", func(t *testing.T) {
				q, w := open(t, url), new(worker)
				enqueue(t, q, "once", 1, 2, 1, 2, 3)
				stop := serve(t, q, w, Spec{Name: "once", Concurrency: 4})
				defer stop()
				await(t, "three requests ran", func() bool { return len(w.seen()) >= 3 })
				enqueue(t, q, "once", 1, 2, 3)
				enqueue(t, q, "once", 4)
				await(t, "the fourth ran", func() bool { return slices.Contains(w.seen(), 4) })
				if got := w.seen(); !slices.Equal(got, []int64{1, 2, 3, 4}) {
					t.Errorf("ran %v", got)
				}
			})
			t.Run("runs the next attempt of a request", func(t *testing.T) {
				q, w := open(t, url), new(worker)
				stop := serve(t, q, w, Spec{Name: "again", Concurrency: 1})
				defer stop()
				for epoch := range int64(2) {
					if err := q.Enqueue(t.Context(), core.Dispatch{Request: 7, Queue: "again", Epoch: epoch}); err != nil {
						t.Fatal(err)
					}
				}
				await(t, "it ran twice", func() bool { return len(w.seen()) == 2 })
			})
			t.Run("keeps to each queue's concurrency, and queues apart", func(t *testing.T) {
				q := open(t, url)
				narrow, wide := &worker{hold: make(chan struct{})}, new(worker)
				enqueue(t, q, "narrow", 10, 11, 12, 13)
				enqueue(t, q, "wide", 20, 21, 22)
				stopNarrow := serve(t, q, narrow, Spec{Name: "narrow", Concurrency: 2})
				defer stopNarrow()
				await(t, "two run", func() bool { return len(narrow.seen()) == 2 })
				stopWide := serve(t, q, wide, Spec{Name: "wide", Concurrency: 3})
				defer stopWide()
				await(t, "the other queue is not held up", func() bool { return len(wide.seen()) == 3 })
				close(narrow.hold)
				await(t, "all ran", func() bool { return len(narrow.seen()) == 4 })
				if narrow.most != 2 {
					t.Errorf("%d ran at once", narrow.most)
				}
			})
			t.Run("ends runs when it stops, and waits for them", func(t *testing.T) {
				q, w := open(t, url), &worker{hold: make(chan struct{})}
				enqueue(t, q, "stop", 30)
				stop := serve(t, q, w, Spec{Name: "stop", Concurrency: 1})
				await(t, "it runs", func() bool { return len(w.seen()) == 1 })
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
					enqueue(t, q, "passed", 1, 2, 3)
					w := new(worker)
					stopOther := serve(t, open(t, url), w, Spec{Name: "passed", Concurrency: 1})
					defer stopOther()
					await(t, "another worker ran all", func() bool { return len(w.seen()) == 3 })
				})
			}
			t.Run("tells a Redis that lost its data again", func(t *testing.T) {
				q, w := open(t, url), new(worker)
				enqueue(t, q, "lost", 40, 41)
				if err := q.redis.FlushAll(t.Context()).Err(); err != nil {
					t.Fatal(err)
				}
				// The engine repeats what waits; this is its loop.
				stop := serve(t, q, w, Spec{Name: "lost", Concurrency: 2})
				defer stop()
				await(t, "both ran", func() bool {
					enqueue(t, q, "lost", 40, 41)
					return slices.Equal(w.seen(), []int64{40, 41})
				})
			})
			t.Run("tells again what is in the hands of a dead worker", func(t *testing.T) {
				q := open(t, url)
				enqueue(t, q, "dead", 50)
				// A worker that took the task and died leaves it active.
				name, id := queueName("dead"), "50.1"
				moved := q.redis.LMove(t.Context(), "asynq:{"+name+"}:pending", "asynq:{"+name+"}:active", "RIGHT", "LEFT")
				if moved.Err() != nil || moved.Val() != id {
					t.Fatalf("%q, %v", moved.Val(), moved.Err())
				}
				if err := q.redis.HSet(t.Context(), "asynq:{"+name+"}:t:"+id, "state", "active").Err(); err != nil {
					t.Fatal(err)
				}
				q.mu.Lock()
				known := q.sent[id]
				known.confirmed = time.Now().Add(-2 * stuckAfter)
				q.sent[id] = known
				q.mu.Unlock()
				w := new(worker)
				stop := serve(t, q, w, Spec{Name: "dead", Concurrency: 1})
				defer stop()
				enqueue(t, q, "dead", 50)
				await(t, "it ran", func() bool { return slices.Equal(w.seen(), []int64{50}) })
			})
		})
	}
}

func TestRedisThatIsAway(t *testing.T) {
	q := open(t, "redis://127.0.0.1:1/0")
	if err := q.Ping(t.Context()); sdk.CodeOf(err) != sdk.Unavailable {
		t.Errorf("ping: %v", err)
	}
	if err := q.Enqueue(t.Context(), core.Dispatch{Request: 1, Queue: "default"}); sdk.CodeOf(err) != sdk.Unavailable {
		t.Errorf("enqueue: %v", err)
	}
	if _, err := Open(Options{URL: "http://user:secret@host"}); sdk.CodeOf(err) != sdk.Invalid {
		t.Errorf("a URL of another kind: %v", err)
	}
}
