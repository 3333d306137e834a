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
// Of the dispatch it is told the request and the trace. One that it cannot take
// it gives to any other worker by pass; until it returns, it takes no more.
// The context of run is ctx, not asynq's: asynq gives up on a task whose
// context has ended without waiting for it.
//
// asynq bounds concurrency per server, so each queue is a server of its own.
func (q *Queue) Serve(ctx context.Context, specs []Spec, run func(ctx context.Context, d core.Dispatch, pass func())) error {
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
			run(ctx, d, func() { q.pass(ctx, spec.Name, task.Payload()) })
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

// pass tells the workers of a queue again what one of them was told. If that
// fails, the engine repeats it later.
func (q *Queue) pass(ctx context.Context, queue string, payload []byte) {
	_, err := q.client.EnqueueContext(ctx, asynq.NewTask(taskType, payload), append(taskOptions, asynq.Queue(queueName(queue)))...)
	if err != nil && ctx.Err() == nil {
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
