package coretest

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

func testClaims(t *testing.T, open func(t *testing.T) core.Store) {
	t.Run("a claim shows on the request and counts an attempt", func(t *testing.T) {
		s := start(t, open)
		r := s.one()
		got, claim, err := s.Claim(t.Context(), r.ID, "w1", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		wantSame(t, "what Claim returned", got, s.request(r.ID))
		if got.Worker != "w1" || got.Attempt != 1 || got.Epoch != claim.Epoch || !got.Lease.After(got.Accepted) {
			t.Errorf("got %+v", got)
		}
		if claim.Request != r.ID || claim.Worker != "w1" || claim.Epoch <= r.Epoch {
			t.Errorf("claim %+v", claim)
		}
	})

	t.Run("nobody else can claim while a lease runs, not even under the same name", func(t *testing.T) {
		s := start(t, open)
		r := s.one()
		claim := s.claim(r.ID, "w1", time.Hour)
		for _, worker := range []string{"w2", "w1"} {
			_, _, err := s.Claim(t.Context(), r.ID, worker, time.Hour)
			wantCode(t, "Claim by "+worker, err, sdk.Conflict, "")
		}
		if err := s.Renew(t.Context(), claim, time.Hour); err != nil {
			t.Errorf("Renew after that: %v", err)
		}
	})

	t.Run("of fifty workers one gets each request", func(t *testing.T) {
		s := start(t, open)
		const workers, requests = 50, 20
		batch := &core.NewBatch{}
		for range requests {
			batch.Requests = append(batch.Requests, plain())
		}
		created := s.submit(batch)
		var mu sync.Mutex
		claims := make(map[int64][]core.Claim)
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				for i := range created {
					// Each begins elsewhere, so that all meet all.
					r := created[(i+w)%requests]
					_, claim, err := s.Claim(t.Context(), r.ID, fmt.Sprintf("w%d", w), time.Hour)
					if err == nil {
						mu.Lock()
						claims[r.ID] = append(claims[r.ID], claim)
						mu.Unlock()
					} else if sdk.CodeOf(err) != sdk.Conflict {
						t.Errorf("Claim: %v", err)
					}
				}
			})
		}
		wg.Wait()
		for _, r := range created {
			if len(claims[r.ID]) != 1 {
				t.Errorf("request %d was claimed as %v", r.ID, claims[r.ID])
			}
			if got := s.request(r.ID); got.Attempt != 1 {
				t.Errorf("request %d counts %d attempts", r.ID, got.Attempt)
			}
		}
	})

	t.Run("a dead claim is taken over, and its holder fenced off", func(t *testing.T) {
		s := start(t, open)
		r := s.one()
		stale := s.claim(r.ID, "w1", 20*time.Millisecond)
		fresh := s.eventually(r.ID, "w2")
		if fresh.Epoch <= stale.Epoch {
			t.Errorf("epoch %d after %d", fresh.Epoch, stale.Epoch)
		}
		wantFenced(t, s, stale, "")
		s.change(fresh, &core.Change{State: core.InProgress, Reason: "by w2"})
		if got := s.request(r.ID); got.Worker != "w2" || got.Attempt != 2 || got.TakeOvers != 1 {
			t.Errorf("got %+v", got)
		}
	})

	t.Run("take-overs are counted, and nothing else is one", func(t *testing.T) {
		s := start(t, open)
		r := s.one()
		s.claim(r.ID, "w1", 20*time.Millisecond)
		s.claim(s.one().ID, "w1", time.Hour)
		wait(t, "the request to be runnable again", func() bool { return s.ready() == 1 })
		if got := s.request(r.ID); got.Attempt != 1 || got.TakeOvers != 1 {
			t.Errorf("when its worker is known to be dead: %+v", got)
		}
		for range 2 {
			if err := s.Release(t.Context(), s.claim(r.ID, "w2", time.Hour), 0, false); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Release(t.Context(), s.claim(r.ID, "w2", time.Hour), 0, true); err != nil {
			t.Fatal(err)
		}
		if got := s.request(r.ID); got.Attempt != 3 || got.TakeOvers != 1 {
			t.Errorf("after it was handed back: %+v", got)
		}
	})

	t.Run("a claim that is renewed stays, however short its lease", func(t *testing.T) {
		s := start(t, open)
		r := s.one()
		claim := s.claim(r.ID, "w1", time.Nanosecond)
		if err := s.Renew(t.Context(), claim, time.Hour); err != nil {
			t.Fatal(err)
		}
		_, _, err := s.Claim(t.Context(), r.ID, "w2", time.Hour)
		wantCode(t, "Claim", err, sdk.Conflict, "")
	})

	t.Run("a holder that is late but not replaced goes on", func(t *testing.T) {
		s := start(t, open)
		r := s.one()
		claim := s.claim(r.ID, "w1", time.Nanosecond)
		s.change(claim, &core.Change{State: core.InProgress, Reason: "late"})
		if err := s.Renew(t.Context(), claim, time.Hour); err != nil {
			t.Errorf("Renew: %v", err)
		}
	})

	t.Run("an end gives up the claim", func(t *testing.T) {
		for _, end := range []core.State{core.Complete, core.Failed} {
			s := start(t, open)
			r := s.one()
			claim := s.claim(r.ID, "w1", time.Hour)
			got := s.change(claim, &core.Change{State: end, Reason: "end"})
			if got.Worker != "" || !got.Lease.IsZero() || got.Attempt != 1 {
				t.Errorf("got %+v", got)
			}
			wantFenced(t, s, claim, core.ReasonFinal)
			_, _, err := s.Claim(t.Context(), r.ID, "w2", time.Hour)
			wantCode(t, "Claim", err, sdk.Conflict, core.ReasonFinal)
		}
	})

	t.Run("a request that ends by a patch gives up its claim too", func(t *testing.T) {
		s := start(t, open)
		r := s.one()
		claim := s.claim(r.ID, "w1", time.Hour)
		s.patch(r.ID, &core.Change{State: core.Complete, Reason: "from outside"})
		wantFenced(t, s, claim, core.ReasonFinal)
	})

	t.Run("claims that were never given are refused", func(t *testing.T) {
		s := start(t, open)
		r := s.one()
		wantFenced(t, s, core.Claim{Request: r.ID}, "")
		wantFenced(t, s, core.Claim{Request: r.ID, Worker: "w1"}, "")
		claim := s.claim(r.ID, "w1", time.Hour)
		for _, forged := range []core.Claim{
			{Request: r.ID, Worker: "w2", Epoch: claim.Epoch},
			{Request: r.ID, Worker: "w1", Epoch: claim.Epoch + 1},
			{Request: r.ID, Worker: "w1", Epoch: claim.Epoch - 1},
			{Request: r.ID, Worker: "", Epoch: claim.Epoch},
		} {
			wantFenced(t, s, forged, "")
		}
		_, _, err := s.Claim(t.Context(), r.ID+1, "w1", time.Hour)
		wantCode(t, "Claim of an unknown request", err, sdk.NotFound, "")
		wantCode(t, "Renew of an unknown request", s.Renew(t.Context(), core.Claim{Request: r.ID + 1, Worker: "w1", Epoch: 1}, time.Hour), sdk.NotFound, "")
	})

	t.Run("a release", func(t *testing.T) { testRelease(t, open) })
	t.Run("a lane", func(t *testing.T) { testLanes(t, open) })
}

func testLanes(t *testing.T, open func(t *testing.T) core.Store) {
	laned := func(s *subject, lane string) int64 {
		n := plain()
		n.Lane = lane
		return s.submit(&core.NewBatch{Requests: []core.NewRequest{n}})[0].ID
	}
	t.Run("has one request running, the oldest", func(t *testing.T) {
		s := start(t, open)
		first, other, second, free, third := laned(s, "a"), laned(s, "b"), laned(s, "a"), laned(s, ""), laned(s, "a")
		refused := func(id int64) {
			t.Helper()
			_, _, err := s.Claim(t.Context(), id, "w", time.Hour)
			wantCode(t, "Claim", err, sdk.Conflict, "")
		}
		wantSame(t, "ready", s.ready(), int64(3))
		refused(second)
		claim := s.claim(first, "w1", time.Hour)
		refused(second)
		wantSame(t, "ready", s.ready(), int64(2))
		// One that waits for its next attempt is not overtaken.
		if err := s.Release(t.Context(), claim, time.Hour, false); err != nil {
			t.Fatal(err)
		}
		refused(second)
		wantSame(t, "ready", s.ready(), int64(2))
		if _, err := s.Cancel(t.Context(), first, "No."); err != nil {
			t.Fatal(err)
		}
		wantSame(t, "ready", s.ready(), int64(3))
		refused(third)
		s.change(s.claim(second, "w2", time.Hour), &core.Change{State: core.Complete, Reason: "Done."})
		s.claim(third, "w1", time.Hour)
		s.claim(other, "w1", time.Hour)
		s.claim(free, "w1", time.Hour)
	})
	t.Run("is kept by many who claim at once", func(t *testing.T) {
		s := start(t, open)
		const requests, workers = 12, 6
		for range requests {
			laned(s, "a")
		}
		var mu sync.Mutex
		var order []int64
		running := 0
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				for {
					mu.Lock()
					over := len(order) == requests
					mu.Unlock()
					if over {
						return
					}
					for id := int64(1); id <= requests; id++ {
						_, claim, err := s.Claim(t.Context(), id, fmt.Sprint("w", w), time.Hour)
						if err != nil {
							continue
						}
						mu.Lock()
						if running++; running > 1 {
							t.Errorf("%d of a lane run at once", running)
						}
						order = append(order, id)
						mu.Unlock()
						// Another claim would succeed here if the lane let it.
						runtime.Gosched()
						mu.Lock()
						running--
						mu.Unlock()
						if _, err := s.Change(t.Context(), claim, &core.Change{State: core.Complete, Reason: "Done."}); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
		wg.Wait()
		if !slices.IsSorted(order) {
			t.Errorf("they ran in the order %v", order)
		}
	})
}

// wantFenced fails unless every call under a claim is a conflict that leaves
// the request as it is.
func wantFenced(t *testing.T, s *subject, claim core.Claim, reason string) {
	t.Helper()
	before, last := s.request(claim.Request), s.last()
	_, err := s.Change(t.Context(), claim, &core.Change{State: core.InProgress, Reason: "stale", Arches: []string{"stale"}})
	wantCode(t, "Change", err, sdk.Conflict, reason)
	_, _, err = s.Secrets(t.Context(), claim)
	wantCode(t, "Secrets", err, sdk.Conflict, reason)
	wantCode(t, "Renew", s.Renew(t.Context(), claim, time.Hour), sdk.Conflict, reason)
	wantCode(t, "Release", s.Release(t.Context(), claim, 0, true), sdk.Conflict, reason)
	wantSame(t, "the request", s.request(claim.Request), before)
	if s.last() != last {
		t.Error("a refused write made an event")
	}
}

func testRelease(t *testing.T, open func(t *testing.T) core.Store) {
	t.Run("lets the next attempt begin", func(t *testing.T) {
		s := start(t, open)
		r := s.one()
		claim := s.claim(r.ID, "w1", time.Hour)
		if err := s.Release(t.Context(), claim, 0, false); err != nil {
			t.Fatal(err)
		}
		wantFenced(t, s, claim, "")
		got := s.request(r.ID)
		if got.Worker != "" || !got.Lease.IsZero() || got.Attempt != 1 || len(got.History) != 1 {
			t.Errorf("got %+v", got)
		}
		next := s.claim(r.ID, "w1", time.Hour)
		if next.Epoch <= claim.Epoch || s.request(r.ID).Attempt != 2 {
			t.Errorf("next claim %+v after %+v", next, claim)
		}
	})

	t.Run("that is not counted takes the attempt back", func(t *testing.T) {
		s := start(t, open)
		r := s.one()
		for range 3 {
			if err := s.Release(t.Context(), s.claim(r.ID, "w1", time.Hour), 0, true); err != nil {
				t.Fatal(err)
			}
		}
		s.claim(r.ID, "w1", time.Hour)
		if got := s.request(r.ID); got.Attempt != 1 {
			t.Errorf("attempt %d", got.Attempt)
		}
	})

	t.Run("with a delay puts the next attempt off", func(t *testing.T) {
		s := start(t, open)
		r := s.one()
		if err := s.Release(t.Context(), s.claim(r.ID, "w1", time.Hour), time.Hour, false); err != nil {
			t.Fatal(err)
		}
		_, _, err := s.Claim(t.Context(), r.ID, "w2", time.Hour)
		wantCode(t, "Claim", err, sdk.Conflict, "")
		wantSame(t, "the queue", s.queues(), []core.QueueStanding{{Name: "default", Waiting: 1}})
		if got := s.request(r.ID); !got.NotBefore.After(got.Accepted) {
			t.Errorf("NotBefore is %v", got.NotBefore)
		}
	})

	t.Run("with a delay that has passed does not", func(t *testing.T) {
		s := start(t, open)
		r := s.one()
		if err := s.Release(t.Context(), s.claim(r.ID, "w1", time.Hour), 10*time.Millisecond, false); err != nil {
			t.Fatal(err)
		}
		s.eventually(r.ID, "w2")
		if got := s.request(r.ID); !got.NotBefore.IsZero() {
			t.Errorf("NotBefore is %v under the next claim", got.NotBefore)
		}
	})
}

// wait polls until a condition holds.
func wait(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited a minute for %s", what)
		}
	}
}

func testSecrets(t *testing.T, open func(t *testing.T) core.Store) {
	secretive := func() *core.NewBatch {
		n := plain()
		n.Secrets = map[string]sdk.Secret{"overwrite": "user:tok\x00en\xff", "empty": ""}
		n.Grants = []sdk.Grant{
			{Scope: "registry.test", Username: "u", Password: "p1"},
			{Scope: "registry.test/ns/repo", Password: "p2"},
		}
		other := plain()
		other.Secrets = map[string]sdk.Secret{"cnr_token": "c"}
		return &core.NewBatch{Requests: []core.NewRequest{n, other, plain()}}
	}

	t.Run("are opened for the claim, each request's own", func(t *testing.T) {
		s := start(t, open)
		batch := secretive()
		for i, r := range s.submit(batch) {
			secrets, grants, err := s.Secrets(t.Context(), s.claim(r.ID, "w1", time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			want := batch.Requests[i]
			if len(secrets) != len(want.Secrets) || !slices.Equal(grants, want.Grants) {
				t.Errorf("request %d has %d secrets and %d grants", r.ID, len(secrets), len(grants))
			}
			for name, secret := range want.Secrets {
				if got, ok := secrets[name]; !ok || got != secret {
					t.Errorf("secret %s came back as another", name)
				}
			}
		}
	})

	t.Run("stay for the next attempt", func(t *testing.T) {
		s := start(t, open)
		r := s.submit(secretive())[0]
		if err := s.Release(t.Context(), s.claim(r.ID, "w1", time.Hour), 0, false); err != nil {
			t.Fatal(err)
		}
		secrets, grants, err := s.Secrets(t.Context(), s.claim(r.ID, "w2", time.Hour))
		if len(secrets) != 2 || len(grants) != 2 || err != nil {
			t.Errorf("%d secrets, %d grants, error %v", len(secrets), len(grants), err)
		}
	})

	t.Run("are not for whoever holds no claim", func(t *testing.T) {
		s := start(t, open)
		r := s.submit(secretive())[0]
		wantFenced(t, s, core.Claim{Request: r.ID}, "")
		_, _, err := s.Secrets(t.Context(), core.Claim{Request: 1 << 40})
		wantCode(t, "Secrets of an unknown request", err, sdk.NotFound, "")
	})

	t.Run("are kept out of everything else", func(t *testing.T) {
		s := start(t, open)
		r := s.submit(secretive())[0]
		for _, e := range s.events(0) {
			if text := fmt.Sprintf("%+v %+v", e, e.Snapshot); strings.Contains(text, "tok") {
				t.Errorf("an event tells %s", text)
			}
		}
		if text := fmt.Sprintf("%+v", s.request(r.ID)); strings.Contains(text, "tok") {
			t.Errorf("the request tells %s", text)
		}
	})
}
