package store_test

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/iib-engine/iib/plugins/registry/internal/store"
)

// crashDir tells this program, when it is started by its own test, to work in
// a directory until it is killed.
const crashDir = "REGISTRY_CRASH_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		if err := workUntilKilled(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1)
	}
	os.Exit(m.Run())
}

const crashWorkers = 3

// crashOptions let garbage appear while the program runs.
func crashOptions() store.Options {
	return store.Options{Hold: 500 * time.Millisecond, Rules: func(string) store.Rules { return store.Rules{Window: 100 * time.Millisecond} }}
}

// workUntilKilled pushes, deletes, restores and collects, and says on standard
// output what it begins and what it has done: the tag, and the manifest that it
// means then, or "-".
func workUntilKilled(dir string) error {
	ctx := context.Background()
	s, err := store.Open(ctx, dir, crashOptions())
	if err != nil {
		return err
	}
	t := &testing.T{} // the fixtures want one; nothing here fails it
	failed := make(chan error)
	for w := range crashWorkers {
		go func() {
			r := rand.New(rand.NewPCG(rand.Uint64(), uint64(w)))
			var pushed []image
			for n := 0; ; n++ {
				tag := fmt.Sprintf("w%d-%d", w, r.IntN(3))
				var state string
				var do func() error
				switch choice := r.IntN(6); {
				case choice == 0 && n > 0:
					state, do = "-", func() error { return s.DeleteTag(ctx, repo, tag, true, store.Actor{}) }
				case choice == 1 && n > 0:
					i := pushed[max(0, len(pushed)-1-r.IntN(3))]
					state, do = i.digest().String(), func() error { return s.RestoreTag(ctx, repo, tag, i.digest(), store.Actor{}) }
				default:
					i := large(t, fmt.Sprintf("worker %d image %d %d", w, n, r.Uint64()))
					pushed = append(pushed, i)
					state, do = i.digest().String(), func() error {
						for _, blob := range i.blobs {
							if err := sendBlob(ctx, s, blob); err != nil {
								return err
							}
						}
						_, err := s.PutManifest(ctx, repo, store.Push{Content: i.manifest, Tags: []string{tag}}, store.Actor{})
						return err
					}
				}
				fmt.Printf("begin %s %s\n", tag, state)
				err := do()
				switch {
				case err == nil:
					fmt.Printf("done %s %s\n", tag, state)
				case errors.Is(err, store.ErrTag), errors.Is(err, store.ErrManifest), errors.Is(err, store.ErrAbsent):
					fmt.Printf("refused %s %s\n", tag, state)
				default:
					failed <- err
					return
				}
			}
		}()
	}
	go func() {
		for {
			if _, err := s.Collect(ctx); err != nil {
				failed <- err
				return
			}
		}
	}()
	return <-failed
}

func sendBlob(ctx context.Context, s *store.Store, content []byte) error {
	id, err := s.StartUpload(ctx, repo)
	if err != nil {
		return err
	}
	for half := range 2 {
		part := content[half*len(content)/2 : (half+1)*len(content)/2]
		if _, err := s.Append(ctx, repo, id, store.Chunk{Content: strings.NewReader(string(part)), Start: -1, Length: int64(len(part))}); err != nil {
			return err
		}
	}
	_, _, err = s.Finish(ctx, repo, id, store.Chunk{Start: -1}, digest.FromBytes(content))
	return err
}

var kills = flag.Int("kills", 3, "how often the process is killed")

// TestKilledAtAnyMoment kills a process in the middle of its work, again and
// again, and looks at what it leaves behind.
func TestKilledAtAnyMoment(t *testing.T) {
	dir := t.TempDir()
	meanings := make(map[string]string)
	for round := range *kills {
		states := runAndKill(t, dir, 20+rand.IntN(60))
		s := openStore(t, dir, crashOptions())
		whole(t, s)
		for tag, possible := range states {
			got := string(tagged(t, s, repo, tag))
			if got == "" {
				got = "-"
			}
			before := meanings[tag]
			meanings[tag] = got
			// The empty state stands for what it meant before.
			if !possible[got] && !(possible[""] && (got == before || got == "-" && before == "")) {
				t.Errorf("round %d: %s means %s, which is none of %v", round, tag, got, possible)
			}
		}
		if t.Failed() {
			return
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}

	// What is left can be cleaned up to the last file.
	later := crashOptions()
	later.Now = func() time.Time { return time.Now().Add(30 * day) }
	s := openStore(t, dir, later)
	for w := range crashWorkers {
		for n := range 3 {
			err := s.DeleteTag(t.Context(), repo, fmt.Sprintf("w%d-%d", w, n), true, store.Actor{})
			if err != nil && !errors.Is(err, store.ErrTag) {
				t.Fatal(err)
			}
		}
	}
	later.Now = func() time.Time { return time.Now().Add(60 * day) }
	s = openStore(t, dir, later)
	collect(t, s)
	if _, err := s.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	whole(t, s)
	if blobs, uploads := files(t, dir); blobs+uploads > 0 {
		t.Errorf("%d blobs and %d uploads are left", blobs, uploads)
	}
}

// runAndKill lets a process work until it has done so many things, kills it,
// and returns what each tag may mean then: what was last done to it, or what
// was begun since. The empty state stands for what it meant before.
func runAndKill(t *testing.T, dir string, things int) map[string]map[string]bool {
	t.Helper()
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), crashDir+"="+dir)
	command.Stderr = os.Stderr
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	var kill sync.Once
	defer func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	}()
	states := make(map[string]map[string]bool)
	done := 0
	for lines := bufio.NewScanner(output); lines.Scan(); {
		word := strings.Fields(lines.Text())
		if len(word) != 3 {
			continue // the last line may be cut
		}
		tag, state := word[1], word[2]
		switch word[0] {
		case "begin":
			if states[tag] == nil {
				states[tag] = map[string]bool{"": true}
			}
			states[tag][state] = true
		case "done":
			states[tag] = map[string]bool{state: true}
			done++
		case "refused":
			done++
		}
		if done >= things {
			kill.Do(func() { _ = command.Process.Kill() })
		}
	}
	if done < things {
		t.Fatalf("the process ended by itself after %d of %d things", done, things)
	}
	return states
}
