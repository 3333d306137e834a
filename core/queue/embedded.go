package queue

import (
	"crypto/rand"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/hibiken/asynq"

	"github.com/iib-engine/iib/sdk"
)

// embedded is a Redis inside this process. It listens on a loopback port with
// a password of its own, keeps nothing, and needs its clock driven: without
// that, keys with a time to live never expire.
type embedded struct {
	server   *miniredis.Miniredis
	password string
	stop     chan struct{}
	stopped  chan struct{}
}

const embeddedTick = 200 * time.Millisecond

func startEmbedded() (*embedded, error) {
	e := &embedded{server: miniredis.NewMiniRedis(), password: rand.Text(), stop: make(chan struct{}), stopped: make(chan struct{})}
	e.server.RequireAuth(e.password)
	if err := e.server.Start(); err != nil {
		return nil, sdk.Errorf(sdk.Unavailable, "start the embedded Redis: %v", err)
	}
	go e.drive()
	return e, nil
}

func (e *embedded) drive() {
	defer close(e.stopped)
	ticker := time.NewTicker(embeddedTick)
	defer ticker.Stop()
	last := time.Now()
	for {
		select {
		case <-e.stop:
			return
		case now := <-ticker.C:
			e.server.FastForward(now.Sub(last))
			last = now
		}
	}
}

func (e *embedded) connection() asynq.RedisConnOpt {
	return asynq.RedisClientOpt{Addr: e.server.Addr(), Password: e.password}
}

func (e *embedded) close() {
	close(e.stop)
	<-e.stopped
	e.server.Close()
}
