package coretest

import (
	"testing"
	"time"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

const movedTag = "registry.test/ns/index:v1"

// move makes a whole move.
func (s *subject) move(m core.TagMove, claim *core.Claim) int64 {
	s.t.Helper()
	id := s.begin(m, claim)
	if err := s.EndMove(s.t.Context(), id, &m.From, true); err != nil {
		s.t.Fatal(err)
	}
	return id
}

// abandoned is a request whose run has begun a move, and has died.
func (s *subject) abandoned(m core.TagMove) (r *core.Request, id int64) {
	s.t.Helper()
	r = s.one()
	dead := s.claim(r.ID, "dead", time.Hour)
	id = s.begin(m, &dead)
	if err := s.Release(s.t.Context(), dead, 0, true); err != nil {
		s.t.Fatal(err)
	}
	return r, id
}

func (s *subject) begin(m core.TagMove, claim *core.Claim) int64 {
	s.t.Helper()
	id, err := s.BeginMove(s.t.Context(), m, claim)
	if err != nil {
		s.t.Fatalf("BeginMove(%+v): %v", m, err)
	}
	return id
}

// moves returns what is known of the tag, without times.
func (s *subject) moves(before int64, limit int) []core.TagMove {
	s.t.Helper()
	moves, err := s.TagMoves(s.t.Context(), movedTag, before, limit)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := range moves {
		if moves[i].Time.IsZero() {
			s.t.Errorf("move %+v has no time", moves[i])
		}
		moves[i].Time = time.Time{}
	}
	return moves
}

func testTagMoves(t *testing.T, open func(t *testing.T) core.Store) {
	publish := core.TagMove{Spec: movedTag, From: "sha256:a", To: "sha256:b", Kind: core.MovePublish, User: "alice"}
	restore := core.TagMove{Spec: movedTag, From: "sha256:b", To: "sha256:a", Kind: core.MoveRestore, User: "bob"}

	t.Run("are listed newest first, in parts, by tag", func(t *testing.T) {
		s := start(t, open)
		r := s.one()
		claim := s.claim(r.ID, "w", time.Hour)
		first := s.move(publish, &claim)
		second := s.move(restore, nil)
		other := publish
		other.Spec = "registry.test/ns/index:v2"
		s.move(other, nil)
		want := []core.TagMove{restore, publish}
		want[0].ID, want[1].ID, want[1].Request = second, first, r.ID
		wantSame(t, "all", s.moves(0, 10), want)
		wantSame(t, "the newest", s.moves(0, 1), want[:1])
		wantSame(t, "the one before", s.moves(second, 10), want[1:])
		wantSame(t, "none", len(s.moves(first, 10)), 0)
	})
	t.Run("show only what was made, with what the tag really was", func(t *testing.T) {
		s := start(t, open)
		id := s.begin(publish, nil)
		wantSame(t, "under way", len(s.moves(0, 10)), 0)
		if err := s.EndMove(t.Context(), id, new("sha256:other"), false); err != nil {
			t.Fatal(err)
		}
		wantSame(t, "given up", len(s.moves(0, 10)), 0)
		id = s.begin(publish, nil)
		for range 2 { // the second finds nothing to end
			if err := s.EndMove(t.Context(), id, new("sha256:other"), true); err != nil {
				t.Fatal(err)
			}
		}
		wantSame(t, "origin", s.moves(0, 10)[0].From, "sha256:other")
	})
	t.Run("exclude each other while they are under way", func(t *testing.T) {
		s := start(t, open)
		claim := s.claim(s.one().ID, "w", time.Hour)
		id := s.begin(publish, &claim)
		_, err := s.BeginMove(t.Context(), restore, nil)
		wantCode(t, "a restore", err, sdk.Conflict, core.ReasonMoving)
		rival := s.claim(s.one().ID, "w", time.Hour)
		_, err = s.BeginMove(t.Context(), publish, &rival)
		wantCode(t, "another request", err, sdk.Conflict, core.ReasonMoving)
		if err := s.EndMove(t.Context(), id, new(""), true); err != nil {
			t.Fatal(err)
		}
		s.begin(restore, nil)
		_, err = s.BeginMove(t.Context(), publish, &rival)
		wantCode(t, "a request during a restore", err, sdk.Conflict, core.ReasonMoving)
	})
	t.Run("need the claim that they are made under", func(t *testing.T) {
		s := start(t, open)
		claim := s.claim(s.one().ID, "w", time.Hour)
		if err := s.Release(t.Context(), claim, 0, true); err != nil {
			t.Fatal(err)
		}
		_, err := s.BeginMove(t.Context(), publish, &claim)
		wantCode(t, "a lost claim", err, sdk.Conflict, "")
	})
	t.Run("that a dead worker made are found by the next", func(t *testing.T) {
		s := start(t, open)
		r, id := s.abandoned(publish)
		// The tag is where the dead one wanted it: it was moved, once.
		next := s.claim(r.ID, "next", time.Hour)
		again := s.begin(publish, &next)
		if err := s.EndMove(t.Context(), again, new(publish.To), true); err != nil {
			t.Fatal(err)
		}
		want := publish
		want.ID, want.Request = id, r.ID
		wantSame(t, "moves", s.moves(0, 10), []core.TagMove{want})
	})
	t.Run("that a dead worker made outlast one that saw nothing and did nothing", func(t *testing.T) {
		s := start(t, open)
		r, id := s.abandoned(publish)
		next := s.claim(r.ID, "next", time.Hour)
		blind := s.begin(publish, &next)
		if err := s.EndMove(t.Context(), blind, nil, false); err != nil {
			t.Fatal(err)
		}
		again := s.begin(publish, &next)
		if err := s.EndMove(t.Context(), again, new(publish.To), true); err != nil {
			t.Fatal(err)
		}
		want := publish
		want.ID, want.Request = id, r.ID
		wantSame(t, "moves", s.moves(0, 10), []core.TagMove{want})
	})
	t.Run("that a dead worker made are lost with one that saw nothing and moved the tag", func(t *testing.T) {
		s := start(t, open)
		r, _ := s.abandoned(publish)
		next := s.claim(r.ID, "next", time.Hour)
		blind := s.begin(publish, &next)
		if err := s.EndMove(t.Context(), blind, nil, true); err != nil {
			t.Fatal(err)
		}
		want := publish
		want.ID, want.From, want.Request = blind, "", r.ID
		wantSame(t, "moves", s.moves(0, 10), []core.TagMove{want})
	})
	t.Run("are known by their request", func(t *testing.T) {
		s := start(t, open)
		r := s.one()
		claim := s.claim(r.ID, "w", time.Hour)
		other := publish
		other.Spec = movedTag + "-other"
		s.move(other, &claim)
		s.begin(publish, &claim)
		got, err := s.MovedTags(t.Context(), r.ID)
		if err != nil {
			t.Fatal(err)
		}
		wantSame(t, "its tags", got, []string{movedTag, movedTag + "-other"})
		got, err = s.MovedTags(t.Context(), r.ID+1)
		if err != nil {
			t.Fatal(err)
		}
		wantSame(t, "another's tags", len(got), 0)
	})
	t.Run("that a dead worker did not make are forgotten", func(t *testing.T) {
		s := start(t, open)
		r := s.one()
		dead := s.claim(r.ID, "dead", time.Hour)
		s.begin(publish, &dead)
		s.change(dead, &core.Change{State: core.Failed, Reason: "gone"})
		id := s.move(core.TagMove{Spec: movedTag, From: publish.From, To: "sha256:c", Kind: core.MoveRestore}, nil)
		moves := s.moves(0, 10)
		if len(moves) != 1 || moves[0].ID != id {
			t.Errorf("moves %+v, want %d alone", moves, id)
		}
	})
	t.Run("that earlier runs of a request made are known to the next", func(t *testing.T) {
		for name, c := range map[string]struct {
			made      bool
			now, want string
		}{
			"ended":                           {true, "sha256:later", publish.To},
			"not ended, and made":             {false, publish.To, publish.To},
			"not ended, and not made":         {false, publish.From, ""},
			"not ended, and somebody was too": {false, "sha256:other", ""},
		} {
			t.Run(name, func(t *testing.T) {
				s := start(t, open)
				r := s.one()
				dead := s.claim(r.ID, "dead", time.Hour)
				if c.made {
					s.move(publish, &dead)
				} else {
					s.begin(publish, &dead)
				}
				if err := s.Release(t.Context(), dead, 0, true); err != nil {
					t.Fatal(err)
				}
				_, err := s.Landed(t.Context(), movedTag, c.now, dead)
				wantCode(t, "a lost claim", err, sdk.Conflict, "")
				next := s.claim(r.ID, "next", time.Hour)
				for range 2 { // asking changes nothing
					digest, err := s.Landed(t.Context(), movedTag, c.now, next)
					if err != nil {
						t.Fatal(err)
					}
					wantSame(t, "digest", digest, c.want)
				}
				want := 0
				if c.want != "" {
					want = 1
				}
				wantSame(t, "moves", len(s.moves(0, 10)), want)
				// Another request has moved it nowhere.
				rival := s.claim(s.one().ID, "w", time.Hour)
				if digest, err := s.Landed(t.Context(), movedTag, c.now, rival); digest != "" || err != nil {
					t.Errorf("another request has landed at %q: %v", digest, err)
				}
				s.begin(restore, nil)
				_, err = s.Landed(t.Context(), movedTag, c.now, next)
				wantCode(t, "during a restore", err, sdk.Conflict, core.ReasonMoving)
			})
		}
	})
	t.Run("of people are events, and no notifier's business", func(t *testing.T) {
		s := start(t, open)
		turn, err := s.TakeTurn(t.Context(), "n", "w", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		r := s.one()
		claim := s.claim(r.ID, "w", time.Hour)
		s.move(publish, &claim)
		last := s.last()
		id := s.move(restore, nil)
		events := s.events(last)
		if len(events) != 1 || s.last() != events[0].Sequence {
			t.Fatalf("events %+v, last %d; want one", events, s.last())
		}
		e := events[0]
		if e.Kind != core.TagEvent || e.Request != 0 || e.Batch != 0 || e.User != "bob" || e.Move == nil || !e.Time.Equal(e.Move.Time) {
			t.Fatalf("event %+v", e)
		}
		e.Move.Time = time.Time{}
		want := restore
		want.ID = id
		wantSame(t, "the event's move", *e.Move, want)
		for {
			due, err := s.Due(t.Context(), turn, 10)
			if err != nil {
				t.Fatal(err)
			}
			if len(due) == 0 {
				return
			}
			var outcomes []core.Outcome
			for _, d := range due {
				if d.Event.Kind == core.TagEvent {
					t.Errorf("the notifier got %+v", d.Event)
				}
				outcomes = append(outcomes, core.Outcome{Sequence: d.Event.Sequence})
			}
			if err := s.Settle(t.Context(), turn, outcomes); err != nil {
				t.Fatal(err)
			}
		}
	})
}
