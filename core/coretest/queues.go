package coretest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

func testQueues(t *testing.T, open func(t *testing.T) core.Store) {
	t.Run("tell what waits, what runs and what could start", func(t *testing.T) {
		s := start(t, open)
		wantSame(t, "without requests", s.queues(), []core.QueueStanding(nil))
		ids := s.waiting("slow", "ada", "", 5)
		s.waiting("fast", "", "", 1)
		s.claim(ids[0], "w1", time.Hour)
		if err := s.Release(t.Context(), s.claim(ids[1], "w1", time.Hour), time.Hour, false); err != nil {
			t.Fatal(err)
		}
		if err := s.Release(t.Context(), s.claim(ids[2], "w1", time.Hour), 0, false); err != nil {
			t.Fatal(err)
		}
		s.patch(ids[3], &core.Change{State: core.Complete, Reason: "Done."})
		wantSame(t, "queues", s.queues(), []core.QueueStanding{
			{Name: "fast", Waiting: 1, Ready: 1}, {Name: "slow", Running: 1, Waiting: 3, Ready: 2},
		})
	})

	t.Run("give back what dead workers had, which lose their claims thereby", func(t *testing.T) {
		s := start(t, open)
		r := s.one()
		claim := s.claim(r.ID, "w1", 20*time.Millisecond)
		wait(t, "the request to be ready again", func() bool { return s.ready() == 1 })
		wantFenced(t, s, claim, "")
		if next, _ := s.next("default"); next == nil || next.ID != r.ID || next.TakeOvers != 1 {
			t.Errorf("next is %+v", next)
		}
	})

	t.Run("that are paused give nothing until they are resumed", func(t *testing.T) {
		s := start(t, open)
		s.waiting("q", "ada", "", 3)
		s.waiting("r", "ada", "", 1)
		_, claim := s.next("q")
		for _, reason := range []string{"an earlier one", "the registry moves"} {
			if err := s.Pause(t.Context(), "q", "eve", reason); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Pause(t.Context(), "empty", "", ""); err != nil {
			t.Fatal(err)
		}
		queues := s.queues()
		for i := range queues {
			if p := queues[i].Pause; p != nil {
				if p.Since.IsZero() {
					t.Errorf("queue %s is paused since no time", queues[i].Name)
				}
				p.Since = time.Time{}
			}
		}
		wantSame(t, "queues", queues, []core.QueueStanding{
			{Name: "empty", Pause: &core.Pause{}},
			{Name: "q", Running: 1, Waiting: 2, Pause: &core.Pause{By: "eve", Reason: "the registry moves"}},
			{Name: "r", Waiting: 1, Ready: 1},
		})
		if r, _ := s.next("q"); r != nil {
			t.Errorf("the paused queue gave %+v", r)
		}
		if r, _ := s.next("r"); r == nil {
			t.Error("another queue is paused too")
		}
		// What runs goes on, and what comes is stored.
		s.change(claim, &core.Change{State: core.Complete, Reason: "Done."})
		s.waiting("q", "ada", "", 1)
		for _, queue := range []string{"q", "q", "empty", "unknown"} {
			if err := s.Resume(t.Context(), queue); err != nil {
				t.Fatal(err)
			}
		}
		wantSame(t, "order", s.order("q"), "ada ada ada")
	})

	t.Run("the next request", func(t *testing.T) { testNext(t, open) })
}

// waiting stores requests of a user that wait in a queue, and returns their IDs.
func (s *subject) waiting(queue, user, lane string, count int) []int64 {
	s.t.Helper()
	n := plain()
	n.Queue, n.Lane = queue, lane
	var ids []int64
	for _, r := range s.submit(&core.NewBatch{User: user, Requests: slices.Repeat([]core.NewRequest{n}, count)}) {
		ids = append(ids, r.ID)
	}
	return ids
}

// order claims from a queue until nothing is left, ends each request before the
// next claim, and returns the users.
func (s *subject) order(queue string) string {
	s.t.Helper()
	var users []string
	for {
		r, claim := s.next(queue)
		if r == nil {
			return strings.Join(users, " ")
		}
		users = append(users, r.User)
		s.change(claim, &core.Change{State: core.Complete, Reason: "Done."})
	}
}

func testNext(t *testing.T, open func(t *testing.T) core.Store) {
	t.Run("is claimed as any other", func(t *testing.T) {
		s := start(t, open)
		n := plain()
		n.Trace = "00-a-b-01"
		r := s.submit(&core.NewBatch{User: "ada", Requests: []core.NewRequest{n}})[0]
		got, claim := s.next("default")
		wantSame(t, "what ClaimNext returned", got, s.request(r.ID))
		if got.Worker != "w" || got.Attempt != 1 || claim.Epoch != got.Epoch || got.Trace != n.Trace {
			t.Errorf("got %+v under %+v", got, claim)
		}
		s.change(claim, &core.Change{State: core.InProgress, Reason: "It runs."})
		_, _, err := s.ClaimNext(t.Context(), "default", "w2", time.Hour)
		wantCode(t, "ClaimNext with nothing left", err, sdk.NotFound, "")
	})

	t.Run("comes of its queue alone", func(t *testing.T) {
		s := start(t, open)
		s.waiting("other", "ada", "", 1)
		id := s.waiting("mine", "bob", "", 1)[0]
		if r, _ := s.next("mine"); r == nil || r.ID != id {
			t.Errorf("got %+v", r)
		}
		for _, queue := range []string{"mine", "unknown"} {
			if r, _ := s.next(queue); r != nil {
				t.Errorf("queue %s gave request %d of queue %s", queue, r.ID, r.Queue)
			}
		}
	})

	t.Run("is the oldest of its user", func(t *testing.T) {
		s := start(t, open)
		for _, want := range s.waiting("q", "ada", "", 4) {
			if r, _ := s.next("q"); r == nil || r.ID != want {
				t.Errorf("got %+v, want request %d", r, want)
			}
		}
	})

	t.Run("goes round among users, however many requests each has", func(t *testing.T) {
		s := start(t, open)
		s.waiting("q", "ada", "", 4)
		s.waiting("q", "bob", "", 1)
		s.waiting("q", "", "", 2)
		wantSame(t, "order", s.order("q"), "ada bob  ada  ada ada")
		// Who was served longest ago is remembered.
		s.waiting("q", "ada", "", 1)
		s.waiting("q", "bob", "", 1)
		wantSame(t, "order", s.order("q"), "bob ada")
		// And counts in its queue alone.
		s.waiting("r", "ada", "", 1)
		s.waiting("r", "bob", "", 1)
		wantSame(t, "order", s.order("r"), "ada bob")
	})

	t.Run("is of the user with the fewest running", func(t *testing.T) {
		s := start(t, open)
		s.waiting("q", "ada", "", 4)
		ada, adasClaim := s.next("q")
		s.waiting("q", "bob", "", 2)
		s.waiting("q", "cyd", "", 2)
		var users []string
		for range 5 {
			r, _ := s.next("q")
			users = append(users, r.User)
		}
		wantSame(t, "order", strings.Join(users, " "), "bob cyd ada bob cyd")
		s.waiting("q", "cyd", "", 1)
		// Ada has one running less from now on.
		s.change(adasClaim, &core.Change{State: core.Complete, Reason: "Done."})
		if r, _ := s.next("q"); r.User != "ada" || r.ID <= ada.ID {
			t.Errorf("got %+v", r)
		}
	})

	t.Run("passes over what waits for others in its lane", func(t *testing.T) {
		s := start(t, open)
		s.waiting("q", "ada", "lane", 2)
		s.waiting("q", "bob", "lane", 1)
		free := s.waiting("q", "bob", "", 1)[0]
		first, claim := s.next("q")
		if first.User != "ada" {
			t.Fatalf("got %+v", first)
		}
		if r, _ := s.next("q"); r == nil || r.ID != free {
			t.Errorf("got %+v", r)
		}
		for range 2 {
			if r, _ := s.next("q"); r != nil {
				t.Errorf("request %d overtook others", r.ID)
			}
		}
		// It is handed back, and first again.
		if err := s.Release(t.Context(), claim, 0, true); err != nil {
			t.Fatal(err)
		}
		again, claim := s.next("q")
		if again == nil || again.ID != first.ID {
			t.Fatalf("got %+v", again)
		}
		if r, _ := s.next("q"); r != nil {
			t.Errorf("request %d overtook others", r.ID)
		}
		s.change(claim, &core.Change{State: core.Failed, Reason: "No."})
		second, _ := s.next("q")
		if second == nil || second.User != "ada" {
			t.Fatalf("got %+v", second)
		}
		if _, err := s.Cancel(t.Context(), second.ID, "No."); err != nil {
			t.Fatal(err)
		}
		if third, _ := s.next("q"); third == nil || third.User != "bob" {
			t.Errorf("got %+v", third)
		}
	})

	t.Run("comes when a pause is over and not before", func(t *testing.T) {
		s := start(t, open)
		s.waiting("q", "ada", "", 1)
		other := s.waiting("q", "bob", "", 1)[0]
		r, claim := s.next("q")
		if err := s.Release(t.Context(), claim, 50*time.Millisecond, false); err != nil {
			t.Fatal(err)
		}
		if got, _ := s.next("q"); got == nil || got.ID != other {
			t.Errorf("got %+v", got)
		}
		wait(t, "the pause to be over", func() bool {
			got, _ := s.next("q")
			return got != nil && got.ID == r.ID && got.Attempt == 2
		})
	})

	t.Run("is nobody's who had nothing, and comes when there is something", func(t *testing.T) {
		s := start(t, open)
		s.waiting("q", "ada", "", 1)
		wantSame(t, "order", s.order("q"), "ada")
		s.waiting("q", "ada", "", 1)
		if _, err := s.Cancel(t.Context(), 2, "No."); err != nil {
			t.Fatal(err)
		}
		if r, _ := s.next("q"); r != nil {
			t.Errorf("got %+v", r)
		}
		s.waiting("q", "ada", "", 1)
		wantSame(t, "order", s.order("q"), "ada")
	})

	t.Run("is claimed by one of many at once, in fairness", func(t *testing.T) {
		s := start(t, open)
		const users, each, workers, rounds = 4, 10, 8, 2
		for u := range users {
			s.waiting("q", fmt.Sprintf("user-%d", u), "", each)
		}
		var mu sync.Mutex
		seen := make(map[int64]int)
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				for range rounds {
					r, _, err := s.ClaimNext(t.Context(), "q", fmt.Sprint("w", w), time.Hour)
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					seen[r.ID]++
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		running := make(map[string]int)
		for id, times := range seen {
			if times != 1 {
				t.Errorf("request %d was claimed %d times", id, times)
			}
			running[s.request(id).User]++
		}
		for user, count := range running {
			if count != workers*rounds/users {
				t.Errorf("%s has %d running", user, count)
			}
		}
	})
}
