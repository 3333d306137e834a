package coretest

import (
	"context"
	"slices"
	"time"

	"github.com/iib-engine/iib/core"
)

// EventsAfter implements core.Events.
func (m *Memory) EventsAfter(_ context.Context, sequence int64, limit int) ([]core.Event, error) {
	return m.eventsAfter(sequence, limit, func(core.Event) bool { return true }), nil
}

// RequestEventsAfter implements core.Events.
func (m *Memory) RequestEventsAfter(_ context.Context, request, sequence int64, limit int) ([]core.Event, error) {
	return m.eventsAfter(sequence, limit, func(e core.Event) bool { return e.Request == request }), nil
}

// LastEvent implements core.Events.
func (m *Memory) LastEvent(context.Context) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return int64(len(m.events)), nil
}

func (m *Memory) eventsAfter(sequence int64, limit int, choose func(core.Event) bool) []core.Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	var found []core.Event
	for _, e := range m.events {
		if e.Sequence <= sequence || len(found) >= limit || !choose(e) {
			continue
		}
		found = append(found, m.event(e.Sequence))
	}
	return found
}

// event returns a copy of one.
func (m *Memory) event(sequence int64) core.Event {
	e := m.events[sequence-1]
	if e.Snapshot != nil {
		e.Snapshot = copyRequest(e.Snapshot, false)
	}
	e.Members = slices.Clone(e.Members)
	return e
}

// tellRequest adds the event of a request's newest state.
func (m *Memory) tellRequest(r *memoryRequest) {
	snapshot := r.copy(false)
	snapshot.Attempt, snapshot.TakeOvers, snapshot.Epoch, snapshot.CancelReason = 0, 0, 0, ""
	snapshot.Worker, snapshot.Trace, snapshot.Lease, snapshot.NotBefore = "", "", time.Time{}, time.Time{}
	m.events = append(m.events, core.Event{
		Sequence: int64(len(m.events)) + 1,
		Kind:     core.RequestEvent,
		Time:     r.State().Time,
		Request:  r.ID,
		Batch:    r.Batch,
		State:    r.State().State,
		User:     r.User,
		Snapshot: snapshot,
	})
}

func (m *Memory) tellBatch(id int64, state core.State, at time.Time) {
	b := m.batches[id-1]
	e := core.Event{
		Sequence:    int64(len(m.events)) + 1,
		Kind:        core.BatchEvent,
		Time:        at,
		Batch:       id,
		State:       state,
		User:        b.user,
		Annotations: b.annotations,
	}
	for _, r := range b.members {
		member := core.BatchMember{ID: r.ID, Type: r.Type}
		if organization := core.FieldText(r.Fields, "organization"); organization != "" {
			member.Organization = &organization
		}
		e.Members = append(e.Members, member)
	}
	m.events = append(m.events, e)
}
