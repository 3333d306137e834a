package engine_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/core/engine"
	"github.com/iib-engine/iib/sdk"
)

// A run that dies after it has published, or while it does, is not done again by
// the next one, whatever others have made of the index meanwhile.
func TestWhatAnEarlierRunPublishedIsNotPublishedAgain(t *testing.T) {
	const theirs = "sha256:theirs"
	for name, die := range map[string]func(w *world, publish func() error) error{
		"it died after the move": func(_ *world, publish func() error) error {
			if err := publish(); err != nil {
				return err
			}
			return sdk.Errorf(sdk.Unavailable, "it dies")
		},
		"the answer to the move was lost": func(w *world, publish func() error) error {
			w.images.Silence(movedIndex)
			return publish()
		},
	} {
		for _, overtaken := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w, _ := newTaggedWorld(t, nil)
					var found []*sdk.Published
					wish := &sdk.Publication{Overwrite: movedIndex, BuildTags: []string{"v1"}}
					w.lineup.Types[0].Handler = handlerFunc(func(ctx context.Context, job *sdk.Job) error {
						published, err := job.Published(ctx, wish)
						if err != nil {
							return err
						}
						if found = append(found, published); published != nil {
							return nil
						}
						return die(w, func() error { return publishB(ctx, job) })
					})
					r := w.submit(`{}`)
					w.Run(t.Context(), r.ID)
					w.wantState(r.ID, core.InProgress, "")
					if overtaken {
						id, err := w.store.BeginMove(t.Context(), core.TagMove{Spec: movedIndex, To: theirs, Kind: core.MoveRestore}, nil)
						if err != nil {
							t.Fatal(err)
						}
						w.images.Set(movedIndex, theirs)
						if err := w.store.EndMove(t.Context(), id, new(digestB), true); err != nil {
							t.Fatal(err)
						}
					}
					time.Sleep(2 * time.Second) // the pause before the second attempt
					w.Run(t.Context(), r.ID)
					w.wantState(r.ID, core.Complete, "")
					want := []*sdk.Published{nil, {
						IndexImage: movedIndex, IndexImageResolved: "q/index@" + digestB,
						InternalCopy: "build.example.com/iib-build:1", InternalCopyResolved: "build.example.com/iib-build@" + digestB,
					}}
					if diff := cmp.Diff(want, found); diff != "" {
						t.Error(diff)
					}
					now, _ := w.images.Session(nil).Digest(t.Context(), movedIndex)
					moves := w.moves(movedIndex)
					if len(moves) == 0 {
						t.Fatal("no move is recorded")
					}
					if last := moves[len(moves)-1]; last.Request != r.ID || last.From != digestA || last.To != digestB {
						t.Errorf("the moves are %+v", moves)
					}
					if overtaken && (now != theirs || len(moves) != 2) || !overtaken && (now != digestB || len(moves) != 1) {
						t.Errorf("the index is %s after the moves %+v", now, moves)
					}
				})
			})
		}
	}
}

// Each run of a request may build another image. What became of the tag of an
// earlier one is seen before the tag is moved on, or it is not moved.
func TestNoMoveOfABuildsTagIsForgotten(t *testing.T) {
	const own = "build.example.com/iib-build:1"
	const digestC = "sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
	synctest.Test(t, func(t *testing.T) {
		var w *world
		attempts := []struct {
			builds  string
			trouble func()
		}{
			{digestA, func() {}},
			{digestB, func() { w.images.Silence(own) }},
			{digestC, func() { w.images.Hide(own) }},
			{digestC, func() {}},
		}
		attempt := 0
		w = newWorld(t, func(ctx context.Context, job *sdk.Job) error {
			now := attempts[attempt]
			attempt++
			now.trouble()
			_, err := job.Publish(ctx, &sdk.Publication{Image: "build.example.com/iib-build@" + now.builds})
			if err == nil && attempt < len(attempts) {
				err = sdk.Errorf(sdk.Unavailable, "it dies")
			}
			return err
		})
		w.Configure(&engine.Settings{
			Route: func(_, _, _ string, _ bool) string { return "default" },
			Queue: func(string) engine.QueueSettings {
				return engine.QueueSettings{Timeout: time.Minute, Attempts: len(attempts)}
			},
		})
		r := w.submit(`{}`)
		for range attempts {
			w.Run(t.Context(), r.ID)
			time.Sleep(time.Minute)
		}
		w.wantState(r.ID, core.Complete, "")
		var went []string
		for _, m := range w.moves(own) {
			went = append(went, m.From+" to "+m.To)
		}
		// The run that was not answered did not tell what the tag was before.
		want := []string{digestB + " to " + digestC, " to " + digestB, " to " + digestA}
		if diff := cmp.Diff(want, went); diff != "" {
			t.Errorf("moves of the tag, newest first (-want +got):\n%s", diff)
		}
	})
}

func TestNothingWasPublishedBefore(t *testing.T) {
	w, _ := newTaggedWorld(t, func(ctx context.Context, job *sdk.Job) error {
		if published, err := job.Published(ctx, &sdk.Publication{Overwrite: movedIndex}); published != nil || err != nil {
			t.Errorf("%v %v", published, err)
		}
		return nil
	})
	r := w.submit(`{}`)
	// Another request has moved the tag, and an earlier run of this one has not.
	id, err := w.store.BeginMove(t.Context(), core.TagMove{Spec: movedIndex, To: digestB, Kind: core.MovePublish}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.store.EndMove(t.Context(), id, new(digestA), true); err != nil {
		t.Fatal(err)
	}
	_, claim, err := w.store.Claim(t.Context(), r.ID, "dead", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.store.Release(t.Context(), claim, 0, true); err != nil {
		t.Fatal(err)
	}
	w.Run(t.Context(), r.ID)
	w.wantState(r.ID, core.Complete, "")
}

// What happens to a worker that stands still between its last look at a tag and
// the move of it.
func TestALateMoveIsRefused(t *testing.T) {
	const theirs = "sha256:theirs"
	for name, late := range map[string]struct {
		meanwhile func(t *testing.T, w *world, id int64)
		want      string
	}{
		"the request was taken over": {func(t *testing.T, w *world, id int64) {
			if err := w.store.Release(t.Context(), core.Claim{Request: id, Worker: "worker-1", Epoch: 1}, 0, true); err != nil {
				t.Error(err)
			}
		}, digestA},
		"the tag was moved": {func(_ *testing.T, w *world, _ int64) { w.images.Set(movedIndex, theirs) }, theirs},
	} {
		t.Run(name, func(t *testing.T) {
			var failed error
			w, _ := newTaggedWorld(t, func(ctx context.Context, job *sdk.Job) error {
				failed = publishB(ctx, job)
				return failed
			})
			r := w.submit(`{}`)
			w.images.OnMove = func(spec string) {
				if spec == movedIndex {
					late.meanwhile(t, w, r.ID)
				}
			}
			w.Run(t.Context(), r.ID)
			if now, _ := w.images.Session(nil).Digest(t.Context(), movedIndex); now != late.want || failed == nil {
				t.Errorf("the index is %s: %v", now, failed)
			}
			if late.want == theirs && sdk.ReasonOf(failed) != sdk.ReasonMoved {
				t.Errorf("the handler was told %v", failed)
			}
			if moves := w.moves(movedIndex); len(moves) != 0 {
				t.Errorf("moves %+v", moves)
			}
		})
	}
}
