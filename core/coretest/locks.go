package coretest

import (
	"testing"
	"time"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

func testLocks(t *testing.T, open func(t *testing.T) core.Store) {
	two := func(t *testing.T) (*subject, core.Claim, core.Claim) {
		s := start(t, open)
		a, b := s.one(), s.one()
		return s, s.claim(a.ID, "w1", time.Hour), s.claim(b.ID, "w2", time.Hour)
	}
	t.Run("one claim at a time holds a name", func(t *testing.T) {
		s, a, b := two(t)
		if err := s.Lock(t.Context(), "index", a); err != nil {
			t.Fatal(err)
		}
		if err := s.Lock(t.Context(), "index", a); err != nil {
			t.Errorf("locking again under one claim: %v", err)
		}
		if err := s.Lock(t.Context(), "index", b); sdk.CodeOf(err) != sdk.Conflict {
			t.Errorf("another claim got %v, want a Conflict", err)
		}
		if err := s.Lock(t.Context(), "other", b); err != nil {
			t.Errorf("another name: %v", err)
		}
	})
	t.Run("only its holder gives a name back", func(t *testing.T) {
		s, a, b := two(t)
		if err := s.Lock(t.Context(), "index", a); err != nil {
			t.Fatal(err)
		}
		if err := s.Unlock(t.Context(), "index", b); err != nil {
			t.Fatal(err)
		}
		if err := s.Lock(t.Context(), "index", b); sdk.CodeOf(err) != sdk.Conflict {
			t.Errorf("a stranger freed the name: %v", err)
		}
		if err := s.Unlock(t.Context(), "index", a); err != nil {
			t.Fatal(err)
		}
		if err := s.Lock(t.Context(), "index", b); err != nil {
			t.Errorf("the freed name: %v", err)
		}
	})
	t.Run("a name is free when its holder's request has ended", func(t *testing.T) {
		s, a, b := two(t)
		if err := s.Lock(t.Context(), "index", a); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Change(t.Context(), a, &core.Change{State: core.Complete, Reason: "done"}); err != nil {
			t.Fatal(err)
		}
		if err := s.Lock(t.Context(), "index", b); err != nil {
			t.Error(err)
		}
	})
	t.Run("a claim that was given back can lock nothing", func(t *testing.T) {
		s, a, _ := two(t)
		if err := s.Release(t.Context(), a, 0, true); err != nil {
			t.Fatal(err)
		}
		if err := s.Lock(t.Context(), "index", a); sdk.CodeOf(err) != sdk.Conflict {
			t.Errorf("got %v, want a Conflict", err)
		}
	})
}
