package engine_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/core/engine"
	"github.com/iib-engine/iib/sdk"
)

const (
	movedIndex = "q/index:v4.14"
	digestA    = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	digestB    = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

// memories is a core.Tags, and the past of every tag, over a world's images.
type memories struct {
	w       *world
	trusted bool
	points  []core.TagPoint
	refuse  error
}

func (m *memories) Of(string, string) core.TagHistory { return m }
func (m *memories) Kind() string                      { return "test" }
func (m *memories) Trusted() bool                     { return m.trusted }

// Points returns one point a page.
func (m *memories) Points(_ context.Context, _ string, page int) ([]core.TagPoint, bool, error) {
	return m.points[page-1 : page], page < len(m.points), nil
}

func (m *memories) Restore(ctx context.Context, spec, digest string) error {
	if m.refuse != nil {
		return m.refuse
	}
	_, err := m.w.images.Session(nil).Move(ctx, "q/index@"+digest, spec, core.MoveCondition{})
	return err
}

func (m *memories) Expire(context.Context, string, time.Time) error { return m.refuse }
func (m *memories) Delete(ctx context.Context, spec string) error {
	return m.w.images.Session(nil).Delete(ctx, spec)
}

func newTaggedWorld(t *testing.T, handle handlerFunc) (*world, *memories) {
	w := newWorld(t, handle)
	m := &memories{w: w}
	w.Tags = m
	w.images.Set(movedIndex, digestA)
	return w, m
}

func publishB(ctx context.Context, job *sdk.Job) error {
	_, err := job.Publish(ctx, &sdk.Publication{
		Image: "build.example.com/iib-build@" + digestB, Overwrite: movedIndex, Base: "q/index@" + digestA, BuildTags: []string{"v1"},
	})
	return err
}

// moves returns what the store knows of a tag, without IDs and times.
func (w *world) moves(spec string) []core.TagMove {
	w.t.Helper()
	moves, err := w.store.TagMoves(w.t.Context(), spec, 0, 10)
	if err != nil {
		w.t.Fatal(err)
	}
	for i := range moves {
		moves[i].ID, moves[i].Time = 0, time.Time{}
	}
	return moves
}

func TestEveryPublicationIsRecorded(t *testing.T) {
	w, _ := newTaggedWorld(t, publishB)
	r := w.submit(`{}`)
	w.Run(t.Context(), r.ID)
	w.wantState(r.ID, core.Complete, "")
	for spec, from := range map[string]string{movedIndex: digestA, "build.example.com/iib-build:1": "", "build.example.com/iib-build:v1": ""} {
		want := []core.TagMove{{Spec: spec, From: from, To: digestB, Kind: core.MovePublish, Request: r.ID, User: r.User}}
		if diff := cmp.Diff(want, w.moves(spec)); diff != "" {
			t.Errorf("%s:\n%s", spec, diff)
		}
	}
}

func TestARefusedPublicationLeavesNoMove(t *testing.T) {
	w, _ := newTaggedWorld(t, publishB)
	w.images.Set(movedIndex, "sha256:other")
	r := w.submit(`{}`)
	w.Run(t.Context(), r.ID)
	w.wantState(r.ID, core.Failed, "")
	if moves := w.moves(movedIndex); len(moves) != 0 {
		t.Errorf("moves %+v", moves)
	}
	// The tag is free again.
	if _, err := w.store.BeginMove(t.Context(), core.TagMove{Spec: movedIndex, To: digestA}, nil); err != nil {
		t.Error(err)
	}
}

func TestAPublicationWaitsForARestore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := newTaggedWorld(t, publishB)
		id, err := w.store.BeginMove(t.Context(), core.TagMove{Spec: movedIndex, To: "sha256:restored", Kind: core.MoveRestore}, nil)
		if err != nil {
			t.Fatal(err)
		}
		r := w.submit(`{}`)
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.Run(context.Background(), r.ID)
		}()
		synctest.Wait() // the publication has met the restore
		if now, _ := w.images.Session(nil).Digest(t.Context(), movedIndex); now != digestA {
			t.Errorf("the index is %s during the restore", now)
		}
		w.images.Set(movedIndex, "sha256:restored")
		if err := w.store.EndMove(t.Context(), id, new(digestA), true); err != nil {
			t.Fatal(err)
		}
		<-done
		// The restore is not lost: the publication sees that its base is gone.
		w.wantState(r.ID, core.Failed, "")
		if now, _ := w.images.Session(nil).Digest(t.Context(), movedIndex); now != "sha256:restored" {
			t.Errorf("the index is %s", now)
		}
	})
}

// What came of a publication that was not heard would be lost with a move that
// was made without a look at the tag.
func TestARestoreLooksAtTheTagFirst(t *testing.T) {
	w, _ := newTaggedWorld(t, nil)
	r := w.submit(`{}`)
	_, claim, err := w.store.Claim(t.Context(), r.ID, "dead", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	publication := core.TagMove{Spec: movedIndex, From: "sha256:earlier", To: digestA, Kind: core.MovePublish}
	if _, err := w.store.BeginMove(t.Context(), publication, &claim); err != nil {
		t.Fatal(err)
	}
	if err := w.store.Release(t.Context(), claim, 0, true); err != nil {
		t.Fatal(err)
	}
	w.images.Hide(movedIndex)
	if _, err := w.RestoreTag(t.Context(), "", movedIndex, digestB); sdk.CodeOf(err) != sdk.Unavailable {
		t.Errorf("a restore of a tag that cannot be seen: %v", err)
	}
	if _, err := w.RestoreTag(t.Context(), "", movedIndex, digestB); err != nil {
		t.Fatal(err)
	}
	publication.Request = r.ID
	restore := core.TagMove{Spec: movedIndex, From: digestA, To: digestB, Kind: core.MoveRestore}
	if diff := cmp.Diff([]core.TagMove{restore, publication}, w.moves(movedIndex)); diff != "" {
		t.Error(diff)
	}
}

func TestARestoreIsOneMoveAndOneEvent(t *testing.T) {
	w, _ := newTaggedWorld(t, nil)
	m, err := w.RestoreTag(t.Context(), "", movedIndex, digestB)
	if err != nil {
		t.Fatal(err)
	}
	want := core.TagMove{Spec: movedIndex, From: digestA, To: digestB, Kind: core.MoveRestore}
	if diff := cmp.Diff(&want, m, cmpopts.IgnoreFields(core.TagMove{}, "ID")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]core.TagMove{want}, w.moves(movedIndex)); diff != "" {
		t.Error(diff)
	}
	events, err := w.store.EventsAfter(t.Context(), 0, 10)
	if err != nil || len(events) != 1 || events[0].Kind != core.TagEvent || events[0].Move.ID != m.ID {
		t.Errorf("events %+v, %v", events, err)
	}
}

func TestARefusedRestoreIsNone(t *testing.T) {
	w, memories := newTaggedWorld(t, nil)
	memories.refuse = sdk.Errorf(sdk.NotFound, "collected")
	if _, err := w.RestoreTag(t.Context(), "", movedIndex, digestB); !errors.Is(err, memories.refuse) {
		t.Errorf("got %v", err)
	}
	last, err := w.store.LastEvent(t.Context())
	if moves := w.moves(movedIndex); err != nil || last != 0 || len(moves) != 0 {
		t.Errorf("moves %+v, last event %d, %v", moves, last, err)
	}
}

func TestWhoMayMoveATag(t *testing.T) {
	w, memories := newTaggedWorld(t, nil)
	w.Configure(&engine.Settings{Privileged: []string{"root"}})
	for _, c := range []struct {
		user    string
		trusted bool
		may     bool
	}{{"mallory", false, false}, {"mallory", true, true}, {"root", false, true}, {"", false, true}} {
		memories.trusted = c.trusted
		_, restored := w.RestoreTag(t.Context(), c.user, movedIndex, digestB)
		expired := w.ExpireTag(t.Context(), c.user, movedIndex, time.Time{})
		w.images.Set(movedIndex, digestA)
		_, deleted := w.DeleteTag(t.Context(), c.user, movedIndex)
		for _, err := range []error{restored, expired, deleted} {
			if want := map[bool]sdk.Code{true: "", false: sdk.Denied}[c.may]; c.may != (err == nil) || err != nil && sdk.CodeOf(err) != want {
				t.Errorf("%q, trusted %v: %v", c.user, c.trusted, err)
			}
		}
	}
}

func TestAPointIsADigestOrATime(t *testing.T) {
	noon := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	w, memories := newTaggedWorld(t, nil)
	memories.points = []core.TagPoint{
		{Digest: "sha256:now", Start: noon.Add(2 * time.Hour)},
		{Digest: "sha256:stranger", End: noon.Add(2 * time.Hour)},
		{Digest: "sha256:one", Start: noon, End: noon.Add(time.Hour)},
	}
	for point, want := range map[string]string{
		"":                          digestA,
		digestB:                     digestB,
		"2026-11-28T12:00:00Z":      "sha256:one",
		"2026-11-28T13:59:59+01:00": "sha256:one",
		"2026-11-28T13:00:00Z":      "sha256:stranger",
		"2026-11-28T14:00:00Z":      "sha256:now",
		"2026-11-28T15:00:00+01:00": "sha256:now",
		"1999-01-01T00:00:00Z":      "sha256:stranger",
	} {
		tag, digest, err := w.TagPoint(t.Context(), "", movedIndex, point)
		if err != nil || digest != want || tag != movedIndex {
			t.Errorf("%q: %s %s %v, want %s", point, tag, digest, err, want)
		}
	}
	for _, point := range []string{"sha256:", "sha256:" + digestA[8:], "sha512:" + digestA[7:], "yesterday", "2026-11-28", "T"} {
		if _, _, err := w.TagPoint(t.Context(), "", movedIndex, point); sdk.CodeOf(err) != sdk.Invalid {
			t.Errorf("%q gave %v", point, err)
		}
	}
	memories.points = memories.points[2:]
	if _, _, err := w.TagPoint(t.Context(), "", movedIndex, "1999-01-01T00:00:00Z"); sdk.CodeOf(err) != sdk.NotFound {
		t.Errorf("an unknown time gave %v", err)
	}
	if _, err := w.RestoreTag(t.Context(), "", movedIndex, ""); sdk.CodeOf(err) != sdk.Invalid {
		t.Errorf("a restore to nothing gave %v", err)
	}
	if err := w.ExpireTag(t.Context(), "", movedIndex, noon.Add(-24*365*time.Hour)); sdk.CodeOf(err) != sdk.Invalid {
		t.Errorf("an end in the past gave %v", err)
	}
	if _, err := w.TagPoints(t.Context(), "", "no-registry:v1", 1); sdk.CodeOf(err) != sdk.Invalid {
		t.Errorf("a short name gave %v", err)
	}
}
