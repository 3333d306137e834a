package store_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/iib-engine/iib/plugins/registry/internal/store"
)

// files returns how many files there are of blobs and of uploads.
func files(t testing.TB, dir string) (blobs, uploads int) {
	t.Helper()
	for _, c := range []struct {
		dir   string
		count *int
	}{{"blobs", &blobs}, {"uploads", &uploads}} {
		err := filepath.WalkDir(filepath.Join(dir, c.dir), func(_ string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() {
				*c.count++
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return blobs, uploads
}

// large makes an image whose layer is kept in a file.
func large(t testing.TB, seed string) image {
	t.Helper()
	layer := bytes.Repeat([]byte(seed+" "), 100_000/len(seed))
	i := newImage(t, seed, func(m object) { m["layers"] = []object{describe(typeLayer, layer)} })
	i.blobs[1] = layer
	return i
}

func TestCollect(t *testing.T) {
	const hold = time.Hour
	type fixture struct {
		*store.Store
		clock *clock
		dir   string
	}
	open := func(t *testing.T) *fixture {
		f := &fixture{clock: newClock(), dir: t.TempDir()}
		f.Store = openStore(t, f.dir, store.Options{Now: f.clock.now, Hold: hold, Rules: func(string) store.Rules { return store.Rules{Window: week} }})
		return f
	}
	there := func(t *testing.T, f *fixture, d digest.Digest) bool {
		_, err := f.ManifestByDigest(t.Context(), repo, d)
		if err != nil && !errors.Is(err, store.ErrManifest) {
			t.Fatal(err)
		}
		return err == nil
	}

	t.Run("keeps what a tag means, whatever the time", func(t *testing.T) {
		f := open(t)
		i := large(t, "kept")
		push(t, f.Store, repo, i, "v1")
		f.clock.move(365 * day)
		if done := collect(t, f.Store); done != (store.Collected{}) {
			t.Errorf("collected %+v", done)
		}
		whole(t, f.Store)
	})
	t.Run("removes an image with its blobs and files when its window has passed", func(t *testing.T) {
		f := open(t)
		push(t, f.Store, repo, large(t, "gone"), "v1")
		if err := f.DeleteTag(t.Context(), repo, "v1", true, store.Actor{}); err != nil {
			t.Fatal(err)
		}
		f.clock.move(week - time.Second)
		if done := collect(t, f.Store); done != (store.Collected{}) {
			t.Errorf("within the window: collected %+v", done)
		}
		f.clock.move(2 * time.Second)
		done := collect(t, f.Store)
		if done.Rows != 1 || done.Manifests != 1 || done.Links != 2 || done.Blobs != 2 || done.Bytes < 90_000 {
			t.Errorf("collected %+v", done)
		}
		if blobs, _ := files(t, f.dir); blobs != 0 {
			t.Errorf("%d files are left", blobs)
		}
	})
	t.Run("keeps a shared layer until the last image is gone", func(t *testing.T) {
		f := open(t)
		layer := bytes.Repeat([]byte("shared"), 20_000)
		for _, repository := range []string{"one", "two"} {
			i := newImage(t, repository, func(m object) { m["layers"] = []object{describe(typeLayer, layer)} })
			i.blobs[1] = layer
			push(t, f.Store, repository, i, "v1")
		}
		for n, repository := range []string{"one", "two"} {
			if err := f.DeleteTag(t.Context(), repository, "v1", true, store.Actor{}); err != nil {
				t.Fatal(err)
			}
			f.clock.move(2 * week)
			collect(t, f.Store)
			whole(t, f.Store)
			if blobs, _ := files(t, f.dir); blobs != 1-n {
				t.Errorf("after %s: %d files", repository, blobs)
			}
		}
	})
	t.Run("keeps the parts of a list, and lists in lists", func(t *testing.T) {
		f := open(t)
		i := newImage(t, "part", nil)
		push(t, f.Store, repo, i)
		inner := newList(t, i.manifest)
		pushManifest(t, f.Store, repo, inner)
		outer := newList(t, inner)
		pushManifest(t, f.Store, repo, outer, "v1")
		f.clock.move(10 * week)
		collect(t, f.Store)
		whole(t, f.Store)
		if !there(t, f, i.digest()) || !there(t, f, digest.FromBytes(inner)) {
			t.Error("a part of the list is gone")
		}
	})
	t.Run("keeps referrers as long as their subject", func(t *testing.T) {
		f := open(t)
		subject := newImage(t, "subject", nil)
		refer := func(seed string, to image) image {
			return newImage(t, seed, func(m object) { m["subject"] = describe(typeImage, to.manifest) })
		}
		signature := refer("signature", subject)
		countersignature := refer("countersignature", signature)
		push(t, f.Store, repo, signature)
		push(t, f.Store, repo, countersignature)
		push(t, f.Store, repo, subject, "v1")
		f.clock.move(10 * week)
		collect(t, f.Store)
		if !there(t, f, signature.digest()) || !there(t, f, countersignature.digest()) {
			t.Error("a referrer is gone before its subject")
		}
		if err := f.DeleteTag(t.Context(), repo, "v1", true, store.Actor{}); err != nil {
			t.Fatal(err)
		}
		f.clock.move(10 * week)
		if done := collect(t, f.Store); done.Manifests != 3 {
			t.Errorf("collected %+v", done)
		}
	})
	t.Run("removes referrers whose subject never came", func(t *testing.T) {
		f := open(t)
		orphan := newImage(t, "orphan", func(m object) { m["subject"] = describe(typeImage, []byte("never")) })
		push(t, f.Store, repo, orphan)
		f.clock.move(week - time.Second)
		collect(t, f.Store)
		if !there(t, f, orphan.digest()) {
			t.Error("it is gone within the window")
		}
		f.clock.move(2 * time.Second)
		collect(t, f.Store)
		if there(t, f, orphan.digest()) {
			t.Error("it is still there")
		}
	})
	t.Run("removes a ring of a list and its own part", func(t *testing.T) {
		f := open(t)
		i := newImage(t, "ring", nil)
		push(t, f.Store, repo, i)
		ring := encode(t, object{
			"schemaVersion": 2, "mediaType": typeIndex,
			"manifests": []object{describe(typeImage, i.manifest)}, "subject": describe(typeImage, i.manifest),
		})
		pushManifest(t, f.Store, repo, ring)
		f.clock.move(10 * week)
		if done := collect(t, f.Store); done.Manifests != 2 {
			t.Errorf("collected %+v", done)
		}
	})
	t.Run("leaves a push the time of the hold", func(t *testing.T) {
		f := open(t)
		i := large(t, "slow")
		for _, blob := range i.blobs {
			if err := putBlob(t, f.Store, repo, blob); err != nil {
				t.Fatal(err)
			}
		}
		f.clock.move(hold)
		collect(t, f.Store)
		pushManifest(t, f.Store, repo, i.manifest)
		f.clock.move(hold - time.Second)
		collect(t, f.Store)
		pushManifest(t, f.Store, repo, newList(t, i.manifest), "v1")
		whole(t, f.Store)
	})
	t.Run("renews the hold when a client asks", func(t *testing.T) {
		f := open(t)
		i := large(t, "asked")
		push(t, f.Store, repo, i)
		for range 10 {
			f.clock.move(hold)
			for _, blob := range i.blobs {
				if _, err := f.Promise(t.Context(), repo, digest.FromBytes(blob)); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := f.PromiseManifest(t.Context(), repo, i.digest()); err != nil {
				t.Fatal(err)
			}
			collect(t, f.Store)
		}
		whole(t, f.Store)
		f.clock.move(2*hold + time.Second)
		if done := collect(t, f.Store); done.Manifests != 1 || done.Blobs != 2 {
			t.Errorf("collected %+v", done)
		}
	})
	t.Run("removes blobs that no manifest ever named", func(t *testing.T) {
		f := open(t)
		if err := putBlob(t, f.Store, repo, large(t, "abandoned").blobs[1]); err != nil {
			t.Fatal(err)
		}
		f.clock.move(2*hold + time.Second)
		if done := collect(t, f.Store); done.Blobs != 1 {
			t.Errorf("collected %+v", done)
		}
	})
}

func TestSweep(t *testing.T) {
	dir, clock := t.TempDir(), newClock()
	clock.at = time.Now() // files have the machine's time
	s := openStore(t, dir, store.Options{Now: clock.now})
	push(t, s, repo, large(t, "kept"), "v1")
	id, err := s.StartUpload(t.Context(), repo)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Append(t.Context(), repo, id, store.Chunk{Content: bytes.NewReader(make([]byte, 100_000)), Start: -1, Length: -1}); err != nil {
		t.Fatal(err)
	}
	orphan := digest.FromString("orphan")
	if err := os.WriteFile(filepath.Join(dir, "blobs", "sha256", orphan.Encoded()), []byte("orphan"), 0o600); err != nil {
		t.Fatal(err)
	}
	sweep := func() int {
		t.Helper()
		n, err := s.Sweep(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := sweep(); n != 0 {
		t.Errorf("swept %d files that are new", n)
	}
	clock.move(2 * time.Hour)
	if n := sweep(); n != 1 {
		t.Errorf("after two hours: swept %d files", n)
	}
	clock.move(day)
	if n := sweep(); n != 1 {
		t.Errorf("after a day: swept %d files", n)
	}
	if _, err := s.UploadSize(t.Context(), repo, id); !errors.Is(err, store.ErrUpload) {
		t.Errorf("the upload: %v", err)
	}
	if blobs, uploads := files(t, dir); blobs != 1 || uploads != 0 {
		t.Errorf("%d blobs and %d uploads are left", blobs, uploads)
	}
	whole(t, s)
}

var (
	schedules    = flag.Int("schedules", 1, "how many random schedules are tried")
	scheduleSeed = flag.Uint64("schedule-seed", 0, "the seed of the first schedule; 0 chooses one")
)

// TestCollectionNeverRemovesWhatAPushReliesOn lets clients push, move, delete
// and restore while collections go on and time passes, in random order.
//
// A client does what clients do: it asks for each blob and each part of a
// list, sends what is not there, and then the manifest. As long as nobody
// deletes content by its digest, the manifest must be taken. At the end
// everything that is left must be complete; and when all tags are gone and
// their window has passed, nothing may be left.
func TestCollectionNeverRemovesWhatAPushReliesOn(t *testing.T) {
	first := *scheduleSeed
	if first == 0 {
		first = rand.Uint64N(1 << 40)
	}
	for n := range *schedules {
		seed := first + uint64(n)
		for _, deletes := range []bool{false, true} {
			t.Run(fmt.Sprintf("seed %d, deletes %v", seed, deletes), func(t *testing.T) {
				t.Parallel()
				runSchedule(t, seed, deletes)
			})
		}
	}
}

func runSchedule(t *testing.T, seed uint64, deletes bool) {
	const (
		hold     = time.Hour
		window   = day
		clients  = 4
		sessions = 30
	)
	clock, dir := newClock(), t.TempDir()
	s := openStore(t, dir, store.Options{Now: clock.now, Hold: hold, Rules: func(string) store.Rules { return store.Rules{Window: window} }})
	repositories := []string{"one", "two"}
	var images []image
	for i := range 6 {
		images = append(images, newImage(t, fmt.Sprint("image ", i), nil), large(t, fmt.Sprint("large ", i)))
	}
	// A session must end within the hold, so time passes in small steps; a
	// long time passes only between sessions.
	var quiet sync.RWMutex
	step := func(r *rand.Rand) { clock.move(time.Duration(r.Int64N(int64(hold) / (20 * clients)))) }

	var work sync.WaitGroup
	for client := range clients {
		work.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(client)))
			for range sessions {
				quiet.RLock()
				err := session(t, s, r, repositories[r.IntN(2)], images, deletes, func() { step(r) })
				quiet.RUnlock()
				if err != nil {
					t.Errorf("seed %d: %v", seed, err)
					return
				}
				if r.IntN(8) == 0 {
					quiet.Lock()
					clock.move(time.Duration(r.Int64N(int64(2 * window))))
					quiet.Unlock()
				}
			}
		})
	}
	ended := make(chan struct{})
	var keeper sync.WaitGroup
	keeper.Go(func() {
		for {
			select {
			case <-ended:
				return
			default:
			}
			if _, err := s.Collect(t.Context()); err != nil {
				t.Errorf("seed %d: %v", seed, err)
				return
			}
		}
	})
	work.Wait()
	close(ended)
	keeper.Wait()
	whole(t, s)

	for _, repository := range repositories {
		names, err := s.Tags(t.Context(), repository, "", 1000)
		if err != nil && !errors.Is(err, store.ErrRepository) {
			t.Fatal(err)
		}
		for _, name := range names {
			if err := s.DeleteTag(t.Context(), repository, name, true, store.Actor{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	clock.move(10 * window)
	collect(t, s)
	whole(t, s)
	for _, repository := range repositories {
		for _, i := range images {
			if err := s.RestoreTag(t.Context(), repository, "left", i.digest(), store.Actor{}); err == nil {
				t.Errorf("seed %d: manifest %s is left in %s", seed, i.digest(), repository)
			}
			for _, blob := range i.blobs {
				if _, err := s.Blob(t.Context(), repository, digest.FromBytes(blob)); err == nil {
					t.Errorf("seed %d: a blob is left in %s", seed, repository)
				}
			}
		}
	}
	if blobs, uploads := files(t, dir); blobs+uploads > 0 {
		t.Errorf("seed %d: %d blobs and %d uploads are left", seed, blobs, uploads)
	}
}

// session does one thing that a client does.
func session(t *testing.T, s *store.Store, r *rand.Rand, repository string, images []image, deletes bool, step func()) error {
	ctx, actor := t.Context(), store.Actor{User: "client"}
	i := images[r.IntN(len(images))]
	tag := fmt.Sprint("v", r.IntN(4))
	expected := func(err error) error {
		for _, is := range []error{store.ErrTag, store.ErrManifest, store.ErrRepository, store.ErrBlob, store.ErrInUse} {
			if errors.Is(err, is) {
				return nil
			}
		}
		return err
	}
	switch r.IntN(10) {
	case 0:
		return expected(s.DeleteTag(ctx, repository, tag, true, actor))
	case 1:
		return expected(s.RestoreTag(ctx, repository, tag, i.digest(), actor))
	case 2:
		d := i.digest()
		return expected(s.ChangeTag(ctx, repository, tag, store.Change{Digest: &d}, true, actor))
	case 3:
		return expected(s.ForgetTag(ctx, repository, tag, true, "", actor))
	case 4:
		if !deletes {
			return nil
		}
		if r.IntN(2) == 0 {
			return expected(s.DeleteManifest(ctx, repository, i.digest(), actor))
		}
		return expected(s.DeleteBlob(ctx, repository, digest.FromBytes(i.blobs[r.IntN(2)])))
	}
	// Only what somebody deletes by its digest may be gone at the end.
	taken := func(err error) error {
		if deletes && errors.Is(err, store.ErrAbsent) {
			return nil
		}
		return err
	}
	put := func(manifest []byte, tags ...string) error {
		_, err := s.PutManifest(ctx, repository, store.Push{Content: manifest, Tags: tags}, actor)
		return err
	}
	sendImage := func(i image, tags ...string) error {
		for _, blob := range i.blobs {
			_, err := s.Promise(ctx, repository, digest.FromBytes(blob))
			if errors.Is(err, store.ErrBlob) || errors.Is(err, store.ErrRepository) {
				other := map[string]string{"one": "two", "two": "one"}[repository]
				if _, err = s.Mount(ctx, other, repository, digest.FromBytes(blob)); errors.Is(err, store.ErrBlob) || errors.Is(err, store.ErrRepository) {
					err = putBlob(t, s, repository, blob)
				}
			}
			if err != nil {
				return err
			}
			step()
		}
		return put(i.manifest, tags...)
	}
	if r.IntN(2) == 0 {
		return taken(sendImage(i, tag))
	}
	parts := []image{i, images[r.IntN(len(images))]}
	for _, part := range parts {
		_, err := s.PromiseManifest(ctx, repository, part.digest())
		if errors.Is(err, store.ErrManifest) || errors.Is(err, store.ErrRepository) {
			err = sendImage(part)
		}
		if err != nil {
			return taken(err)
		}
		step()
	}
	var manifests [][]byte
	for _, part := range parts {
		manifests = append(manifests, part.manifest)
	}
	if err := put(newList(t, manifests...), tag); err != nil {
		if strings.Contains(err.Error(), "manifest") {
			return taken(err)
		}
		return err
	}
	return nil
}
