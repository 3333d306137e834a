package coretest

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

func testDeliveries(t *testing.T, open func(t *testing.T) core.Store) {
	t.Run("a notifier hears of what happens from its first turn on", func(t *testing.T) {
		s := start(t, open)
		s.one()
		turn := s.turn("amqp", "w1")
		if due := s.due(turn, 10); len(due) != 0 {
			t.Errorf("due: %v", sequences(due))
		}
		r := s.one()
		due := s.due(turn, 10)
		wantSame(t, "what is due", eventsOf(due), s.events(2))
		for _, d := range due {
			if d.Event.Batch != r.Batch || d.Attempt != 1 {
				t.Errorf("delivery %+v", d)
			}
		}
	})

	t.Run("what was taken does not come again, also in another turn", func(t *testing.T) {
		s := start(t, open)
		turn := s.turn("amqp", "w1")
		s.one()
		s.take(turn, s.due(turn, 10))
		if err := s.EndTurn(t.Context(), turn); err != nil {
			t.Fatal(err)
		}
		s.one()
		next := s.turn("amqp", "w2")
		wantSame(t, "what is due next", sequences(s.due(next, 10)), []int64{3, 4})
	})

	t.Run("notifiers are told independently", func(t *testing.T) {
		s := start(t, open)
		a, b := s.turn("amqp", "w1"), s.turn("webhook", "w1")
		s.one()
		s.take(a, s.due(a, 10))
		wantSame(t, "the other's", sequences(s.due(b, 10)), []int64{1, 2})
	})

	t.Run("events come in parts, each once", func(t *testing.T) {
		s := start(t, open)
		turn := s.turn("amqp", "w1")
		for range 10 {
			s.one()
		}
		var got []int64
		for {
			due := s.due(turn, 3)
			if len(due) == 0 {
				break
			}
			if len(due) > 3 {
				t.Fatalf("%d at once", len(due))
			}
			got = append(got, sequences(due)...)
			s.take(turn, due)
		}
		var want []int64
		for i := range int64(20) {
			want = append(want, i+1)
		}
		wantSame(t, "all that came", got, want)
	})

	t.Run("of a batch that is in hand no more is handed out", func(t *testing.T) {
		s := start(t, open)
		turn := s.turn("amqp", "w1")
		a, b := s.one(), s.one()
		first := s.due(turn, 1)
		wantSame(t, "first", sequences(first), []int64{1})
		second := s.due(turn, 10)
		wantSame(t, "while that is in hand", sequences(second), []int64{3, 4})
		s.patch(a.ID, &core.Change{State: core.InProgress, Reason: "a"})
		s.patch(b.ID, &core.Change{State: core.InProgress, Reason: "b"})
		if due := s.due(turn, 10); len(due) != 0 {
			t.Errorf("while all are in hand: %v", sequences(due))
		}
		s.take(turn, first)
		wantSame(t, "the rest of the first batch", sequences(s.due(turn, 10)), []int64{2, 5})
		s.take(turn, second)
		wantSame(t, "the rest of the second", sequences(s.due(turn, 10)), []int64{6})
	})

	t.Run("a failure holds up its batch and nothing else", func(t *testing.T) {
		s := start(t, open)
		turn := s.turn("amqp", "w1")
		s.one()
		s.one()
		due := s.due(turn, 10)
		s.settle(turn, core.Outcome{Sequence: 1, Error: "no\x00t now", Retry: time.Hour}, core.Outcome{Sequence: 2, Uncounted: true})
		s.take(turn, due[2:])
		if due := s.due(turn, 10); len(due) != 0 {
			t.Errorf("due: %v", sequences(due))
		}
		got, err := s.Undelivered(t.Context(), "amqp", 0, 10)
		if err != nil || len(got) != 2 {
			t.Fatalf("Undelivered = %v, %v", got, err)
		}
		if !got[0].NotBefore.After(due[0].Event.Time) {
			t.Errorf("it is tried again at %v", got[0].NotBefore)
		}
		got[0].NotBefore = time.Time{}
		want := core.Undelivered{
			Sequence: 1, Kind: core.RequestEvent, Request: 1, Batch: 1, State: core.InProgress, Attempts: 1, Error: "no\uFFFDt now",
		}
		wantSame(t, "what was not taken", got[0], want)
	})

	t.Run("a failure is tried again after its delay, and counted", func(t *testing.T) {
		s := start(t, open)
		turn := s.turn("amqp", "w1")
		s.one()
		for attempt := 1; attempt <= 3; attempt++ {
			var due []core.Delivery
			wait(t, "the next attempt", func() bool { due = s.due(turn, 1); return len(due) > 0 })
			if due[0].Event.Sequence != 1 || due[0].Attempt != attempt {
				t.Errorf("attempt %d is %+v", attempt, due[0])
			}
			s.settle(turn, core.Outcome{Sequence: 1, Error: "no", Retry: 10 * time.Millisecond})
		}
	})

	t.Run("an attempt that is not counted is not", func(t *testing.T) {
		s := start(t, open)
		turn := s.turn("amqp", "w1")
		s.one()
		for range 3 {
			due := s.due(turn, 1)
			if len(due) != 1 || due[0].Attempt != 1 {
				t.Fatalf("due: %+v", due)
			}
			s.settle(turn, core.Outcome{Sequence: 1, Error: "the broker is down", Uncounted: true})
		}
	})

	t.Run("a parked event holds up nothing, until it is replayed", func(t *testing.T) {
		s := start(t, open)
		turn := s.turn("amqp", "w1")
		r := s.one()
		s.due(turn, 10)
		s.settle(turn, core.Outcome{Sequence: 1, Error: "poison", Park: true}, core.Outcome{Sequence: 2})
		s.patch(r.ID, &core.Change{State: core.InProgress, Reason: "next"})
		due := s.due(turn, 10)
		wantSame(t, "due behind a parked one", sequences(due), []int64{3})
		s.take(turn, due)
		got := s.subscription("amqp")
		if got.Parked != 1 || got.Waiting != 0 || got.Behind != 0 || got.Error != "poison" || got.Failed.IsZero() || got.Delivered.IsZero() {
			t.Errorf("subscription %+v", got)
		}
		if n, err := s.Replay(t.Context(), "amqp", core.Replay{Parked: true}); n != 1 || err != nil {
			t.Fatalf("Replay = %d, %v", n, err)
		}
		due = s.due(turn, 10)
		if len(due) != 1 || due[0].Event.Sequence != 1 || due[0].Attempt != 1 {
			t.Errorf("due after the replay: %+v", due)
		}
	})

	t.Run("what is not in hand cannot be settled", func(t *testing.T) {
		s := start(t, open)
		turn := s.turn("amqp", "w1")
		s.one()
		s.one()
		s.due(turn, 1)
		s.settle(turn, core.Outcome{Sequence: 1, Error: "no"})
		for _, o := range []core.Outcome{{}, {Error: "again", Retry: time.Hour}, {Park: true}} {
			for _, sequence := range []int64{1, 2, 3, 99} {
				o.Sequence = sequence
				s.settle(turn, o)
			}
		}
		due := s.due(turn, 10)
		wantSame(t, "due", sequences(due), []int64{1, 2, 3, 4})
		if due[0].Attempt != 2 || s.subscription("amqp").Error != "no" {
			t.Errorf("%+v, %+v", due[0], s.subscription("amqp"))
		}
	})

	t.Run("subscriptions tell how notifiers stand", func(t *testing.T) {
		s := start(t, open)
		turn := s.turn("b", "w1")
		s.turn("a", "w2")
		s.one()
		s.one()
		s.take(turn, s.due(turn, 1))
		var got []string
		all, err := s.Subscriptions(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range all {
			got = append(got, fmt.Sprintf("%s %s %d", n.Notifier, n.Worker, n.Behind+n.Waiting))
		}
		wantSame(t, "subscriptions", got, []string{"a w2 4", "b w1 3"})
	})

	t.Run("a notifier can be forgotten, and begins anew", func(t *testing.T) {
		s := start(t, open)
		turn := s.turn("amqp", "w1")
		s.one()
		s.due(turn, 1)
		for range 2 {
			if err := s.Unsubscribe(t.Context(), "amqp"); err != nil {
				t.Fatal(err)
			}
		}
		wantTurnLost(t, s, turn)
		if due := s.due(s.turn("amqp", "w1"), 10); len(due) != 0 {
			t.Errorf("due: %v", sequences(due))
		}
	})

	t.Run("a turn", func(t *testing.T) { testTurns(t, open) })
	t.Run("a replay", func(t *testing.T) { testReplay(t, open) })
	t.Run("many processes share the work without doubling", func(t *testing.T) { testSharing(t, open) })
}

func testReplay(t *testing.T, open func(t *testing.T) core.Store) {
	s := start(t, open)
	turn := s.turn("amqp", "w1")
	a := s.one() // events 1 and 2
	s.one()      // 3 and 4
	s.patch(a.ID, &core.Change{State: core.Complete, Reason: "done"})
	s.take(turn, s.due(turn, 100)) // 5 and 6
	for _, c := range []struct {
		name string
		give core.Replay
		want []int64
	}{
		{"of everything", core.Replay{}, []int64{1, 2, 3, 4, 5, 6}},
		{"from an event on", core.Replay{From: 5}, []int64{5, 6}},
		{"of a range", core.Replay{From: 2, To: 3}, []int64{2, 3}},
		{"of a request", core.Replay{Request: a.ID}, []int64{1, 5}},
		{"of a batch", core.Replay{Batch: a.Batch, From: 2}, []int64{2, 5, 6}},
		{"of what does not exist", core.Replay{Request: 1 << 40}, nil},
		{"of parked ones where there are none", core.Replay{Parked: true}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			n, err := s.Replay(t.Context(), "amqp", c.give)
			if err != nil || n != int64(len(c.want)) {
				t.Errorf("Replay = %d, %v", n, err)
			}
			due := s.due(turn, 100)
			wantSame(t, "due", sequences(due), c.want)
			s.take(turn, due)
		})
	}
	t.Run("leaves what is on its way alone", func(t *testing.T) {
		s.one()
		due := s.due(turn, 1)
		if n, err := s.Replay(t.Context(), "amqp", core.Replay{From: 7}); n != 0 || err != nil {
			t.Errorf("Replay = %d, %v", n, err)
		}
		s.take(turn, due)
	})
	t.Run("for an unknown notifier is not found", func(t *testing.T) {
		_, err := s.Replay(t.Context(), "webhook", core.Replay{})
		wantCode(t, "Replay", err, sdk.NotFound, "")
	})
}

// testSharing lets workers take turns while requests run, and fails and gives up
// at random places.
func testSharing(t *testing.T, open func(t *testing.T) core.Store) {
	s := start(t, open)
	if err := s.EndTurn(t.Context(), s.turn("amqp", "first")); err != nil {
		t.Fatal(err)
	}
	const requests = 40
	var mu sync.Mutex
	var heard []core.Event
	done := make(chan struct{})
	var workers sync.WaitGroup
	for w := range 4 {
		workers.Go(func() {
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-done:
					return
				case <-tick.C:
				}
				turn, err := s.TakeTurn(t.Context(), "amqp", fmt.Sprint("w", w), time.Hour)
				if sdk.CodeOf(err) == sdk.Conflict {
					continue
				}
				if err != nil {
					t.Errorf("TakeTurn: %v", err)
					return
				}
				due, err := s.Due(t.Context(), turn, 7)
				if err != nil {
					t.Errorf("Due: %v", err)
				}
				var outcomes []core.Outcome
				failed := make(map[int64]bool)
				for _, d := range due {
					// Every fifth event fails the first time.
					if d.Event.Sequence%5 == 0 && d.Attempt == 1 && !failed[d.Event.Batch] {
						failed[d.Event.Batch] = true
						outcomes = append(outcomes, core.Outcome{Sequence: d.Event.Sequence, Error: "no"})
					} else if failed[d.Event.Batch] {
						outcomes = append(outcomes, core.Outcome{Sequence: d.Event.Sequence, Uncounted: true})
					} else {
						outcomes = append(outcomes, core.Outcome{Sequence: d.Event.Sequence})
						mu.Lock()
						heard = append(heard, d.Event)
						mu.Unlock()
					}
				}
				if err := s.Settle(t.Context(), turn, outcomes); err != nil {
					t.Errorf("Settle: %v", err)
				}
				if err := s.EndTurn(t.Context(), turn); err != nil {
					t.Errorf("EndTurn: %v", err)
				}
			}
		})
	}
	for range requests {
		r := s.one()
		s.patch(r.ID, &core.Change{State: core.InProgress, Reason: "working"})
		s.patch(r.ID, &core.Change{State: core.Complete, Reason: "done"})
	}
	wait(t, "all events to be delivered", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(heard) >= requests*5
	})
	close(done)
	workers.Wait()

	perBatch := make(map[int64][]int64)
	for _, e := range heard {
		perBatch[e.Batch] = append(perBatch[e.Batch], e.Sequence)
	}
	for batch, order := range perBatch {
		if len(order) != 5 || !slices.IsSorted(order) {
			t.Errorf("batch %d was told as %v", batch, order)
		}
	}
	if got := s.subscription("amqp"); got.Behind+got.Waiting+got.Parked != 0 {
		t.Errorf("left over: %+v", got)
	}
}

func (s *subject) turn(notifier, worker string) core.Turn {
	s.t.Helper()
	turn, err := s.TakeTurn(s.t.Context(), notifier, worker, time.Hour)
	if err != nil {
		s.t.Fatalf("TakeTurn(%s, %s): %v", notifier, worker, err)
	}
	return turn
}

func (s *subject) due(turn core.Turn, limit int) []core.Delivery {
	s.t.Helper()
	due, err := s.Due(s.t.Context(), turn, limit)
	if err != nil {
		s.t.Fatalf("Due(%v): %v", turn, err)
	}
	return due
}

// take reports deliveries as taken.
func (s *subject) take(turn core.Turn, deliveries []core.Delivery) {
	s.t.Helper()
	var outcomes []core.Outcome
	for _, d := range deliveries {
		outcomes = append(outcomes, core.Outcome{Sequence: d.Event.Sequence})
	}
	s.settle(turn, outcomes...)
}

func (s *subject) settle(turn core.Turn, outcomes ...core.Outcome) {
	s.t.Helper()
	if err := s.Settle(s.t.Context(), turn, outcomes); err != nil {
		s.t.Fatalf("Settle(%v, %v): %v", turn, outcomes, err)
	}
}

func (s *subject) subscription(notifier string) core.Subscription {
	s.t.Helper()
	all, err := s.Subscriptions(s.t.Context())
	if err != nil {
		s.t.Fatalf("Subscriptions: %v", err)
	}
	for _, n := range all {
		if n.Notifier == notifier {
			return n
		}
	}
	s.t.Fatalf("notifier %s is not among %v", notifier, all)
	return core.Subscription{}
}

func sequences(deliveries []core.Delivery) []int64 {
	var all []int64
	for _, d := range deliveries {
		all = append(all, d.Event.Sequence)
	}
	return all
}

func eventsOf(deliveries []core.Delivery) []core.Event {
	var all []core.Event
	for _, d := range deliveries {
		all = append(all, d.Event)
	}
	return all
}
