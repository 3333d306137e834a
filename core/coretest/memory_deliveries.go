package coretest

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// memoryNotifier is a notifier and what it has not taken.
type memoryNotifier struct {
	core.Subscription
	cursor  int64
	epoch   int64
	expires time.Time
	rows    map[int64]*memoryDelivery
}

type memoryDelivery struct {
	core.Undelivered
	hand  int64
	tried time.Time
}

// TakeTurn implements core.Deliveries.
func (m *Memory) TakeTurn(_ context.Context, notifier, worker string, lease time.Duration) (core.Turn, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if notifier == "" || worker == "" || lease <= 0 {
		return core.Turn{}, sdk.Errorf(sdk.Internal, "take a turn at notifier %q: it takes two names and a lease", notifier)
	}
	n := m.notifiers[notifier]
	if n == nil {
		if m.notifiers == nil {
			m.notifiers = make(map[string]*memoryNotifier)
		}
		n = &memoryNotifier{cursor: int64(len(m.events)), rows: make(map[int64]*memoryDelivery)}
		n.Notifier = notifier
		m.notifiers[notifier] = n
	}
	if n.Worker != "" && m.now().Before(n.expires) {
		return core.Turn{}, sdk.Errorf(sdk.Conflict, "worker %s has the turn at notifier %s", n.Worker, notifier)
	}
	n.Worker = worker
	n.epoch++
	n.extend(m.now(), lease)
	return core.Turn{Notifier: notifier, Worker: worker, Epoch: n.epoch}, nil
}

func (n *memoryNotifier) extend(now time.Time, lease time.Duration) {
	n.expires = now.Add(lease)
	n.Lease = n.expires.UTC().Truncate(time.Microsecond)
}

// KeepTurn implements core.Deliveries.
func (m *Memory) KeepTurn(_ context.Context, turn core.Turn, lease time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.turn(turn)
	if err == nil {
		n.extend(m.now(), lease)
	}
	return err
}

// EndTurn implements core.Deliveries.
func (m *Memory) EndTurn(_ context.Context, turn core.Turn) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.turn(turn)
	if err == nil {
		n.Worker, n.Lease = "", time.Time{}
	}
	return err
}

// turn returns the notifier that a turn is in force at.
func (m *Memory) turn(turn core.Turn) (*memoryNotifier, error) {
	n := m.notifiers[turn.Notifier]
	if n == nil || n.Worker == "" || n.Worker != turn.Worker || n.epoch != turn.Epoch {
		return nil, sdk.Errorf(sdk.Conflict, "worker %s has lost its turn %d at notifier %s", turn.Worker, turn.Epoch, turn.Notifier)
	}
	return n, nil
}

// Due implements core.Deliveries.
func (m *Memory) Due(_ context.Context, turn core.Turn, limit int) ([]core.Delivery, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.turn(turn)
	if err != nil {
		return nil, err
	}
	for _, e := range m.events[n.cursor:] {
		if e.Kind != core.TagEvent {
			n.rows[e.Sequence] = row(e)
		}
	}
	n.cursor = int64(len(m.events))

	blocked := make(map[int64]bool)
	for _, d := range n.rows {
		blocked[d.Batch] = blocked[d.Batch] || d.hand == turn.Epoch
	}
	var due []core.Delivery
	for _, d := range n.line() {
		if d.Parked || blocked[d.Batch] || len(due) >= limit {
			continue
		}
		if m.delay(d) > 0 {
			blocked[d.Batch] = true
			continue
		}
		d.hand = turn.Epoch
		d.Attempts++
		due = append(due, core.Delivery{Event: m.event(d.Sequence), Attempt: d.Attempts})
	}
	return due, nil
}

func row(e core.Event) *memoryDelivery {
	return &memoryDelivery{Undelivered: core.Undelivered{
		Sequence: e.Sequence, Kind: e.Kind, Request: e.Request, Batch: e.Batch, State: e.State,
	}}
}

// line returns the rows in the order of their events.
func (n *memoryNotifier) line() []*memoryDelivery {
	return slices.SortedFunc(maps.Values(n.rows), func(a, b *memoryDelivery) int { return cmp.Compare(a.Sequence, b.Sequence) })
}

func (m *Memory) delay(d *memoryDelivery) time.Duration {
	now := m.now()
	if now.Before(d.tried) {
		return 0
	}
	return max(0, d.NotBefore.Sub(now))
}

// Settle implements core.Deliveries.
func (m *Memory) Settle(_ context.Context, turn core.Turn, outcomes []core.Outcome) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.turn(turn)
	if err != nil {
		return err
	}
	for _, o := range outcomes {
		d := n.rows[o.Sequence]
		if d == nil || d.hand != turn.Epoch {
			continue
		}
		if o.Error == "" && !o.Uncounted && !o.Park {
			delete(n.rows, o.Sequence)
			n.Delivered = m.moment()
			continue
		}
		d.hand, d.Parked, d.tried = 0, o.Park, m.moment()
		d.NotBefore = d.tried.Add(max(0, o.Retry))
		if o.Uncounted {
			d.Attempts--
		}
		if o.Error != "" {
			d.Error = text(o.Error)
			n.Failed, n.Error = d.tried, d.Error
		}
	}
	return nil
}

// Subscriptions implements core.Deliveries.
func (m *Memory) Subscriptions(context.Context) ([]core.Subscription, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []core.Subscription
	for _, name := range slices.Sorted(maps.Keys(m.notifiers)) {
		n := m.notifiers[name]
		s := n.Subscription
		s.Behind = int64(len(m.events)) - n.cursor
		for _, d := range n.rows {
			if d.Parked {
				s.Parked++
			} else {
				s.Waiting++
			}
		}
		all = append(all, s)
	}
	return all, nil
}

// Undelivered implements core.Deliveries.
func (m *Memory) Undelivered(_ context.Context, notifier string, after int64, limit int) ([]core.Undelivered, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.notifiers[notifier]
	if n == nil {
		return nil, nil
	}
	var found []core.Undelivered
	for _, d := range n.line() {
		if d.Sequence <= after || len(found) >= limit || d.tried.IsZero() && !d.Parked {
			continue
		}
		u := d.Undelivered
		if u.Parked || m.delay(d) <= 0 {
			u.NotBefore = time.Time{}
		}
		found = append(found, u)
	}
	return found, nil
}

// Replay implements core.Deliveries.
func (m *Memory) Replay(_ context.Context, notifier string, r core.Replay) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.notifiers[notifier]
	if n == nil {
		return 0, sdk.Errorf(sdk.NotFound, "notifier %q is not known here", notifier)
	}
	var chosen []core.Event
	for _, e := range m.events[:n.cursor] {
		d := n.rows[e.Sequence]
		if e.Kind != core.TagEvent && e.Sequence >= r.From && (r.To == 0 || e.Sequence <= r.To) &&
			(r.Request == 0 || e.Request == r.Request) && (r.Batch == 0 || e.Batch == r.Batch) &&
			(d == nil && !r.Parked || d != nil && d.Parked) {
			chosen = append(chosen, e)
		}
	}
	if len(chosen) > core.MaxReplay {
		return 0, sdk.Errorf(sdk.Invalid, "%d events are too many to replay at once: choose at most %d", len(chosen), core.MaxReplay)
	}
	for _, e := range chosen {
		n.rows[e.Sequence] = row(e)
	}
	return int64(len(chosen)), nil
}

// Unsubscribe implements core.Deliveries.
func (m *Memory) Unsubscribe(_ context.Context, notifier string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.notifiers, notifier)
	return nil
}
