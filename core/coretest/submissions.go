package coretest

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

func testSubmissions(t *testing.T, open func(t *testing.T) core.Store) {
	t.Run("what was submitted is what is stored", func(t *testing.T) {
		s := start(t, open)
		n := core.NewRequest{
			Type: "rm", Queue: "serial", Target: "registry.test/ns/index:v2", Overwrite: true,
			Params: json.RawMessage(`{"operators":["a","<b> & c"],"n":12345678901234567890}`),
			Fields: map[string]json.RawMessage{
				"operators":  json.RawMessage(`["a","<b> & c"]`),
				"from_index": json.RawMessage(`"registry.test/ns/index:v2"`),
				"number":     json.RawMessage(`1.00`),
				"nothing":    json.RawMessage(`null`),
			},
			Reason: "Accepted.",
		}
		batch := &core.NewBatch{User: "bob@EXAMPLE.COM", Annotations: json.RawMessage(`{"msdp":"1"}`), Requests: []core.NewRequest{n}}
		created := s.submit(batch)[0]
		if created.Accepted.IsZero() || created.Accepted.Location().String() != "UTC" || created.Accepted.Nanosecond()%1000 != 0 {
			t.Errorf("Accepted is %v; want UTC in microseconds", created.Accepted)
		}
		want := &core.Request{
			Request: sdk.Request{
				ID: created.ID, Type: "rm", User: "bob@EXAMPLE.COM", Batch: created.Batch, Queue: "serial",
				Target: "registry.test/ns/index:v2", Overwrite: true, Params: n.Params, Accepted: created.Accepted,
			},
			BatchAnnotations: batch.Annotations,
			History:          []core.StateEntry{{State: core.InProgress, Reason: "Accepted.", Time: created.Accepted}},
			Arches:           []string{},
			Fields:           n.Fields,
		}
		wantSame(t, "what Create returned", created, want)
		wantSame(t, "what Request returned", s.request(created.ID), want)
	})

	t.Run("a request without anything has an empty object for what is left out", func(t *testing.T) {
		s := start(t, open)
		r := s.submit(&core.NewBatch{Requests: []core.NewRequest{{Type: "add", Queue: "default"}}})[0]
		got := s.request(r.ID)
		wantSame(t, "stored", got, r)
		if string(got.Params) != "{}" || got.Fields == nil || got.Arches == nil || got.BatchAnnotations != nil || got.User != "" {
			t.Errorf("got %+v", got)
		}
	})

	t.Run("requests and batches are numbered from 1, independently", func(t *testing.T) {
		s := start(t, open)
		a := s.submit(&core.NewBatch{Requests: []core.NewRequest{plain(), plain(), plain()}})
		b := s.submit(&core.NewBatch{Requests: []core.NewRequest{plain(), plain()}})
		var got [][2]int64
		for _, r := range append(a, b...) {
			got = append(got, [2]int64{r.ID, r.Batch})
		}
		wantSame(t, "IDs and batches", got, [][2]int64{{1, 1}, {2, 1}, {3, 1}, {4, 2}, {5, 2}})
	})

	t.Run("a submission that is refused leaves nothing", func(t *testing.T) {
		for name, batch := range map[string]*core.NewBatch{
			"no requests":                    {},
			"annotations that are an array":  {Annotations: json.RawMessage(`[]`), Requests: []core.NewRequest{plain()}},
			"second request's params broken": {Requests: []core.NewRequest{plain(), {Type: "add", Params: json.RawMessage(`{`)}}},
		} {
			t.Run(name, func(t *testing.T) {
				s := start(t, open)
				_, _, err := s.Create(t.Context(), batch)
				wantCode(t, "Create", err, sdk.Invalid, "")
				if _, total, err := s.List(t.Context(), core.Filter{}, core.Page{}); total != 0 || err != nil {
					t.Errorf("List finds %d, error %v", total, err)
				}
				if last := s.last(); last != 0 {
					t.Errorf("there is an event %d", last)
				}
				if r := s.one(); r.ID != 1 || r.Batch != 1 {
					t.Errorf("the next request is %d in batch %d", r.ID, r.Batch)
				}
			})
		}
	})

	t.Run("annotations of null and none are the same, an empty object stays", func(t *testing.T) {
		s := start(t, open)
		for _, c := range []struct{ give, want string }{{"", ""}, {"null", ""}, {"{}", "{}"}} {
			batch := &core.NewBatch{Annotations: json.RawMessage(c.give), Requests: []core.NewRequest{plain()}}
			r := s.request(s.submit(batch)[0].ID)
			if string(r.BatchAnnotations) != c.want {
				t.Errorf("annotations %q became %q", c.give, r.BatchAnnotations)
			}
		}
	})

	t.Run("text that is not UTF-8 or has a zero byte is kept readable", func(t *testing.T) {
		s := start(t, open)
		n := plain()
		n.Reason = "a\x00b\xffc"
		n.Images = []string{"registry.test/\xff:1"}
		r := s.submit(&core.NewBatch{User: "\xfcser", Requests: []core.NewRequest{n}})[0]
		got := s.request(r.ID)
		wantSame(t, "stored", got, r)
		if got.State().Reason != "a\uFFFDb\uFFFDc" || got.User != "\uFFFDser" {
			t.Errorf("reason %q, user %q", got.State().Reason, got.User)
		}
		if _, total, err := s.List(t.Context(), core.Filter{User: "\xfcser"}, core.Page{}); total != 1 || err != nil {
			t.Errorf("List by that user finds %d, error %v", total, err)
		}
		if seen, err := s.ImageSeen(t.Context(), "registry.test/\xff:1", false); !seen || err != nil {
			t.Errorf("ImageSeen = %v, %v", seen, err)
		}
	})

	t.Run("an unknown request is not found", func(t *testing.T) {
		s := start(t, open)
		s.one()
		for _, id := range []int64{0, -1, 2, 1 << 62} {
			_, err := s.Request(t.Context(), id)
			wantCode(t, fmt.Sprintf("Request(%d)", id), err, sdk.NotFound, "")
		}
	})

	t.Run("an idempotency key", func(t *testing.T) { testIdempotency(t, open) })
}

func testIdempotency(t *testing.T, open func(t *testing.T) core.Store) {
	keyed := func(user, digest string) *core.NewBatch {
		return &core.NewBatch{
			User: user, IdempotencyKey: "k", Digest: digest,
			Annotations: json.RawMessage(`{"a":1}`), Requests: []core.NewRequest{plain(), plain()},
		}
	}

	t.Run("with the same body returns the stored requests as they are now", func(t *testing.T) {
		s := start(t, open)
		first := s.submit(keyed("alice", "d1"))
		s.patch(first[1].ID, &core.Change{State: core.Complete, Reason: "Done."})
		last := s.last()
		again, repeated, err := s.Create(t.Context(), keyed("alice", "d1"))
		if err != nil || !repeated {
			t.Fatalf("Create: repeated %v, error %v", repeated, err)
		}
		wantSame(t, "what Create returned", again, []*core.Request{s.request(first[0].ID), s.request(first[1].ID)})
		if s.last() != last {
			t.Error("the repetition made an event")
		}
	})

	t.Run("with another body is a conflict", func(t *testing.T) {
		s := start(t, open)
		s.submit(keyed("alice", "d1"))
		_, _, err := s.Create(t.Context(), keyed("alice", "d2"))
		wantCode(t, "Create", err, sdk.Conflict, "")
	})

	t.Run("of another user is another key", func(t *testing.T) {
		s := start(t, open)
		a, b, c := s.submit(keyed("alice", "d1")), s.submit(keyed("bob", "d1")), s.submit(keyed("", "d1"))
		if a[0].Batch == b[0].Batch || b[0].Batch == c[0].Batch {
			t.Error("two users got the same batch")
		}
	})

	t.Run("sent by many at once makes one batch", func(t *testing.T) {
		s := start(t, open)
		const clients = 100
		var wg sync.WaitGroup
		batches := make([]int64, clients)
		var fresh sync.Map
		for i := range clients {
			wg.Go(func() {
				requests, repeated, err := s.Create(t.Context(), keyed("alice", "d1"))
				if err != nil {
					t.Errorf("Create: %v", err)
					return
				}
				batches[i] = requests[0].Batch
				if !repeated {
					fresh.Store(i, true)
				}
			})
		}
		wg.Wait()
		count := 0
		fresh.Range(func(_, _ any) bool { count++; return true })
		if count != 1 {
			t.Errorf("%d of the submissions were stored", count)
		}
		for _, batch := range batches {
			if batch != batches[0] {
				t.Fatalf("clients got the batches %v", batches)
			}
		}
		if _, total, err := s.List(t.Context(), core.Filter{}, core.Page{}); total != 2 || err != nil {
			t.Errorf("List finds %d, error %v", total, err)
		}
	})
}
