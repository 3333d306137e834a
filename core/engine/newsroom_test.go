package engine_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/core/coretest"
	"github.com/iib-engine/iib/core/engine"
	"github.com/iib-engine/iib/sdk"
)

// listener is a notifier that keeps what it took, and fails as a test wants.
type listener struct {
	fail func(ctx context.Context, e *sdk.Event) error

	mu     sync.Mutex
	offers map[string]int
	taken  []*sdk.Event
	now    int // calls at this moment
	most   int
	busy   map[int64]bool
	faults []string
}

func (l *listener) Notify(ctx context.Context, e *sdk.Event) error {
	l.mu.Lock()
	if l.offers == nil {
		l.offers, l.busy = make(map[string]int), make(map[int64]bool)
	}
	l.offers[e.ID]++
	l.now++
	l.most = max(l.most, l.now)
	if l.busy[e.Batch] {
		l.faults = append(l.faults, fmt.Sprintf("event %s came while another of batch %d was on its way", e.ID, e.Batch))
	}
	l.busy[e.Batch] = true
	fail := l.fail
	l.mu.Unlock()
	var err error
	if fail != nil {
		err = fail(ctx, e)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now--
	l.busy[e.Batch] = false
	if err == nil {
		l.taken = append(l.taken, e)
	}
	return err
}

func (l *listener) setFail(fail func(ctx context.Context, e *sdk.Event) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail = fail
}

// events is what was taken, in order.
func (l *listener) events() []*sdk.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.taken)
}

// heard is the IDs of what was taken.
func (l *listener) heard() []string {
	var all []string
	for _, e := range l.events() {
		all = append(all, e.ID)
	}
	return all
}

func (l *listener) offered(id string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.offers[id]
}

// changingRoster lends a line-up that a test may replace.
type changingRoster struct {
	mu      sync.Mutex
	current *coretest.Lineup
}

func (r *changingRoster) Acquire() (core.Lineup, func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.current, func() {}
}

func (r *changingRoster) set(notifiers ...core.Notifier) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := *r.current
	next.Notified = notifiers
	r.current = &next
}

// newsroom is a world in which events are delivered.
type newsroom struct {
	*world
	roster *changingRoster
	stop   func()
}

const bell = "bell"

// newNewsroom must be called in a synctest bubble. Deliveries stop with the test.
func newNewsroom(t *testing.T, notifiers ...core.Notifier) *newsroom {
	t.Helper()
	n := &newsroom{world: newWorld(t, func(context.Context, *sdk.Job) error { return nil })}
	n.roster = &changingRoster{current: n.lineup}
	n.roster.set(notifiers...)
	n.Engine.Roster = n.roster
	n.stop = n.deliver(n.Engine)
	return n
}

// deliver starts an engine's deliveries and returns what stops them.
func (n *newsroom) deliver(e *engine.Engine) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		e.Deliver(ctx)
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	n.t.Cleanup(stop)
	synctest.Wait()
	return stop
}

// another is a second process on the same store.
func (n *newsroom) another(worker string) *engine.Engine {
	e := n.engine(worker)
	e.Roster = n.roster
	return e
}

// events submits so many requests, each a batch of its own with two events.
func (n *newsroom) events(requests int) {
	n.t.Helper()
	for range requests {
		n.submit(`{"a":1}`)
	}
}

func (n *newsroom) standing() core.Subscription {
	n.t.Helper()
	all, err := n.store.Subscriptions(context.Background())
	if err != nil || len(all) != 1 {
		n.t.Fatalf("subscriptions: %+v, %v", all, err)
	}
	return all[0]
}

func (n *newsroom) undelivered() []core.Undelivered {
	n.t.Helper()
	all, err := n.store.Undelivered(context.Background(), bell, 0, 1000)
	if err != nil {
		n.t.Fatal(err)
	}
	return all
}

// ids are those of the events from one to another.
func ids(from, to int) []string {
	var all []string
	for i := from; i <= to; i++ {
		all = append(all, fmt.Sprint(i))
	}
	return all
}

func wantSet(t *testing.T, want, got []string) {
	t.Helper()
	count := make(map[string]int)
	for _, id := range got {
		count[id]++
	}
	wanted := make(map[string]int)
	for _, id := range want {
		wanted[id] = 1
	}
	if diff := cmp.Diff(wanted, count); diff != "" {
		t.Errorf("events by how often they were taken (-want +got):\n%s", diff)
	}
}
