package main

import (
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWhatDeadProcessesLeftIsRemovedAndNothingElse(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	put := func(names ...string) {
		t.Helper()
		for _, name := range names {
			path := filepath.Join(parent, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	put("own-dead/"+lockFile, "own-dead/plugin-dir1/plugin2", // what a killed process leaves
		"own-foreign/file", "other/"+lockFile, "own-file")
	if err := os.Mkdir(filepath.Join(parent, "own-empty"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(parent, "other"), filepath.Join(parent, "own-link")); err != nil {
		t.Fatal(err)
	}
	put("own-trap/file", "target")
	if err := os.Symlink(filepath.Join(parent, "target"), filepath.Join(parent, "own-trap", lockFile)); err != nil {
		t.Fatal(err)
	}
	living, err := makeOwnDir(parent, "own-")
	if err != nil {
		t.Fatal(err)
	}
	next, err := makeOwnDir(parent, "own-")
	if err != nil {
		t.Fatal(err)
	}
	list := func() []string {
		entries, err := os.ReadDir(parent)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return names
	}
	want := []string{"other", "own-file", "own-foreign", "own-link", "own-trap", "target"}
	both := append(slices.Clone(want), filepath.Base(living.path), filepath.Base(next.path))
	slices.Sort(both)
	if diff := cmp.Diff(both, list()); diff != "" {
		t.Error(diff)
	}
	living.close()
	next.close()
	if diff := cmp.Diff(want, list()); diff != "" {
		t.Errorf("after the end: %s", diff)
	}
}

// Processes that start at the same moment do not take each other's new
// directories for what dead ones left.
func TestProcessesThatStartTogetherKeepTheirDirectories(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	start := make(chan struct{})
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			<-start
			for range 20 {
				d, err := makeOwnDir(parent, "own-")
				if err != nil {
					t.Error(err)
					return
				}
				if err := os.WriteFile(filepath.Join(d.path, "used"), nil, 0o600); err != nil {
					t.Error(err)
				}
				d.close()
			}
		})
	}
	close(start)
	wg.Wait()
}
