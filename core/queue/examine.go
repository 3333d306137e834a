package queue

import (
	"context"
	"strings"
	"time"
)

// Condition is what Examine has found out about a Redis.
type Condition struct {
	Version string
	// Policy is its maxmemory-policy, such as "noeviction".
	Policy string
	// AppendOnly tells whether each change is written to its disk.
	AppendOnly bool
	// SaveFailed tells that its last attempt to save all that it holds failed;
	// Redis takes no writes then, unless it is told to.
	SaveFailed bool
	// Replica tells that it takes no writes, because it follows another.
	Replica bool
	// RoundTrip is how long a PING takes.
	RoundTrip time.Duration
}

// Examine looks at Redis and changes nothing in it. It asks INFO only, which
// services that hide CONFIG answer too.
func (q *Queue) Examine(ctx context.Context) (*Condition, error) {
	if err := q.Ping(ctx); err != nil {
		return nil, err
	}
	began := time.Now()
	if err := q.Ping(ctx); err != nil {
		return nil, err
	}
	c := &Condition{RoundTrip: time.Since(began)}
	text, err := q.redis.Info(ctx).Result()
	if err != nil {
		return nil, unanswered(err)
	}
	facts := make(map[string]string)
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		facts[name] = value
	}
	c.Version, c.Policy = facts["redis_version"], facts["maxmemory_policy"]
	c.Replica = facts["role"] == "slave"
	c.AppendOnly, c.SaveFailed = facts["aof_enabled"] == "1", facts["rdb_last_bgsave_status"] == "err"
	return c, nil
}
