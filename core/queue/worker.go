package queue

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/hibiken/asynq"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// Spec is one queue that this process works on.
type Spec struct {
	Name string
	// Concurrency is how many requests of the queue run here at once.
	Concurrency int
}

// Serve calls run for every request that waits on one of the queues, each in a
// goroutine of its own, until ctx ends; then it waits for the calls to return.
// Of the dispatch it is told the request and the trace.
// The context of run is ctx, not asynq's: asynq gives up on a task whose
// context has ended without waiting for it.
//
// asynq bounds concurrency per server, so each queue is a server of its own.
func (q *Queue) Serve(ctx context.Context, specs []Spec, run func(ctx context.Context, d core.Dispatch)) error {
	servers := make([]*asynq.Server, 0, len(specs))
	stop := func() {
		var wg sync.WaitGroup
		for _, server := range servers {
			wg.Go(server.Shutdown)
		}
		wg.Wait()
	}
	for _, spec := range specs {
		server := asynq.NewServerFromRedisClient(q.redis, asynq.Config{
			Concurrency:       spec.Concurrency,
			Queues:            map[string]int{queueName(spec.Name): 1},
			TaskCheckInterval: q.options.Poll,
			// A request's own deadline ends it; the engine hands it back on shutdown.
			ShutdownTimeout: time.Hour,
			Logger:          quietLogger{q.options.Logger},
			LogLevel:        asynq.WarnLevel,
		})
		handler := asynq.HandlerFunc(func(_ context.Context, task *asynq.Task) error {
			d, err := decode(task.Payload())
			if err != nil {
				return fmt.Errorf("decode the payload of a task: %w", asynq.SkipRetry)
			}
			run(ctx, d)
			return nil
		})
		if err := server.Start(handler); err != nil {
			stop()
			return sdk.Errorf(sdk.Unavailable, "serve queue %s: %v", spec.Name, err)
		}
		servers = append(servers, server)
	}
	<-ctx.Done()
	stop()
	return nil
}

// quietLogger puts asynq's own lines among the engine's.
type quietLogger struct{ log *slog.Logger }

func (l quietLogger) Debug(args ...any) { l.log.Debug(fmt.Sprint(args...)) }
func (l quietLogger) Info(args ...any)  { l.log.Debug(fmt.Sprint(args...)) }
func (l quietLogger) Warn(args ...any)  { l.log.Warn(fmt.Sprint(args...)) }
func (l quietLogger) Error(args ...any) { l.log.Error(fmt.Sprint(args...)) }

// Fatal is for a server that cannot go on; the process goes on without it.
func (l quietLogger) Fatal(args ...any) { l.log.Error(fmt.Sprint(args...)) }
