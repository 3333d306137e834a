package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// taskType is the one kind of task that there is.
const taskType = "iib:request"

// taskOptions keep asynq from retrying, ending or keeping a task by itself: the
// engine does all of that. Their capacity is their length, so that appending
// makes a copy.
var taskOptions = slices.Clip([]asynq.Option{asynq.MaxRetry(0), asynq.Timeout(24 * 365 * time.Hour), asynq.Retention(0)})

// stuckAfter is how long a dispatch may be in a worker's hands without a claim
// before it is repeated. asynq's own recovery of a dead worker's task takes
// more than a minute, so it is not what we rely on.
const stuckAfter = 3 * time.Second

// repeatAfter is how long a dispatch that Redis has confirmed is believed. A
// Redis that lost its data is noticed by its marker, at once.
const repeatAfter = 30 * time.Second

// markerKey tells a Redis that kept its data from one that lost it.
const markerKey = "iib:marker"

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
	options   Options
	embedded  *embedded
	redis     redis.UniversalClient
	client    *asynq.Client
	inspector *asynq.Inspector

	mu      sync.Mutex
	marker  string
	checked time.Time
	// sent are the dispatches that Redis has confirmed.
	sent map[string]sentTask
}

type sentTask struct {
	first, confirmed time.Time
	repeats          int
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
// in Ping and Enqueue.
func Open(o Options) (*Queue, error) {
	if o.Poll == 0 {
		o.Poll = 40 * time.Millisecond
	}
	quieten.Do(func() { redis.SetLogger(quietRedis{o.Logger}) })
	q := &Queue{options: o, sent: make(map[string]sentTask)}
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
	q.inspector = asynq.NewInspectorFromRedisClient(q.redis)
	return q, nil
}

// Ping reports whether Redis answers: an error is Denied if it refuses the
// credentials, and Unavailable else.
func (q *Queue) Ping(ctx context.Context) error {
	if err := q.redis.Ping(ctx).Err(); err != nil {
		return unanswered(err)
	}
	return nil
}

// unanswered gives an error of Redis its code.
func unanswered(err error) error {
	for _, refusal := range []string{"WRONGPASS", "NOAUTH", "NOPERM"} {
		if redis.HasErrorPrefix(err, refusal) {
			return sdk.Errorf(sdk.Denied, "redis refuses the credentials: %v", err)
		}
	}
	return sdk.Errorf(sdk.Unavailable, "redis does not answer: %v", err)
}

// Close ends the connection, and the embedded Redis with all that it holds.
func (q *Queue) Close() error {
	err := q.redis.Close()
	if q.embedded != nil {
		q.embedded.close()
	}
	return err
}

// Enqueue tells the workers of d.Queue that a request waits. Repeating it is
// cheap and harmless: one attempt of a request is one task, and one that is
// known to be in Redis is not sent again.
func (q *Queue) Enqueue(ctx context.Context, d core.Dispatch) error {
	if err := q.checkMarker(ctx); err != nil {
		return err
	}
	id := fmt.Sprintf("%d.%d", d.Request, d.Epoch)
	now := time.Now()
	q.mu.Lock()
	known, repeated := q.sent[id]
	q.mu.Unlock()
	if repeated && now.Sub(known.confirmed) < min(repeatAfter, stuckAfter<<min(known.repeats, 4)) {
		return nil
	}
	if !repeated {
		known.first = now
	}
	task := id
	if repeated {
		alive, err := q.alive(d.Queue, taskID(id, known.repeats))
		if err != nil {
			return err
		}
		if !alive {
			known.repeats++
		}
		task = taskID(id, known.repeats)
	}
	payload, err := encode(d)
	if err != nil {
		return sdk.Errorf(sdk.Internal, "encode dispatch %s: %v", id, err)
	}
	_, err = q.client.EnqueueContext(ctx, asynq.NewTask(taskType, payload),
		append(taskOptions, asynq.Queue(queueName(d.Queue)), asynq.TaskID(task))...)
	if err != nil && !errors.Is(err, asynq.ErrTaskIDConflict) {
		return sdk.Errorf(sdk.Unavailable, "enqueue request %d: %v", d.Request, err)
	}
	known.confirmed = now
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sent[id] = known
	q.forget(now)
	return nil
}

func taskID(id string, repeats int) string {
	if repeats == 0 {
		return id
	}
	return fmt.Sprintf("%s.%d", id, repeats)
}

// alive reports whether a task waits in Redis for a worker. One that a worker
// holds, although nobody has claimed its request, is not: that worker is dead.
func (q *Queue) alive(queue, task string) (bool, error) {
	info, err := q.inspector.GetTaskInfo(queueName(queue), task)
	if errors.Is(err, asynq.ErrTaskNotFound) || errors.Is(err, asynq.ErrQueueNotFound) {
		return false, nil
	}
	if err != nil {
		return false, sdk.Errorf(sdk.Unavailable, "look for task %s: %v", task, err)
	}
	return info.State == asynq.TaskStatePending || info.State == asynq.TaskStateScheduled, nil
}

// forget drops what was sent long ago, so that the memory stays bounded.
func (q *Queue) forget(now time.Time) {
	const bound = 100_000
	if len(q.sent) < bound {
		return
	}
	for id, s := range q.sent {
		if now.Sub(s.confirmed) > repeatAfter {
			delete(q.sent, id)
		}
	}
}

// checkMarker forgets what was sent when Redis has lost its data. It asks at
// most every quarter of a second, however many requests wait.
func (q *Queue) checkMarker(ctx context.Context) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if time.Since(q.checked) < 250*time.Millisecond {
		return nil
	}
	fresh := fmt.Sprint(time.Now().UnixNano())
	set, err := q.redis.SetNX(ctx, markerKey, fresh, 0).Result()
	if err != nil {
		return sdk.Errorf(sdk.Unavailable, "redis does not answer: %v", err)
	}
	marker := fresh
	if !set {
		if marker, err = q.redis.Get(ctx, markerKey).Result(); err != nil {
			return sdk.Errorf(sdk.Unavailable, "redis does not answer: %v", err)
		}
	}
	if marker != q.marker {
		q.marker = marker
		clear(q.sent)
	}
	q.checked = time.Now()
	return nil
}

// queueName keeps queue names apart from whatever else uses the same Redis.
func queueName(name string) string { return "iib:" + strings.ToLower(name) }
