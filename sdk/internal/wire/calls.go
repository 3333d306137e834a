package wire

import (
	"context"
	"crypto/rand"
	"sync"

	"github.com/iib-engine/iib/sdk"
)

// calls are the runs of one plugin that may call the engine, by token.
type calls struct {
	mu sync.Mutex
	m  map[string]*call
}

// call is a run. Its context ends with it.
type call struct {
	ctx    context.Context
	job    sdk.JobHost
	bundle sdk.BundleHost
}

// begin admits a run's calls to the engine until the returned function is
// called; calls that are under way are then cancelled.
func (c *calls) begin(ctx context.Context, run *call) (token string, end func()) {
	token = rand.Text()
	var cancel context.CancelFunc
	run.ctx, cancel = context.WithCancel(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.m[token] = run
	return token, func() {
		c.mu.Lock()
		delete(c.m, token)
		c.mu.Unlock()
		cancel()
	}
}

func (c *calls) find(token string) (*call, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if run, ok := c.m[token]; ok {
		return run, nil
	}
	if token == "" {
		return nil, sdk.Errorf(sdk.Denied, "the call names no run")
	}
	return nil, sdk.Errorf(sdk.Conflict, "the run that this call belongs to has ended")
}

// within joins a call's context with its run's: it is cancelled when either is.
func (run *call) within(ctx context.Context) (context.Context, context.CancelFunc) {
	joined, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(run.ctx, func() { cancel(context.Cause(run.ctx)) })
	return joined, func() {
		stop()
		cancel(context.Canceled)
	}
}
