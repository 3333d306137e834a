package store

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/core/coretest"
	"github.com/iib-engine/iib/sdk"
)

func open(t *testing.T, file string, options Options) *Store {
	t.Helper()
	if options.Keys == nil {
		options.Keys = testKeys
	}
	s, err := Open(t.Context(), "sqlite://"+file, options)
	if err != nil {
		t.Fatalf("open the store: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
	})
	return s
}

func create(t *testing.T, s *Store, n core.NewRequest) *core.Request {
	t.Helper()
	n.Type, n.Queue = "add", "default"
	requests, _, err := s.Create(t.Context(), &core.NewBatch{Requests: []core.NewRequest{n}})
	if err != nil {
		t.Fatalf("Create: %v", err)
	}
	return requests[0]
}

func TestSQLite(t *testing.T) {
	t.Parallel()
	coretest.Store(t, func(t *testing.T) core.Store {
		// The suite closes what it opens.
		s, err := Open(t.Context(), "sqlite://"+filepath.Join(t.TempDir(), "iib.db"), Options{Keys: testKeys})
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

func TestOpen(t *testing.T) {
	t.Run("keeps everything from one opening to the next", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "a dir", "with ?#%20 in it.db")
		s, err := Open(t.Context(), "sqlite://"+file, Options{Keys: testKeys})
		if err != nil {
			t.Fatal(err)
		}
		want := create(t, s, core.NewRequest{Reason: "accepted", Fields: map[string]json.RawMessage{"a": json.RawMessage(`1`)}})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		again := open(t, file, Options{})
		got, err := again.Request(t.Context(), want.ID)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("the request (-want +got):\n%s", diff)
		}
	})

	t.Run("takes a relative file name", func(t *testing.T) {
		t.Chdir(t.TempDir())
		s, err := Open(t.Context(), "sqlite:data/iib.db", Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat("data/iib.db"); err != nil {
			t.Error(err)
		}
	})

	t.Run("makes files that only their owner can read", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "data")
		s := open(t, filepath.Join(dir, "iib.db"), Options{})
		create(t, s, core.NewRequest{})
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) < 2 {
			t.Fatalf("files %v, error %v", entries, err)
		}
		for _, entry := range entries {
			info, err := entry.Info()
			if err != nil || info.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s has mode %v, error %v", entry.Name(), info.Mode(), err)
			}
		}
	})

	t.Run("may be done by several processes at once", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "iib.db")
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				s, err := Open(t.Context(), "sqlite://"+file, Options{})
				if err != nil {
					t.Error(err)
					return
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	})

	t.Run("refuses what cannot be opened", func(t *testing.T) {
		dir := t.TempDir()
		garbage := filepath.Join(dir, "garbage.db")
		if err := os.WriteFile(garbage, bytes.Repeat([]byte("no database "), 1000), 0o600); err != nil {
			t.Fatal(err)
		}
		for address, want := range map[string]struct {
			code sdk.Code
			text string
		}{
			"mysql://db/iib":              {sdk.Invalid, `scheme is "mysql"`},
			"iib.db":                      {sdk.Invalid, "use sqlite:///path/to/file.db"},
			"sqlite:":                     {sdk.Invalid, "names no file"},
			"sqlite://" + garbage:         {sdk.Internal, "not a database"},
			"sqlite://" + dir:             {sdk.Unavailable, "is a directory"},
			"sqlite://" + garbage + "/x":  {sdk.Unavailable, "not a directory"},
			"postgres://u:s3cret@host:x/": {sdk.Invalid, "postgres://user@host/database"},
		} {
			s, err := Open(t.Context(), address, Options{})
			if err == nil {
				s.Close()
			}
			if sdk.CodeOf(err) != want.code || !strings.Contains(err.Error(), want.text) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("Open(%s): %v (%s)", address, err, sdk.CodeOf(err))
			}
		}
	})
}

func TestClose(t *testing.T) {
	file := filepath.Join(t.TempDir(), "iib.db")
	s, err := Open(t.Context(), "sqlite://"+file, Options{Keys: testKeys})
	if err != nil {
		t.Fatal(err)
	}
	r := create(t, s, core.NewRequest{})
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("Ping: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close again: %v", err)
	}
	_, readErr := s.Request(t.Context(), r.ID)
	_, writeErr := s.Patch(t.Context(), r.ID, &core.Change{})
	for what, err := range map[string]error{"Ping": s.Ping(t.Context()), "Request": readErr, "Patch": writeErr} {
		if sdk.CodeOf(err) != sdk.Unavailable {
			t.Errorf("%s of a closed store: %v", what, err)
		}
	}
}

func TestContext(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "iib.db"), Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, readErr := s.Request(ctx, 1)
	_, _, writeErr := s.Create(ctx, &core.NewBatch{Requests: []core.NewRequest{{Type: "add"}}})
	for what, err := range map[string]error{"Request": readErr, "Create": writeErr} {
		if sdk.CodeOf(err) != sdk.Unavailable {
			t.Errorf("%s with a cancelled context: %v", what, err)
		}
	}
	// The store is none the worse for it.
	create(t, s, core.NewRequest{})
}

func TestTwoProcesses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "iib.db")
	a, b := open(t, file, Options{}), open(t, file, Options{})

	t.Run("one lists what the other wrote", func(t *testing.T) {
		for want := int64(1); want < 4; want++ {
			r := create(t, a, core.NewRequest{})
			for _, s := range []*Store{a, b} {
				if _, total, err := s.List(t.Context(), core.Filter{State: core.InProgress}, core.Page{}); total != 1 || err != nil {
					t.Errorf("List finds %d in progress, error %v", total, err)
				}
			}
			if _, err := b.Patch(t.Context(), r.ID, &core.Change{State: core.Failed, Reason: "no"}); err != nil {
				t.Fatal(err)
			}
			for _, s := range []*Store{a, b} {
				if _, total, err := s.List(t.Context(), core.Filter{State: core.Failed}, core.Page{}); total != want || err != nil {
					t.Errorf("List finds %d failed, error %v; want %d", total, err, want)
				}
			}
		}
	})

	t.Run("both can write all the time", func(t *testing.T) {
		var wg sync.WaitGroup
		for i := range 60 {
			wg.Go(func() {
				s := []*Store{a, b}[i%2]
				if _, _, err := s.Create(t.Context(), &core.NewBatch{Requests: []core.NewRequest{{Type: "add"}}}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	})
}
