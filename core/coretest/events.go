package coretest

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/iib-engine/iib/core"
)

func testEvents(t *testing.T, open func(t *testing.T) core.Store) {
	t.Run("of a store without requests are none", func(t *testing.T) {
		s := start(t, open)
		if last, events := s.last(), s.events(0); last != 0 || len(events) != 0 {
			t.Errorf("last %d, events %v", last, events)
		}
	})

	t.Run("follow the table of the contract", func(t *testing.T) { testEventTable(t, open) })

	t.Run("carry the request as it was and the batch's members", func(t *testing.T) {
		s := start(t, open)
		a, b := plain(), plain()
		b.Type = "regenerate-bundle"
		b.Fields = map[string]json.RawMessage{"organization": json.RawMessage(`"acme"`)}
		created := s.submit(&core.NewBatch{User: "alice", Annotations: json.RawMessage(`{"x":1}`), Requests: []core.NewRequest{a, b}})
		id := created[0].ID
		s.patch(id, &core.Change{State: core.InProgress, Reason: "one", Fields: map[string]json.RawMessage{"v": json.RawMessage(`1`)}})
		s.patch(id, &core.Change{Fields: map[string]json.RawMessage{"v": json.RawMessage(`2`)}, Arches: []string{"amd64"}})
		s.patch(id, &core.Change{State: core.InProgress, Reason: "two"})
		s.patch(id, &core.Change{Fields: map[string]json.RawMessage{"v": json.RawMessage(`3`)}})

		var values, arches []string
		events := s.events(0)
		for _, e := range events {
			if e.Request != id {
				continue
			}
			values = append(values, string(e.Snapshot.Fields["v"]))
			arches = append(arches, fmt.Sprint(e.Snapshot.Arches))
			if e.State != e.Snapshot.State().State || !e.Time.Equal(e.Snapshot.State().Time) || e.User != "alice" ||
				e.Batch != created[0].Batch || e.Members != nil || e.Annotations != nil {
				t.Errorf("event %+v with snapshot %+v", e, e.Snapshot)
			}
		}
		wantSame(t, "values", values, []string{"", "1", "2"})
		wantSame(t, "arches", arches, []string{"[]", "[]", "[amd64]"})
		first := events[0].Snapshot
		wantSame(t, "the first snapshot", first, created[0])

		acme := "acme"
		batch := events[2]
		batch.Sequence, batch.Time = 0, time.Time{}
		wantSame(t, "the batch event", batch, core.Event{
			Kind: core.BatchEvent, Batch: created[0].Batch, State: core.InProgress, User: "alice",
			Members:     []core.BatchMember{{ID: created[0].ID, Type: "add"}, {ID: created[1].ID, Type: "regenerate-bundle", Organization: &acme}},
			Annotations: json.RawMessage(`{"x":1}`),
		})
	})

	t.Run("can be read from anywhere, in parts, and for one request", func(t *testing.T) {
		s := start(t, open)
		a, b := s.one(), s.one()
		for i := range 5 {
			s.patch(a.ID, &core.Change{State: core.InProgress, Reason: fmt.Sprint("a", i)})
			s.patch(b.ID, &core.Change{State: core.InProgress, Reason: fmt.Sprint("b", i)})
		}
		all := s.events(0)
		var parts, ofA []core.Event
		var after int64
		for {
			some, err := s.EventsAfter(t.Context(), after, 3)
			if err != nil {
				t.Fatal(err)
			}
			if len(some) == 0 {
				break
			}
			parts = append(parts, some...)
			after = some[len(some)-1].Sequence
		}
		wantSame(t, "the parts", parts, all)
		if last := s.last(); last != after {
			t.Errorf("LastEvent = %d; want %d", last, after)
		}
		for _, e := range all {
			if e.Request == a.ID {
				ofA = append(ofA, e)
			}
		}
		got, err := s.RequestEventsAfter(t.Context(), a.ID, 0, 100)
		if err != nil {
			t.Fatal(err)
		}
		wantSame(t, "the events of one request", got, ofA)
		got, err = s.RequestEventsAfter(t.Context(), a.ID, ofA[2].Sequence, 2)
		if err != nil {
			t.Fatal(err)
		}
		wantSame(t, "two of them", got, ofA[3:5])
	})

	t.Run("never appear below one that was read", func(t *testing.T) { testEventOrder(t, open) })
	t.Run("of a batch end once, however its members race", func(t *testing.T) { testBatchRace(t, open) })
}

// testEventTable goes through section 7.2 of the API contract.
func testEventTable(t *testing.T, open func(t *testing.T) core.Store) {
	s := start(t, open)
	var after int64
	want := func(what string, lines ...string) {
		t.Helper()
		events := s.events(after)
		wantSame(t, what, brief(events), lines)
		if len(events) > 0 {
			after = events[len(events)-1].Sequence
		}
	}
	named := func(reason string) core.NewRequest {
		n := plain()
		n.Reason = reason
		return n
	}
	s.submit(&core.NewBatch{Requests: []core.NewRequest{named("single")}})
	want("a single submission", "request 1 in_progress: single", "batch 1 in_progress")

	s.submit(&core.NewBatch{Requests: []core.NewRequest{named("a"), named("b"), named("c")}})
	want("a batch", "request 2 in_progress: a", "request 3 in_progress: b", "request 4 in_progress: c", "batch 2 in_progress")

	s.patch(2, &core.Change{State: core.InProgress, Reason: "x"})
	want("a new reason", "request 2 in_progress: x")

	s.patch(2, &core.Change{State: core.Failed, Reason: "no"})
	want("the end of one member", "request 2 failed: no")

	s.patch(2, &core.Change{State: core.Failed, Reason: "never"})
	want("a corrected reason while others run", "request 2 failed: never")

	s.patch(3, &core.Change{State: core.Complete, Reason: "yes"})
	want("the end of another", "request 3 complete: yes")

	s.patch(3, &core.Change{Arches: []string{"amd64"}, Fields: map[string]json.RawMessage{"index_image": json.RawMessage(`"registry.test/x:1"`)}})
	want("values without a state")

	claim := s.claim(4, "w1", time.Hour)
	s.change(claim, &core.Change{State: core.InProgress, Reason: "working"})
	want("a state under a claim", "request 4 in_progress: working")

	s.change(claim, &core.Change{State: core.Complete, Reason: "done"})
	want("the end of the last member", "request 4 complete: done", "batch 2 failed")

	s.patch(4, &core.Change{State: core.Complete, Reason: "really"})
	want("a corrected reason after the end", "request 4 complete: really", "batch 2 failed")

	s.patch(4, &core.Change{State: core.Complete, Reason: "really"})
	want("the same again")

	s.patch(1, &core.Change{State: core.Complete, Reason: "fine"})
	want("the end of a single one", "request 1 complete: fine", "batch 1 complete")

	s.submit(&core.NewBatch{Requests: []core.NewRequest{named("y")}})
	if _, err := s.Cancel(t.Context(), 5, "stop"); err != nil {
		t.Fatal(err)
	}
	want("a cancellation", "request 5 in_progress: y", "batch 3 in_progress", "request 5 failed: stop", "batch 3 failed")
}

// testEventOrder follows the events while many write them, and compares what it
// saw with what there is in the end.
func testEventOrder(t *testing.T, open func(t *testing.T) core.Store) {
	s := start(t, open)
	const writers, rounds = 8, 12
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range rounds {
				requests, _, err := s.Create(t.Context(), &core.NewBatch{Requests: slices.Repeat([]core.NewRequest{plain()}, 1+w%3)})
				if err != nil {
					t.Errorf("Create: %v", err)
					return
				}
				for _, r := range requests {
					if _, err := s.Patch(t.Context(), r.ID, &core.Change{State: core.Complete, Reason: fmt.Sprint(w, i)}); err != nil {
						t.Errorf("Patch: %v", err)
					}
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()

	var followed []core.Event
	var after int64
	follow := func() {
		t.Helper()
		some, err := s.EventsAfter(t.Context(), after, 50)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range some {
			if e.Sequence <= after {
				t.Fatalf("event %d after %d", e.Sequence, after)
			}
			after = e.Sequence
		}
		followed = append(followed, some...)
	}
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		follow()
	}
	for n := -1; n != len(followed); {
		n = len(followed)
		follow()
	}
	wantSame(t, "the events that were followed", brief(followed), brief(s.events(0)))
	perRequest := make(map[int64][]core.State)
	for _, e := range followed {
		if e.Kind == core.RequestEvent {
			perRequest[e.Request] = append(perRequest[e.Request], e.State)
		}
	}
	for id, states := range perRequest {
		if !slices.Equal(states, []core.State{core.InProgress, core.Complete}) {
			t.Errorf("request %d went through %v", id, states)
		}
	}
}

func testBatchRace(t *testing.T, open func(t *testing.T) core.Store) {
	s := start(t, open)
	const members = 24
	requests := s.submit(&core.NewBatch{Requests: slices.Repeat([]core.NewRequest{plain()}, members)})
	var wg sync.WaitGroup
	for i, r := range requests {
		wg.Go(func() {
			state := core.Complete
			if i == members/2 {
				state = core.Failed
			}
			if _, err := s.Patch(t.Context(), r.ID, &core.Change{State: state, Reason: "end"}); err != nil {
				t.Errorf("Patch: %v", err)
			}
		})
	}
	wg.Wait()
	events := s.events(0)
	var batches []string
	for _, e := range events {
		if e.Kind == core.BatchEvent {
			batches = append(batches, string(e.State))
		}
	}
	wantSame(t, "the batch's events", batches, []string{"in_progress", "failed"})
	if last := events[len(events)-1]; last.Kind != core.BatchEvent {
		t.Errorf("the last event is %+v", last)
	}
}
