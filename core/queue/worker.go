package queue

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/hibiken/asynq"

	"github.com/iib-engine/iib/sdk"
)

// Spec is one queue that this process works on.
type Spec struct {
	Name string
	// Concurrency is how many requests of the queue run here at once.
	Concurrency int
}

// Serve calls run for every hint of one of the queues, each in a goroutine of its
// own, until ctx ends; then it waits for the calls to return. A hint that run can
// do nothing with it gives to any other worker by pass; until it returns, it takes
// no more.
// The context of run is ctx, not asynq's: asynq gives up on a task whose
// context has ended without waiting for it.
//
// What comes out of changes replaces specs. A queue that is changed gets a new
// number at once: what ran on it goes on, and does not count. One that is gone is
// served no longer, but for what runs.
//
// asynq bounds concurrency per server, so each queue is a server of its own.
func (q *Queue) Serve(ctx context.Context, specs []Spec, changes <-chan []Spec, run Run) error {
	s := &serving{queue: q, ctx: ctx, run: run, servers: make(map[Spec]*asynq.Server)}
	defer s.stop()
	if err := s.apply(specs); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case specs := <-changes:
			if err := s.apply(specs); err != nil {
				q.options.Logger.Error("some queues are served as before", "err", err)
			}
		}
	}
}

// Run runs what is next in a queue, or passes the hint.
type Run func(ctx context.Context, queue string, pass func())

// serving is what Serve has begun.
type serving struct {
	queue   *Queue
	ctx     context.Context
	run     Run
	servers map[Spec]*asynq.Server
	// ending are the servers that wait for what runs on them.
	ending sync.WaitGroup
}

// apply starts the servers that specs add, and then ends those that they lack. A
// new one that cannot be started leaves the others as they are.
func (s *serving) apply(specs []Spec) error {
	for _, spec := range specs {
		if s.servers[spec] != nil {
			continue
		}
		server, err := s.start(spec)
		if err != nil {
			return err
		}
		s.servers[spec] = server
	}
	for spec, server := range s.servers {
		if !slices.Contains(specs, spec) {
			delete(s.servers, spec)
			s.end(server)
		}
	}
	return nil
}

func (s *serving) start(spec Spec) (*asynq.Server, error) {
	q := s.queue
	server := asynq.NewServerFromRedisClient(q.redis, asynq.Config{
		Concurrency:       spec.Concurrency,
		Queues:            map[string]int{queueName(spec.Name): 1},
		TaskCheckInterval: q.options.Poll,
		// A request's own deadline ends it; the engine hands it back on shutdown.
		ShutdownTimeout: time.Hour,
		Logger:          quietLogger{q.options.Logger},
		LogLevel:        asynq.WarnLevel,
	})
	handler := asynq.HandlerFunc(func(context.Context, *asynq.Task) error {
		s.run(s.ctx, spec.Name, func() { q.pass(s.ctx, spec.Name) })
		return nil
	})
	if err := server.Start(handler); err != nil {
		return nil, sdk.Errorf(sdk.Unavailable, "serve queue %s: %v", spec.Name, err)
	}
	return server, nil
}

// end lets a server take nothing more, at once, and end when nothing runs on it.
func (s *serving) end(server *asynq.Server) {
	server.Stop()
	s.ending.Go(server.Shutdown)
}

// stop ends all servers and waits for what runs.
func (s *serving) stop() {
	for _, server := range s.servers {
		s.ending.Go(server.Shutdown)
	}
	s.ending.Wait()
}

// pass gives a hint to other workers. If that fails, the engine repeats it later.
func (q *Queue) pass(ctx context.Context, queue string) {
	if err := q.Tell(ctx, queue); err != nil && ctx.Err() == nil {
		q.options.Logger.Warn("a request could not be passed to another worker", "queue", queue, "err", err)
	}
}

// quietLogger puts asynq's own lines among the engine's.
type quietLogger struct{ log *slog.Logger }

func (l quietLogger) Debug(args ...any) { l.log.Debug(fmt.Sprint(args...)) }
func (l quietLogger) Info(args ...any)  { l.log.Debug(fmt.Sprint(args...)) }
func (l quietLogger) Warn(args ...any)  { l.log.Warn(fmt.Sprint(args...)) }
func (l quietLogger) Error(args ...any) { l.log.Error(fmt.Sprint(args...)) }

// Fatal is for a server that cannot go on; the process goes on without it.
func (l quietLogger) Fatal(args ...any) { l.log.Error(fmt.Sprint(args...)) }
