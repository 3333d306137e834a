package engine_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iib-engine/iib/core"
)

// mute is a store that does not answer a ping while it is cut off.
type mute struct {
	core.Store
	cut   atomic.Bool
	pings atomic.Int64
}

func (m *mute) Ping(ctx context.Context) error {
	m.pings.Add(1)
	if m.cut.Load() {
		<-ctx.Done()
		return errors.New("no answer")
	}
	return nil
}

func TestAWorkerKnowsThatItIsCutOff(t *testing.T) {
	w := newWorld(t, nil)
	synctest.Test(t, func(t *testing.T) {
		m := &mute{Store: w.store}
		e := w.engine("worker-1")
		e.Store = m
		if !e.Reachable(t.Context()) {
			t.Error("a store that answers counts as away")
		}
		m.cut.Store(true)
		began := time.Now()
		if e.Reachable(t.Context()) || time.Since(began) > 2*time.Second {
			t.Errorf("found out after %s", time.Since(began))
		}
		asked := m.pings.Load()
		if e.Reachable(t.Context()) || m.pings.Load() != asked {
			t.Error("the next caller is not told at once")
		}
		back := make(chan struct{})
		go func() {
			defer close(back)
			e.AwaitStore(t.Context())
		}()
		time.Sleep(time.Minute)
		select {
		case <-back:
			t.Fatal("the store is not back")
		default:
		}
		m.cut.Store(false)
		<-back
		if !e.Reachable(t.Context()) {
			t.Error("a store that is back counts as away")
		}
		ctx, stop := context.WithCancel(t.Context())
		stop()
		m.cut.Store(true)
		if e.Reachable(ctx) {
			t.Error("reachable in a context that has ended")
		}
		m.cut.Store(false)
		if !e.Reachable(t.Context()) {
			t.Error("a caller that gave up has decided for all")
		}
	})
}
