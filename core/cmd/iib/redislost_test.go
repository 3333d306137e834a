package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/core/coretest"
	"github.com/iib-engine/iib/core/engine"
	"github.com/iib-engine/iib/core/queue"
	"github.com/iib-engine/iib/core/store"
)

// waiting stores so many requests that wait for a worker, and keeps a Redis told
// of them until the test ends.
func waiting(t testing.TB, requests int) *coretest.Redis {
	t.Helper()
	redis := coretest.NewRedis(t)
	s, err := store.Open(t.Context(), coretest.StartPostgres(t).Database(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for left := requests; left > 0; left -= 1000 {
		batch := &core.NewBatch{User: "ada"}
		for range min(left, 1000) {
			batch.Requests = append(batch.Requests, core.NewRequest{Type: "add", Queue: "default", Params: json.RawMessage(`{}`), Reason: "It waits."})
		}
		if _, _, err := s.Create(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	q, err := queue.Open(queue.Options{URL: redis.URL(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	e := engine.New(engine.Options{Store: s, Queue: q, Settings: &engine.Settings{}, Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		e.Reconcile(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		_ = q.Close()
		_ = s.Close()
	})
	return redis
}

// refilled waits until Redis knows of so many requests, and tells how long that
// took.
func refilled(t testing.TB, redis *coretest.Redis, requests int) time.Duration {
	t.Helper()
	began := time.Now()
	for range poll(t) {
		line, err := redis.Do("LLEN asynq:{iib:default}:pending")
		if err != nil {
			continue
		}
		switch n, err := strconv.Atoi(strings.TrimPrefix(line, ":")); {
		case err != nil:
			t.Fatalf("redis answered %q", line)
		case n > requests:
			t.Fatalf("redis knows of %d requests, and there are %d", n, requests)
		case n == requests:
			return time.Since(began)
		}
	}
	return 0
}

// 5 seconds are the aim on a quiet machine.
const refillTime = 30 * time.Second

func TestALostRedisIsFilledAgainFromTheStore(t *testing.T) {
	t.Parallel()
	const requests = 10_000
	redis := waiting(t, requests)
	refilled(t, redis, requests)
	for name, lose := range map[string]func(){
		"flushed": func() {
			if _, err := redis.Do("FLUSHALL"); err != nil {
				t.Fatal(err)
			}
		},
		"replaced by an empty one": func() { redis.Kill(); redis.Start() },
	} {
		lose()
		took := refilled(t, redis, requests)
		t.Logf("a Redis that was %s knows of %d requests after %s", name, requests, took.Round(time.Millisecond))
		if took > refillTime {
			t.Errorf("a Redis that was %s was filled again after %s", name, took)
		}
	}
}

// BenchmarkRefillRedis is the time until a lost Redis knows of 10,000 requests.
func BenchmarkRefillRedis(b *testing.B) {
	const requests = 10_000
	redis := waiting(b, requests)
	refilled(b, redis, requests)
	for b.Loop() {
		if _, err := redis.Do("FLUSHALL"); err != nil {
			b.Fatal(err)
		}
		refilled(b, redis, requests)
	}
}
