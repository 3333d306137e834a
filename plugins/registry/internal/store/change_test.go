package store_test

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/iib-engine/iib/plugins/registry/internal/store"
)

const (
	day  = 24 * time.Hour
	week = 7 * day
)

// world is a store with a clock and two images in one repository.
type world struct {
	t     *testing.T
	clock *clock
	*store.Store
	a, b image
}

func newWorld(t *testing.T, rules store.Rules) *world {
	t.Helper()
	w := &world{t: t, clock: newClock(), a: newImage(t, "a", nil), b: newImage(t, "b", nil)}
	w.Store = openStore(t, t.TempDir(), store.Options{Now: w.clock.now, Rules: func(string) store.Rules { return rules }})
	return w
}

const repo = "team/index"

func (w *world) push(i image, tag string) { w.t.Helper(); push(w.t, w.Store, repo, i, tag) }

func (w *world) change(tag string, change store.Change) error {
	return w.ChangeTag(w.t.Context(), repo, tag, change, false, store.Actor{User: "user"})
}

func (w *world) restore(tag string, d digest.Digest) error {
	return w.RestoreTag(w.t.Context(), repo, tag, d, store.Actor{User: "user"})
}

func (w *world) delete(tag string) error {
	return w.DeleteTag(w.t.Context(), repo, tag, true, store.Actor{User: "user"})
}

// want fails unless a tag's history is as given, the latest row first.
func (w *world) want(tag string, rows ...string) {
	w.t.Helper()
	if diff := cmp.Diff(rows, history(w.t, w.Store, repo, tag)); diff != "" {
		w.t.Errorf("history of %s (-want +got):\n%s", tag, diff)
	}
	whole(w.t, w.Store)
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) refuses(err, want error) {
	w.t.Helper()
	if !errors.Is(err, want) {
		w.t.Errorf("error is %v, want %v", err, want)
	}
}

func to(d digest.Digest) store.Change { return store.Change{Digest: &d} }

func until(at time.Time) store.Change {
	return store.Change{Expiration: &store.Expiration{At: at.Unix()}}
}

func immutable(yes bool) store.Change { return store.Change{Immutable: &yes} }

func TestMovesAreRows(t *testing.T) {
	t.Run("a push opens a row, and the next ends it where its own begins", func(t *testing.T) {
		w := newWorld(t, store.Rules{Window: week})
		w.push(w.a, "v1")
		w.clock.move(10 * time.Second)
		w.push(w.b, "v1")
		w.want("v1", "v1 10..alive "+short(w.b.digest()), "v1 0..10 "+short(w.a.digest()))
	})
	t.Run("the same image again is a row too", func(t *testing.T) {
		w := newWorld(t, store.Rules{Window: week})
		w.push(w.a, "v1")
		w.clock.move(time.Second)
		w.push(w.a, "v1")
		w.want("v1", "v1 1..alive "+short(w.a.digest()), "v1 0..1 "+short(w.a.digest()))
	})
	t.Run("rows in one millisecond have an order", func(t *testing.T) {
		w := newWorld(t, store.Rules{Window: week})
		w.push(w.a, "v1")
		w.push(w.b, "v1")
		w.push(w.a, "v1")
		w.want("v1", "v1 0.002..alive "+short(w.a.digest()), "v1 0.001..0.002 "+short(w.b.digest()), "v1 0..0.001 "+short(w.a.digest()))
	})
	t.Run("a delete ends the row, and a later push begins another", func(t *testing.T) {
		w := newWorld(t, store.Rules{Window: week})
		w.push(w.a, "v1")
		w.clock.move(time.Second)
		w.must(w.delete("v1"))
		w.want("v1", "v1 0..1 "+short(w.a.digest()))
		w.refuses(w.delete("v1"), store.ErrTag)
		w.clock.move(time.Second)
		w.push(w.b, "v1")
		w.want("v1", "v1 2..alive "+short(w.b.digest()), "v1 0..1 "+short(w.a.digest()))
	})
	t.Run("a change to a manifest creates or moves", func(t *testing.T) {
		w := newWorld(t, store.Rules{Window: week})
		w.push(w.a, "a")
		w.push(w.b, "b")
		w.clock.move(time.Second)
		w.must(w.change("new", to(w.a.digest())))
		w.clock.move(time.Second)
		w.must(w.change("new", to(w.b.digest())))
		w.want("new", "new 2..alive "+short(w.b.digest()), "new 1..2 "+short(w.a.digest()))
	})
	t.Run("a change reaches only what is alive, also through lists", func(t *testing.T) {
		w := newWorld(t, store.Rules{Window: week})
		w.push(w.a, "a")
		push(t, w.Store, repo, w.b)
		w.refuses(w.change("x", to(w.b.digest())), store.ErrManifest)
		inner := newList(t, w.b.manifest)
		pushManifest(t, w.Store, repo, inner)
		outer := newList(t, inner)
		pushManifest(t, w.Store, repo, outer, "list")
		w.must(w.change("x", to(w.b.digest())))
		w.must(w.delete("a"))
		w.refuses(w.change("y", to(w.a.digest())), store.ErrManifest)
		w.refuses(w.change("y", to(digest.FromString("nothing"))), store.ErrManifest)
		w.refuses(w.ChangeTag(t.Context(), "no/where", "y", to(w.a.digest()), true, store.Actor{}), store.ErrRepository)
		w.refuses(w.change("bad tag", to(w.b.digest())), store.ErrTagName)
	})
	t.Run("the clock of the machine going back turns no row around", func(t *testing.T) {
		w := newWorld(t, store.Rules{Window: week})
		w.push(w.a, "v1")
		w.clock.move(-time.Hour)
		w.push(w.b, "v1")
		w.must(w.delete("v1"))
		w.must(w.restore("v1", w.a.digest()))
		w.want("v1", "v1 0.003..alive "+short(w.a.digest())+" reversion",
			"v1 0.001..0.002 "+short(w.b.digest()), "v1 0..0.001 "+short(w.a.digest()))
		if got := tagged(t, w.Store, repo, "v1"); got != w.a.digest() {
			t.Errorf("v1 means %s", got)
		}
		collect(t, w.Store)
		whole(t, w.Store)
	})
}

func TestRestore(t *testing.T) {
	t.Run("brings a displaced manifest back, as a row of its own kind", func(t *testing.T) {
		w := newWorld(t, store.Rules{Window: week})
		w.push(w.a, "v1")
		w.clock.move(time.Second)
		w.push(w.b, "v1")
		w.clock.move(time.Second)
		w.must(w.restore("v1", w.a.digest()))
		w.want("v1", "v1 2..alive "+short(w.a.digest())+" reversion", "v1 1..2 "+short(w.b.digest()), "v1 0..1 "+short(w.a.digest()))
	})
	t.Run("works on a dead tag, and on one that never was", func(t *testing.T) {
		w := newWorld(t, store.Rules{Window: week})
		w.push(w.a, "v1")
		w.must(w.delete("v1"))
		w.must(w.restore("v1", w.a.digest()))
		w.must(w.restore("never", w.a.digest()))
		if tagged(t, w.Store, repo, "v1") != w.a.digest() || tagged(t, w.Store, repo, "never") != w.a.digest() {
			t.Error("a tag was not restored")
		}
	})
	t.Run("shows what was deleted by digest, with all its parts", func(t *testing.T) {
		w := newWorld(t, store.Rules{Window: week})
		push(t, w.Store, repo, w.a)
		list := newList(t, w.a.manifest)
		d := pushManifest(t, w.Store, repo, list, "v1")
		w.must(w.DeleteManifest(t.Context(), repo, d, store.Actor{}))
		w.must(w.DeleteManifest(t.Context(), repo, w.a.digest(), store.Actor{}))
		for _, blob := range w.a.blobs {
			w.must(w.DeleteBlob(t.Context(), repo, digest.FromBytes(blob)))
		}
		w.clock.move(3 * time.Hour)
		collect(t, w.Store)
		_, err := w.ManifestByDigest(t.Context(), repo, w.a.digest())
		w.refuses(err, store.ErrManifest)
		w.must(w.restore("v1", d))
		_, err = w.ManifestByDigest(t.Context(), repo, w.a.digest())
		w.must(err)
		for _, blob := range w.a.blobs {
			_, err := w.Blob(t.Context(), repo, digest.FromBytes(blob))
			w.must(err)
		}
		whole(t, w.Store)
	})
	t.Run("ends with the window", func(t *testing.T) {
		w := newWorld(t, store.Rules{Window: week})
		w.push(w.a, "v1")
		w.must(w.delete("v1"))
		w.clock.move(week - time.Second)
		collect(t, w.Store)
		w.must(w.restore("v1", w.a.digest()))
		w.must(w.delete("v1"))
		w.clock.move(week + time.Second)
		collect(t, w.Store)
		w.refuses(w.restore("v1", w.a.digest()), store.ErrManifest)
		w.want("v1", []string(nil)...)
	})
	t.Run("refuses what was never there", func(t *testing.T) {
		w := newWorld(t, store.Rules{Window: week})
		w.push(w.a, "v1")
		w.refuses(w.restore("v1", digest.FromString("nothing")), store.ErrManifest)
		w.refuses(w.restore("v1", w.b.digest()), store.ErrManifest)
		w.refuses(w.restore("bad tag", w.a.digest()), store.ErrTagName)
		w.want("v1", "v1 0..alive "+short(w.a.digest()))
	})
}

func TestExpiration(t *testing.T) {
	start := newClock().at
	rules := store.Rules{Window: week}
	for _, c := range []struct {
		name string
		at   time.Time
		want time.Time
	}{
		{"within the bounds is kept exactly", start.Add(day), start.Add(day)},
		{"below the least is brought up to it", start.Add(time.Minute), start.Add(time.Hour)},
		{"above the longest is brought down to it", start.Add(20 * 365 * day), start.Add(104 * week)},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, rules)
			w.push(w.a, "v1")
			w.must(w.change("v1", until(c.at)))
			w.want("v1", fmt.Sprintf("v1 0..%g %s", c.want.Sub(start).Seconds(), short(w.a.digest())))
		})
	}
	t.Run("ends the tag when its time has come, without a row", func(t *testing.T) {
		w := newWorld(t, rules)
		w.push(w.a, "v1")
		w.must(w.change("v1", until(start.Add(2*time.Hour))))
		w.clock.move(2*time.Hour - time.Millisecond)
		if tagged(t, w.Store, repo, "v1") == "" {
			t.Error("the tag is gone too early")
		}
		w.clock.move(time.Millisecond)
		_, err := w.ManifestByTag(t.Context(), repo, "v1")
		w.refuses(err, store.ErrTagExpired)
		w.refuses(w.delete("v1"), store.ErrTag)
		w.refuses(w.change("v1", until(start.Add(day))), store.ErrTag)
		if names, err := w.Tags(t.Context(), repo, "", 10); err != nil || len(names) > 0 {
			t.Errorf("tags: %v %v", names, err)
		}
		w.must(w.restore("v1", w.a.digest()))
		w.want("v1", "v1 7200..alive "+short(w.a.digest())+" reversion", "v1 0..7200 "+short(w.a.digest()))
	})
	t.Run("can be taken away", func(t *testing.T) {
		w := newWorld(t, rules)
		w.push(w.a, "v1")
		w.must(w.change("v1", until(start.Add(day))))
		w.must(w.change("v1", store.Change{Expiration: &store.Expiration{Never: true}}))
		w.want("v1", "v1 0..alive "+short(w.a.digest()))
	})
	t.Run("that is past, or nonsense, changes nothing", func(t *testing.T) {
		w := newWorld(t, rules)
		w.push(w.a, "v1")
		for _, at := range []int64{start.Unix(), start.Unix() - 1, 0, -1, math.MinInt64, math.MaxInt64} {
			w.refuses(w.change("v1", store.Change{Expiration: &store.Expiration{At: at}}), store.ErrTime)
		}
		w.refuses(w.change("nothing", until(start.Add(day))), store.ErrTag)
		w.want("v1", "v1 0..alive "+short(w.a.digest()))
	})
	t.Run("of a tag older than the longest life is refused", func(t *testing.T) {
		w := newWorld(t, rules)
		w.push(w.a, "v1")
		w.clock.move(105 * week)
		w.refuses(w.change("v1", until(start.Add(106*week))), store.ErrTime)
	})
	t.Run("together with a move concerns the new row", func(t *testing.T) {
		w := newWorld(t, rules)
		w.push(w.a, "v1")
		w.push(w.b, "b")
		w.clock.move(time.Second)
		change := to(w.b.digest())
		change.Expiration = &store.Expiration{At: start.Add(day).Unix()}
		w.must(w.change("v1", change))
		w.want("v1", "v1 1..86400 "+short(w.b.digest()), "v1 0..1 "+short(w.a.digest()))
	})
	t.Run("comes with the image's label, again at every move onto it", func(t *testing.T) {
		w := newWorld(t, rules)
		labelled := newLabelledImage(t, "labelled", map[string]string{"quay.expires-after": "10m"}, nil)
		annotated := newLabelledImage(t, "annotated", map[string]string{"quay.expires-after": "10m"}, func(m object) {
			m["annotations"] = object{"quay.expires-after": "2h"}
		})
		w.push(labelled, "v1")
		w.clock.move(time.Second)
		w.push(annotated, "v1")
		w.clock.move(time.Second)
		w.must(w.restore("v1", labelled.digest()))
		w.want("v1", "v1 2..602 "+short(labelled.digest())+" reversion", "v1 1..2 "+short(annotated.digest()), "v1 0..1 "+short(labelled.digest()))
		list := newList(t, labelled.manifest)
		pushManifest(t, w.Store, repo, list, "list")
		mixed := newList(t, labelled.manifest, annotated.manifest)
		pushManifest(t, w.Store, repo, mixed, "mixed")
		w.want("list", "list 2.001..602.001 "+short(digest.FromBytes(list)))
		w.want("mixed", "mixed 2.002..alive "+short(digest.FromBytes(mixed)))
	})
	t.Run("by a label that is none is ignored", func(t *testing.T) {
		w := newWorld(t, rules)
		for i, bad := range []string{"", "10", "h", "-1h", "1x", "0s", "99999999999y", "4294967295y", "1h1m", "１h"} {
			tag := fmt.Sprint("v", i)
			w.push(newLabelledImage(t, tag, map[string]string{"quay.expires-after": bad}, nil), tag)
			rows, _, err := w.History(t.Context(), repo, store.Filter{Name: tag}, 0, 1)
			if err != nil || len(rows) != 1 || rows[0].End != nil {
				t.Errorf("label %q: %v %v", bad, rows, err)
			}
		}
	})
}

func TestImmutableTags(t *testing.T) {
	admin := func(w *world, change store.Change) error {
		return w.ChangeTag(w.t.Context(), repo, "v1", change, true, store.Actor{User: "admin"})
	}
	t.Run("cannot be moved, deleted or given an end", func(t *testing.T) {
		w := newWorld(t, store.Rules{Window: week})
		w.push(w.a, "v1")
		w.push(w.b, "b")
		w.must(w.change("v1", immutable(true)))
		w.must(w.change("v1", immutable(true)))
		_, err := w.PutManifest(t.Context(), repo, store.Push{Content: w.b.manifest, Tags: []string{"other", "v1"}}, store.Actor{})
		w.refuses(err, store.ErrImmutable)
		_, err = w.PutManifest(t.Context(), repo, store.Push{Content: w.a.manifest, Tags: []string{"v1"}}, store.Actor{})
		w.refuses(err, store.ErrImmutable)
		w.refuses(w.change("v1", to(w.b.digest())), store.ErrImmutable)
		w.refuses(w.restore("v1", w.b.digest()), store.ErrImmutable)
		w.refuses(w.delete("v1"), store.ErrImmutable)
		w.refuses(w.change("v1", until(w.clock.at.Add(day))), store.ErrImmutable)
		w.refuses(w.DeleteManifest(t.Context(), repo, w.a.digest(), store.Actor{}), store.ErrImmutable)
		w.refuses(w.ForgetTag(t.Context(), repo, "v1", true, "", store.Actor{}), store.ErrTag)
		w.want("v1", "v1 0..alive "+short(w.a.digest())+" immutable")
		w.want("other", []string(nil)...)
	})
	t.Run("are freed by an administrator only", func(t *testing.T) {
		w := newWorld(t, store.Rules{Window: week})
		w.push(w.a, "v1")
		w.push(w.b, "b")
		w.must(w.change("v1", immutable(true)))
		w.refuses(w.change("v1", immutable(false)), store.ErrDenied)
		w.must(admin(w, immutable(false)))
		w.must(w.change("v1", to(w.b.digest())))
	})
	t.Run("cannot have an end", func(t *testing.T) {
		w := newWorld(t, store.Rules{Window: week})
		w.push(w.a, "v1")
		w.must(w.change("v1", until(w.clock.at.Add(day))))
		w.refuses(w.change("v1", immutable(true)), store.ErrTime)
	})
	t.Run("come by rule and by label, without the end of a label", func(t *testing.T) {
		w := newWorld(t, store.Rules{Window: week, Immutable: regexp.MustCompile(`\Av[0-9]+\z`)})
		labelled := newLabelledImage(t, "labelled", map[string]string{"quay.immutable": "true", "quay.expires-after": "1h"}, nil)
		w.push(labelled, "latest")
		w.push(w.a, "v1")
		w.push(w.a, "v1x")
		w.refuses(w.delete("latest"), store.ErrImmutable)
		w.refuses(w.delete("v1"), store.ErrImmutable)
		w.must(w.delete("v1x"))
		w.want("latest", "latest 0..alive "+short(labelled.digest())+" immutable")
	})
	t.Run("that do not exist cannot be protected", func(t *testing.T) {
		w := newWorld(t, store.Rules{Window: week})
		w.push(w.a, "v1")
		w.refuses(w.change("v2", immutable(true)), store.ErrTag)
		w.refuses(w.change("v2", immutable(false)), store.ErrTag)
	})
}

func TestPermanentRemoval(t *testing.T) {
	t.Run("takes the row that is alive", func(t *testing.T) {
		w := newWorld(t, store.Rules{Window: week})
		w.push(w.a, "v1")
		w.clock.move(time.Second)
		w.push(w.b, "v1")
		w.must(w.ForgetTag(t.Context(), repo, "v1", true, "", store.Actor{}))
		w.want("v1", "v1 0..1 "+short(w.a.digest()))
		w.refuses(w.ForgetTag(t.Context(), repo, "v1", true, "", store.Actor{}), store.ErrTag)
	})
	t.Run("takes dead rows of one manifest, and what only they kept", func(t *testing.T) {
		w := newWorld(t, store.Rules{Window: week})
		w.push(w.a, "v1")
		w.push(w.b, "v1")
		w.push(w.a, "v1")
		w.push(w.b, "v1")
		w.must(w.ForgetTag(t.Context(), repo, "v1", false, w.a.digest(), store.Actor{}))
		w.want("v1", "v1 0.003..alive "+short(w.b.digest()), "v1 0.001..0.002 "+short(w.b.digest()))
		w.refuses(w.ForgetTag(t.Context(), repo, "v1", false, w.a.digest(), store.Actor{}), store.ErrTag)
		w.refuses(w.ForgetTag(t.Context(), repo, "v1", false, digest.FromString("nothing"), store.Actor{}), store.ErrManifest)
		w.clock.move(3 * time.Hour)
		collect(t, w.Store)
		w.refuses(w.restore("v1", w.a.digest()), store.ErrManifest)
		w.want("v1", "v1 0.003..alive "+short(w.b.digest()), "v1 0.001..0.002 "+short(w.b.digest()))
	})
}

func TestSignaturesEndWithTheirImage(t *testing.T) {
	w := newWorld(t, store.Rules{Window: week})
	signature := "sha256-" + w.a.digest().Encoded() + ".sig"
	w.push(w.a, "v1")
	w.push(w.a, "v2")
	w.push(w.b, signature)
	w.push(w.b, "v1")
	if tagged(t, w.Store, repo, signature) == "" {
		t.Error("the signature ended while v2 still meant the image")
	}
	w.must(w.delete("v2"))
	if tagged(t, w.Store, repo, signature) != "" {
		t.Error("the signature outlived the image")
	}
}

func TestRetention(t *testing.T) {
	w := newWorld(t, store.Rules{Window: week})
	for i := range 5 {
		w.push(w.a, fmt.Sprint("nightly-", i))
		w.push(w.a, fmt.Sprint("release-", i))
		w.clock.move(day)
	}
	w.must(w.change("nightly-0", immutable(true)))
	retention := store.Retention{Tags: regexp.MustCompile(`\Anightly-.*\z`), Latest: 1, For: 2*day + time.Hour}
	want := []string{"nightly-2", "nightly-1"}
	ended, err := w.Retain(t.Context(), repo, retention, true)
	if diff := cmp.Diff(want, ended); err != nil || diff != "" {
		t.Fatal(err, diff)
	}
	if names, err := w.Tags(t.Context(), repo, "", 100); err != nil || len(names) != 10 {
		t.Errorf("a dry run ended tags: %v %v", names, err)
	}
	ended, err = w.Retain(t.Context(), repo, retention, false)
	if diff := cmp.Diff(want, ended); err != nil || diff != "" {
		t.Fatal(err, diff)
	}
	if names, err := w.Tags(t.Context(), repo, "", 100); err != nil || len(names) != 8 {
		t.Errorf("tags: %v %v", names, err)
	}
	if ended, err := w.Retain(t.Context(), repo, retention, false); err != nil || len(ended) != 0 {
		t.Errorf("again: %v %v", ended, err)
	}
}

func TestTheRecordTellsWhoDidWhat(t *testing.T) {
	w := newWorld(t, store.Rules{Window: week})
	w.push(w.a, "v1")
	w.push(w.b, "b")
	w.must(w.change("v1", to(w.b.digest())))
	w.must(w.restore("v1", w.a.digest()))
	w.must(w.change("new", to(w.b.digest())))
	w.must(w.change("new", until(w.clock.at.Add(day))))
	w.must(w.delete("new"))
	w.refuses(w.delete("new"), store.ErrTag)
	entries, err := w.Audit(t.Context(), repo, time.UnixMilli(0), w.clock.at.Add(time.Hour), 0, 100)
	w.must(err)
	var got []string
	for _, e := range entries {
		got = append(got, e.Kind+" "+e.User)
	}
	want := []string{
		"delete_tag user", "change_tag_expiration user", "create_tag user", "revert_tag user", "move_tag user",
		"push_repo pusher", "push_repo pusher",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if n, err := w.ForgetAudit(t.Context(), w.clock.at.Add(time.Hour)); err != nil || n != 7 {
		t.Errorf("forgot %d: %v", n, err)
	}
}
