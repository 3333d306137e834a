package coretest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// changer applies a change to a request in progress in one of the two ways.
type changer struct {
	name  string
	begin func(s *subject, id int64) func(change *core.Change) (*core.Request, error)
}

var changers = []changer{
	{"by a patch", func(s *subject, id int64) func(*core.Change) (*core.Request, error) {
		return func(change *core.Change) (*core.Request, error) { return s.Patch(s.t.Context(), id, change) }
	}},
	{"under a claim", func(s *subject, id int64) func(*core.Change) (*core.Request, error) {
		claim := s.claim(id, "w", time.Hour)
		return func(change *core.Change) (*core.Request, error) { return s.Change(s.t.Context(), claim, change) }
	}},
}

func testChanges(t *testing.T, open func(t *testing.T) core.Store) {
	for _, c := range changers {
		t.Run(c.name, func(t *testing.T) {
			testStates(t, open, c)
			testValues(t, open, c)
		})
	}
	t.Run("the state machine", func(t *testing.T) { testTransitions(t, open) })
	t.Run("a cancellation", func(t *testing.T) { testCancel(t, open) })
}

func testStates(t *testing.T, open func(t *testing.T) core.Store, c changer) {
	t.Run("a new reason is a new entry, newest first", func(t *testing.T) {
		s := start(t, open)
		r := s.one()
		apply := c.begin(s, r.ID)
		for _, reason := range []string{"one", "two", "one"} {
			got, err := apply(&core.Change{State: core.InProgress, Reason: reason})
			if err != nil {
				t.Fatal(err)
			}
			wantSame(t, "what the change returned", got, s.request(r.ID))
		}
		var reasons []string
		newer := time.Now().Add(time.Hour)
		for _, entry := range s.request(r.ID).History {
			reasons = append(reasons, entry.Reason)
			if entry.Time.After(newer) {
				t.Errorf("the entry %q is later than the one after it", entry.Reason)
			}
			newer = entry.Time
		}
		wantSame(t, "reasons", reasons, []string{"one", "two", "one", "The request was accepted."})
	})

	t.Run("the current state and reason add no entry and no event", func(t *testing.T) {
		s := start(t, open)
		r := s.one()
		apply := c.begin(s, r.ID)
		if _, err := apply(&core.Change{State: core.InProgress, Reason: "one"}); err != nil {
			t.Fatal(err)
		}
		last, before := s.last(), s.request(r.ID)
		got, err := apply(&core.Change{State: core.InProgress, Reason: "one"})
		if err != nil {
			t.Fatal(err)
		}
		wantSame(t, "the request", got, before)
		if s.last() != last {
			t.Error("there is a new event")
		}
	})

	t.Run("what is refused changes nothing at all", func(t *testing.T) {
		s := start(t, open)
		r := s.one()
		apply := c.begin(s, r.ID)
		last, before := s.last(), s.request(r.ID)
		_, err := apply(&core.Change{
			State: "finished", Reason: "x", Arches: []string{"amd64"}, Images: []string{"registry.test/never:1"},
			Fields: map[string]json.RawMessage{"index_image": json.RawMessage(`"registry.test/never:1"`)},
		})
		wantCode(t, "an unknown state", err, sdk.Invalid, "")
		_, err = apply(&core.Change{Reason: "a reason without a state"})
		wantCode(t, "a reason without a state", err, sdk.Invalid, "")
		wantSame(t, "the request", s.request(r.ID), before)
		if s.last() != last {
			t.Error("there is a new event")
		}
		if seen, _ := s.ImageSeen(t.Context(), "registry.test/never:1", false); seen {
			t.Error("the image of the refused change was seen")
		}
	})
}

func testValues(t *testing.T, open func(t *testing.T) core.Store, c changer) {
	t.Run("arches are added, fields replaced key by key, without an event", func(t *testing.T) {
		s := start(t, open)
		r := s.one()
		apply := c.begin(s, r.ID)
		last := s.last()
		for _, change := range []*core.Change{
			{Arches: []string{"s390x", "amd64", "amd64"}, Fields: map[string]json.RawMessage{"a": json.RawMessage(`1`), "b": json.RawMessage(`"<&>"`)}},
			{Arches: []string{"arm64"}, Fields: map[string]json.RawMessage{"a": json.RawMessage(`{"x":[1.50,null]}`)}},
			{},
		} {
			if _, err := apply(change); err != nil {
				t.Fatal(err)
			}
		}
		got := s.request(r.ID)
		wantSame(t, "arches", got.Arches, []string{"amd64", "arm64", "s390x"})
		wantSame(t, "fields", got.Fields, map[string]json.RawMessage{
			"a": json.RawMessage(`{"x":[1.50,null]}`), "b": json.RawMessage(`"<&>"`),
			"from_index": r.Fields["from_index"], "organization": r.Fields["organization"],
		})
		if len(got.History) != 1 || s.last() != last {
			t.Error("values made a state or an event")
		}
	})

	t.Run("images of a change are seen, and index_image is found", func(t *testing.T) {
		s := start(t, open)
		r := s.one()
		apply := c.begin(s, r.ID)
		f := core.Filter{IndexImage: "registry.test/iib:7"}
		find := func() int64 {
			_, total, err := s.List(t.Context(), f, core.Page{})
			if err != nil {
				t.Fatal(err)
			}
			return total
		}
		if n := find(); n != 0 {
			t.Errorf("found %d before the change", n)
		}
		change := &core.Change{
			Fields: map[string]json.RawMessage{"index_image": json.RawMessage(`"registry.test/iib:7"`)},
			Images: []string{"registry.test/iib:7"},
		}
		if _, err := apply(change); err != nil {
			t.Fatal(err)
		}
		if n := find(); n != 1 {
			t.Errorf("found %d after the change", n)
		}
		if seen, err := s.ImageSeen(t.Context(), "registry.test/iib:7", false); !seen || err != nil {
			t.Errorf("ImageSeen = %v, %v", seen, err)
		}
	})
}

// testTransitions tries every pair of states against the table of core.
func testTransitions(t *testing.T, open func(t *testing.T) core.Store) {
	s := start(t, open)
	for _, from := range core.States {
		for _, to := range append(slices.Clone(core.States), "", "IN_PROGRESS", "cancelled") {
			t.Run(fmt.Sprintf("from %s to %q", from, to), func(t *testing.T) {
				r := s.one()
				if from != core.InProgress {
					s.patch(r.ID, &core.Change{State: from, Reason: "there"})
				}
				before := s.request(r.ID)
				change := &core.Change{State: to, Reason: "next", Arches: []string{"amd64"}}
				if to == "" {
					change.Reason = ""
				}
				_, err := s.Patch(t.Context(), r.ID, change)
				after := s.request(r.ID)
				if to == "" {
					if err != nil || len(after.History) != len(before.History) {
						t.Errorf("a change without a state: error %v, history %v", err, after.History)
					}
					return
				}
				if want := core.CheckTransition(from, to); want != nil {
					wantCode(t, "Patch", err, sdk.CodeOf(want), sdk.ReasonOf(want))
					wantSame(t, "the request", after, before)
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if got := after.State(); got.State != to || got.Reason != "next" || len(after.History) != len(before.History)+1 {
					t.Errorf("history is %v after %v", after.History, before.History)
				}
			})
		}
	}
	t.Run("a finished request still takes values", func(t *testing.T) {
		r := s.one()
		s.patch(r.ID, &core.Change{State: core.Complete, Reason: "Done."})
		got := s.patch(r.ID, &core.Change{Arches: []string{"amd64"}, Fields: map[string]json.RawMessage{"x": json.RawMessage(`1`)}})
		if len(got.Arches) != 1 || string(got.Fields["x"]) != "1" || !got.Final() {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("that depends on what there is sees every other", func(t *testing.T) { testSettle(t, s) })
	t.Run("of an unknown request is not found", func(t *testing.T) {
		_, err := s.Patch(t.Context(), 1<<40, &core.Change{})
		wantCode(t, "Patch", err, sdk.NotFound, "")
	})
}

// testSettle has many add an entry to one field at the same time.
func testSettle(t *testing.T, s *subject) {
	const writers = 16
	r := s.one()
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			_, err := s.Patch(t.Context(), r.ID, &core.Change{
				Fields: map[string]json.RawMessage{"list": json.RawMessage(strconv.Itoa(i))},
				Settle: func(current, fields map[string]json.RawMessage) (map[string]json.RawMessage, error) {
					var list []json.RawMessage
					if current["list"] != nil {
						if err := json.Unmarshal(current["list"], &list); err != nil {
							return nil, err
						}
					}
					all, err := json.Marshal(append(list, fields["list"]))
					return map[string]json.RawMessage{"list": all}, err
				},
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	var list []int
	if err := json.Unmarshal(s.request(r.ID).Fields["list"], &list); err != nil {
		t.Fatal(err)
	}
	slices.Sort(list)
	for i := range writers {
		if len(list) != writers || list[i] != i {
			t.Fatalf("%d writers left %v", writers, list)
		}
	}
	refusal := sdk.Errorf(sdk.Invalid, "no")
	before := s.request(r.ID)
	_, err := s.Patch(t.Context(), r.ID, &core.Change{
		Arches: []string{"s390x"},
		Settle: func(map[string]json.RawMessage, map[string]json.RawMessage) (map[string]json.RawMessage, error) {
			return nil, refusal
		},
	})
	wantCode(t, "Patch", err, sdk.Invalid, "")
	wantSame(t, "the request", s.request(r.ID), before)
}

func testCancel(t *testing.T, open func(t *testing.T) core.Store) {
	t.Run("ends the request and its claim at once", func(t *testing.T) {
		s := start(t, open)
		r := s.one()
		claim := s.claim(r.ID, "w", time.Hour)
		got, err := s.Cancel(t.Context(), r.ID, "Cancelled by alice.")
		if err != nil {
			t.Fatal(err)
		}
		wantSame(t, "what Cancel returned", got, s.request(r.ID))
		if got.State().State != core.Failed || got.State().Reason != "Cancelled by alice." ||
			got.CancelReason != "Cancelled by alice." || got.Worker != "" || !got.Lease.IsZero() {
			t.Errorf("got %+v", got)
		}
		_, err = s.Change(t.Context(), claim, &core.Change{State: core.Complete, Reason: "Done."})
		wantCode(t, "Change", err, sdk.Conflict, core.ReasonFinal)
		wantSame(t, "the request after its worker's last word", s.request(r.ID), got)
	})

	t.Run("of one that has ended is a conflict", func(t *testing.T) {
		s := start(t, open)
		r := s.one()
		s.patch(r.ID, &core.Change{State: core.Failed, Reason: "No."})
		last, before := s.last(), s.request(r.ID)
		_, err := s.Cancel(t.Context(), r.ID, "Cancelled.")
		wantCode(t, "Cancel", err, sdk.Conflict, core.ReasonFinal)
		wantSame(t, "the request", s.request(r.ID), before)
		if s.last() != last {
			t.Error("there is a new event")
		}
	})

	t.Run("of an unknown one is not found", func(t *testing.T) {
		s := start(t, open)
		_, err := s.Cancel(t.Context(), 1, "Cancelled.")
		wantCode(t, "Cancel", err, sdk.NotFound, "")
	})
}
