package tags_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/core/coretest"
	"github.com/iib-engine/iib/core/tags"
	"github.com/iib-engine/iib/sdk"
)

const tag = "registry.test/ns/index:v1"

// plainWorld is a registry without memory, and an engine's record.
type plainWorld struct {
	*coretest.Memory
	images *coretest.Images
	now    time.Time
	t      *testing.T
}

func newPlainWorld(t *testing.T) *plainWorld {
	w := &plainWorld{images: new(coretest.Images), now: time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC), t: t}
	w.Memory = coretest.NewMemory(func() time.Time { return w.now })
	return w
}

func (w *plainWorld) history() core.TagHistory {
	return tags.New(tags.Options{
		Moves: w.Memory, Images: w.images, Own: func() string { return "own.test" },
		Mount: func(string) (http.Handler, bool) { return nil, false },
		Quays: func() map[string]tags.Quay { return nil },
	}).Of(tag, "alice")
}

// move makes and records a move, an hour after the one before.
func (w *plainWorld) move(from, to string, kind core.MoveKind) time.Time {
	w.t.Helper()
	w.now = w.now.Add(time.Hour)
	id, err := w.BeginMove(w.t.Context(), core.TagMove{Spec: tag, To: to, Kind: kind, User: "alice"}, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.EndMove(w.t.Context(), id, &from, true); err != nil {
		w.t.Fatal(err)
	}
	w.images.Set(tag, to)
	return w.now
}

func TestAPlainRegistryHasThePastThatTheEngineMade(t *testing.T) {
	w := newPlainWorld(t)
	first := w.move("sha256:found", "sha256:a", core.MovePublish)
	second := w.move("sha256:a", "sha256:b", core.MovePublish)
	third := w.move("sha256:stranger", "sha256:a", core.MoveRestore)
	gone := w.move("sha256:a", "", core.MoveDelete)
	back := w.move("", "sha256:b", core.MoveRestore)
	h := w.history()
	if h.Kind() != "plain" || h.Trusted() {
		t.Errorf("kind %s, trusted %v", h.Kind(), h.Trusted())
	}
	points, more, err := h.Points(t.Context(), tag, 1)
	if err != nil || more {
		t.Fatal(more, err)
	}
	want := []core.TagPoint{
		{Digest: "sha256:b", Start: back, Restored: true, User: "alice"},
		{Digest: "sha256:a", Start: third, End: gone, Restored: true, User: "alice"},
		{Digest: "sha256:stranger", End: third},
		{Digest: "sha256:b", Start: second, End: third, User: "alice"},
		{Digest: "sha256:a", Start: first, End: second, User: "alice"},
		{Digest: "sha256:found", End: first},
	}
	if diff := cmp.Diff(want, points); diff != "" {
		t.Error(diff)
	}
}

func TestAPlainRegistryIsReadInPages(t *testing.T) {
	w := newPlainWorld(t)
	from := "sha256:0"
	for i := range 150 {
		to := []string{"sha256:even", "sha256:odd"}[i%2]
		w.move(from, to, core.MovePublish)
		from = to
	}
	first, more, err := w.history().Points(t.Context(), tag, 1)
	if err != nil || !more || len(first) != 100 {
		t.Fatal(len(first), more, err)
	}
	second, more, err := w.history().Points(t.Context(), tag, 2)
	if err != nil || more || len(second) != 51 || second[0].Start != first[99].Start.Add(-time.Hour) {
		t.Fatal(len(second), more, err)
	}
	if rest, more, err := w.history().Points(t.Context(), tag, 3); err != nil || more || len(rest) != 0 {
		t.Fatal(rest, more, err)
	}
}

func TestAPlainRegistryRestoresWhileItHasTheImage(t *testing.T) {
	w := newPlainWorld(t)
	w.images.Set(tag, "sha256:b")
	w.images.Collect("sha256:collected")
	h := w.history()
	if err := h.Restore(t.Context(), tag, "sha256:collected"); sdk.CodeOf(err) != sdk.NotFound {
		t.Errorf("a collected image gave %v", err)
	}
	if now, _ := w.images.Session(nil).Digest(t.Context(), tag); now != "sha256:b" {
		t.Errorf("a refused restore made the tag %s", now)
	}
	if err := h.Restore(t.Context(), tag, "sha256:a"); err != nil {
		t.Fatal(err)
	}
	if now, _ := w.images.Session(nil).Digest(t.Context(), tag); now != "sha256:a" {
		t.Errorf("the tag is %s", now)
	}
	if err := h.Expire(t.Context(), tag, w.now.Add(time.Hour)); sdk.CodeOf(err) != sdk.Invalid {
		t.Errorf("a date gave %v", err)
	}
	if err := h.Delete(t.Context(), tag); err != nil {
		t.Fatal(err)
	}
	if err := h.Delete(t.Context(), tag); sdk.CodeOf(err) != sdk.NotFound {
		t.Errorf("deleting twice gave %v", err)
	}
}
