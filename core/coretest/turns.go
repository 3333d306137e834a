package coretest

import (
	"testing"
	"time"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

func testTurns(t *testing.T, open func(t *testing.T) core.Store) {
	t.Run("is one worker's at a time", func(t *testing.T) {
		s := start(t, open)
		turn := s.turn("amqp", "w1")
		for _, worker := range []string{"w1", "w2"} {
			_, err := s.TakeTurn(t.Context(), "amqp", worker, time.Hour)
			wantCode(t, "TakeTurn by "+worker, err, sdk.Conflict, "")
		}
		if err := s.KeepTurn(t.Context(), turn, time.Hour); err != nil {
			t.Errorf("KeepTurn: %v", err)
		}
		if err := s.EndTurn(t.Context(), turn); err != nil {
			t.Fatal(err)
		}
		wantTurnLost(t, s, turn)
		s.turn("amqp", "w2")
	})

	t.Run("of a dead worker passes on, with what was in hand", func(t *testing.T) {
		s := start(t, open)
		stale, err := s.TakeTurn(t.Context(), "amqp", "w1", 20*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		s.one()
		inHand := s.due(stale, 10)
		var turn core.Turn
		wait(t, "the turn to be free", func() bool {
			turn, err = s.TakeTurn(t.Context(), "amqp", "w2", time.Hour)
			return err == nil
		})
		wantTurnLost(t, s, stale)
		again := s.due(turn, 10)
		wantSame(t, "what is due again", eventsOf(again), eventsOf(inHand))
		if again[0].Attempt != 2 {
			t.Errorf("it is attempt %d", again[0].Attempt)
		}
	})

	t.Run("that is kept stays, however short its lease", func(t *testing.T) {
		s := start(t, open)
		turn, err := s.TakeTurn(t.Context(), "amqp", "w1", time.Nanosecond)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.KeepTurn(t.Context(), turn, time.Hour); err != nil {
			t.Fatal(err)
		}
		_, err = s.TakeTurn(t.Context(), "amqp", "w2", time.Hour)
		wantCode(t, "TakeTurn", err, sdk.Conflict, "")
	})

	t.Run("that was never given is refused", func(t *testing.T) {
		s := start(t, open)
		wantTurnLost(t, s, core.Turn{Notifier: "amqp", Worker: "w1", Epoch: 1})
		turn := s.turn("amqp", "w1")
		for _, forged := range []core.Turn{
			{Notifier: "amqp", Worker: "w2", Epoch: turn.Epoch},
			{Notifier: "amqp", Worker: "w1", Epoch: turn.Epoch + 1},
			{Notifier: "amqp", Worker: "", Epoch: turn.Epoch},
			{Notifier: "webhook", Worker: "w1", Epoch: turn.Epoch},
		} {
			wantTurnLost(t, s, forged)
		}
	})
}

// wantTurnLost fails unless every call under a turn is a conflict.
func wantTurnLost(t *testing.T, s *subject, turn core.Turn) {
	t.Helper()
	_, err := s.Due(t.Context(), turn, 1)
	wantCode(t, "Due", err, sdk.Conflict, "")
	wantCode(t, "Settle", s.Settle(t.Context(), turn, []core.Outcome{{Sequence: 1}}), sdk.Conflict, "")
	wantCode(t, "KeepTurn", s.KeepTurn(t.Context(), turn, time.Hour), sdk.Conflict, "")
	wantCode(t, "EndTurn", s.EndTurn(t.Context(), turn), sdk.Conflict, "")
}
