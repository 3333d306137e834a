package queue

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/iib-engine/iib/sdk"
)

// taskType is the one kind of task that there is.
const taskType = "iib:request"

// taskOptions keep asynq from retrying, ending or keeping a task by itself: the
// engine does all of that. Their capacity is their length, so that appending
// makes a copy.
var taskOptions = slices.Clip([]asynq.Option{asynq.MaxRetry(0), asynq.Timeout(24 * 365 * time.Hour), asynq.Retention(0)})

// fillTime is how long a process may add hints to a queue while others do not,
// unless it says that it goes on. It is also how long nobody does when it dies.
const fillTime = time.Second

// Options say where the queue lives.
type Options struct {
	// URL is a Redis address: redis://, rediss://, redis-sentinel://. Empty
	// means a Redis inside this process, which keeps nothing.
	URL    string
	Logger *slog.Logger
	// Poll is how often an idle worker asks for work; zero means 40 ms, which
	// costs about 3 % of one core while idle.
	Poll time.Duration
}

// Queue is a connection to the queues. It is safe for concurrent use.
type Queue struct {
	options  Options
	embedded *embedded
	redis    redis.UniversalClient
	client   *asynq.Client
}

// quieten gives the client's own lines, one for each connection that cannot be
// made, a place in the log. The client has one logger in the whole process.
var quieten sync.Once

type quietRedis struct{ log *slog.Logger }

func (q quietRedis) Printf(_ context.Context, format string, args ...any) {
	if q.log != nil {
		q.log.Debug(fmt.Sprintf(format, args...))
	}
}

// Open connects to the queues. An unreachable Redis is not an error: it shows
// in Ping, Tell and Fill.
func Open(o Options) (*Queue, error) {
	if o.Poll == 0 {
		o.Poll = 40 * time.Millisecond
	}
	quieten.Do(func() { redis.SetLogger(quietRedis{o.Logger}) })
	q := &Queue{options: o}
	var connection asynq.RedisConnOpt
	if o.URL == "" {
		server, err := startEmbedded()
		if err != nil {
			return nil, err
		}
		q.embedded = server
		connection = server.connection()
	} else {
		var err error
		if connection, err = asynq.ParseRedisURI(o.URL); err != nil {
			// The URL may hold a password, so it is not repeated.
			return nil, sdk.Errorf(sdk.Invalid, "the Redis URL is not of a known form: use redis://host:port/db")
		}
	}
	q.redis = connection.MakeRedisClient().(redis.UniversalClient)
	q.client = asynq.NewClientFromRedisClient(q.redis)
	return q, nil
}

// Ping reports whether Redis answers: an error is Denied if it refuses the
// credentials, and Unavailable else.
func (q *Queue) Ping(ctx context.Context) error {
	return unanswered(q.redis.Ping(ctx).Err())
}

// Close ends the connection, and the embedded Redis with all that it holds.
func (q *Queue) Close() error {
	err := q.redis.Close()
	if q.embedded != nil {
		q.embedded.close()
	}
	return err
}

// Tell adds a hint to a queue.
func (q *Queue) Tell(ctx context.Context, queue string) error {
	_, err := q.client.EnqueueContext(ctx, asynq.NewTask(taskType, payload), append(taskOptions, asynq.Queue(queueName(queue)))...)
	if err != nil {
		return sdk.Errorf(sdk.Unavailable, "tell queue %s that a request waits: %v", queue, err)
	}
	return nil
}

// Fill adds hints to a queue until no fewer than ready wait for workers. Those
// that workers have taken do not count: whoever took one has found a request, or
// died before. While one process fills a queue, others leave it alone, or all
// would add what is missing.
func (q *Queue) Fill(ctx context.Context, queue string, ready int64) error {
	if missing, err := q.missing(ctx, queue, ready); err != nil || missing <= 0 {
		return err
	}
	lock := fillingKey(queue)
	locked, err := q.redis.SetNX(ctx, lock, 1, fillTime).Result()
	if err != nil || !locked {
		return unanswered(err)
	}
	defer q.redis.Del(context.WithoutCancel(ctx), lock)
	missing, err := q.missing(ctx, queue, ready)
	if err != nil {
		return err
	}
	extended := time.Now()
	for range missing {
		if time.Since(extended) > fillTime/4 {
			if err := q.redis.Expire(ctx, lock, fillTime).Err(); err != nil {
				return unanswered(err)
			}
			extended = time.Now()
		}
		if err := q.Tell(ctx, queue); err != nil {
			return err
		}
	}
	return nil
}

// missing is how many of so many hints a queue does not have. The list is asynq's
// own of tasks that wait; its inspector would weigh them, too.
func (q *Queue) missing(ctx context.Context, queue string, ready int64) (int64, error) {
	waiting, err := q.redis.LLen(ctx, "asynq:{"+queueName(queue)+"}:pending").Result()
	return ready - waiting, unanswered(err)
}

// fillingKey is held by the process that fills a queue.
func fillingKey(queue string) string { return "iib:filling:" + queueName(queue) }

// unanswered is the error of a call that Redis did not answer, nil for nil: Denied
// if it refuses the credentials, and Unavailable else.
func unanswered(err error) error {
	if err == nil {
		return nil
	}
	for _, refusal := range []string{"WRONGPASS", "NOAUTH", "NOPERM"} {
		if redis.HasErrorPrefix(err, refusal) {
			return sdk.Errorf(sdk.Denied, "redis refuses the credentials: %v", err)
		}
	}
	return sdk.Errorf(sdk.Unavailable, "redis does not answer: %v", err)
}

// queueName keeps queue names apart from whatever else uses the same Redis.
func queueName(name string) string { return "iib:" + strings.ToLower(name) }
