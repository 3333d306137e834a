package coretest

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// Store runs the suite that every core.Store must pass. Each call of open
// returns an empty store, which the suite closes; it must be able to keep
// secrets. The suite takes some seconds with a real database.
func Store(t *testing.T, open func(t *testing.T) core.Store) {
	for _, group := range []struct {
		name string
		run  func(t *testing.T, open func(t *testing.T) core.Store)
	}{
		{"submissions", testSubmissions},
		{"changes", testChanges},
		{"claims", testClaims},
		{"queues", testQueues},
		{"locks", testLocks},
		{"secrets", testSecrets},
		{"lists", testLists},
		{"events", testEvents},
		{"deliveries", testDeliveries},
		{"tag moves", testTagMoves},
	} {
		t.Run(group.name, func(t *testing.T) { group.run(t, open) })
	}
}

// subject is a store under test, with calls that must succeed.
type subject struct {
	core.Store
	t *testing.T
}

func start(t *testing.T, open func(t *testing.T) core.Store) *subject {
	t.Helper()
	s := &subject{Store: open(t), t: t}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
	})
	return s
}

// submit stores a batch and returns its requests.
func (s *subject) submit(batch *core.NewBatch) []*core.Request {
	s.t.Helper()
	requests, repeated, err := s.Create(s.t.Context(), batch)
	if err != nil || repeated {
		s.t.Fatalf("Create: repeated %v, error %v", repeated, err)
	}
	if len(requests) != len(batch.Requests) {
		s.t.Fatalf("Create returned %d requests for %d", len(requests), len(batch.Requests))
	}
	return requests
}

// one stores a batch of one plain request.
func (s *subject) one() *core.Request {
	s.t.Helper()
	return s.submit(&core.NewBatch{User: "alice", Requests: []core.NewRequest{plain()}})[0]
}

// plain returns a request without anything special.
func plain() core.NewRequest {
	return core.NewRequest{
		Type:   "add",
		Queue:  "default",
		Target: "registry.test/ns/index:v1",
		Params: json.RawMessage(`{"bundles":["registry.test/ns/bundle:1"]}`),
		Fields: map[string]json.RawMessage{
			"from_index":   json.RawMessage(`"registry.test/ns/index:v1"`),
			"organization": json.RawMessage(`null`),
		},
		Images: []string{"registry.test/ns/index:v1", "registry.test/ns/bundle:1"},
		Reason: "The request was accepted.",
	}
}

func (s *subject) request(id int64) *core.Request {
	s.t.Helper()
	r, err := s.Request(s.t.Context(), id)
	if err != nil {
		s.t.Fatalf("Request(%d): %v", id, err)
	}
	return r
}

func (s *subject) claim(id int64, worker string, lease time.Duration) core.Claim {
	s.t.Helper()
	_, claim, err := s.Claim(s.t.Context(), id, worker, lease)
	if err != nil {
		s.t.Fatalf("Claim(%d, %s): %v", id, worker, err)
	}
	return claim
}

// eventually claims a request as soon as that is possible.
func (s *subject) eventually(id int64, worker string) core.Claim {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		_, claim, err := s.Claim(ctx, id, worker, time.Hour)
		if err == nil {
			return claim
		}
		if sdk.CodeOf(err) != sdk.Conflict {
			s.t.Fatalf("Claim(%d, %s): %v", id, worker, err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			s.t.Fatalf("request %d did not become free: %v", id, err)
		}
	}
}

func (s *subject) change(claim core.Claim, change *core.Change) *core.Request {
	s.t.Helper()
	r, err := s.Change(s.t.Context(), claim, change)
	if err != nil {
		s.t.Fatalf("Change(%v, %v): %v", claim, change, err)
	}
	return r
}

func (s *subject) patch(id int64, change *core.Change) *core.Request {
	s.t.Helper()
	r, err := s.Patch(s.t.Context(), id, change)
	if err != nil {
		s.t.Fatalf("Patch(%d, %v): %v", id, change, err)
	}
	return r
}

func (s *subject) events(after int64) []core.Event {
	s.t.Helper()
	events, err := s.EventsAfter(s.t.Context(), after, 1_000_000)
	if err != nil {
		s.t.Fatalf("EventsAfter(%d): %v", after, err)
	}
	return events
}

func (s *subject) last() int64 {
	s.t.Helper()
	last, err := s.LastEvent(s.t.Context())
	if err != nil {
		s.t.Fatalf("LastEvent: %v", err)
	}
	return last
}

// ready returns how many requests of all queues could be started now.
func (s *subject) ready() int64 {
	s.t.Helper()
	if err := s.Recover(s.t.Context()); err != nil {
		s.t.Fatalf("Recover: %v", err)
	}
	var ready int64
	for _, q := range s.queues() {
		ready += q.Ready
	}
	return ready
}

func (s *subject) queues() []core.QueueStanding {
	s.t.Helper()
	queues, err := s.Queues(s.t.Context())
	if err != nil {
		s.t.Fatalf("Queues: %v", err)
	}
	return queues
}

// next claims what is next in a queue, and returns nil if there is nothing.
func (s *subject) next(queue string) (*core.Request, core.Claim) {
	s.t.Helper()
	r, claim, err := s.ClaimNext(s.t.Context(), queue, "w", time.Hour)
	if sdk.CodeOf(err) == sdk.NotFound {
		return nil, claim
	}
	if err != nil {
		s.t.Fatalf("ClaimNext(%s): %v", queue, err)
	}
	return r, claim
}

// wantCode fails unless an error has a code and a reason.
func wantCode(t *testing.T, what string, err error, code sdk.Code, reason string) {
	t.Helper()
	if sdk.CodeOf(err) != code || sdk.ReasonOf(err) != reason {
		t.Errorf("%s: error %v has code %q and reason %q; want %q and %q",
			what, err, sdk.CodeOf(err), sdk.ReasonOf(err), code, reason)
	}
}

// wantSame fails if two values differ.
func wantSame(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// brief renders events in a line each: "request 1 in_progress: reason".
func brief(events []core.Event) []string {
	var lines []string
	for _, e := range events {
		if e.Kind == core.BatchEvent {
			lines = append(lines, fmt.Sprintf("batch %d %s", e.Batch, e.State))
		} else {
			lines = append(lines, fmt.Sprintf("request %d %s: %s", e.Request, e.State, e.Snapshot.State().Reason))
		}
	}
	return lines
}
