package artifact_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/core/artifact"
	"github.com/iib-engine/iib/core/coretest"
	"github.com/iib-engine/iib/sdk"
)

func open(t *testing.T, dir string) *artifact.Files {
	t.Helper()
	files, err := artifact.Open(dir, 256<<20)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestFiles(t *testing.T) {
	coretest.CheckFiles(t, func(t *testing.T) (a, b core.Files) {
		dir := filepath.Join(t.TempDir(), "artifacts")
		return open(t, dir), open(t, dir)
	})
}

// zeros is a reader without an end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestLimits(t *testing.T) {
	t.Run("an artifact that is too large is refused, and nothing of it stays", func(t *testing.T) {
		dir := t.TempDir()
		files := open(t, dir)
		files.Limit(1<<20, 0)
		err := files.Put(t.Context(), 1, "x", zeros{})
		if sdk.CodeOf(err) != sdk.Invalid || !strings.Contains(err.Error(), "more than 1048576 bytes") {
			t.Errorf("Put: %v", err)
		}
		if err := files.Put(t.Context(), 1, "x", io.LimitReader(zeros{}, 1<<20)); err != nil {
			t.Errorf("Put of as much as there may be: %v", err)
		}
		left, err := filepath.Glob(filepath.Join(dir, "0", "1", "*"))
		if err != nil || len(left) != 1 {
			t.Errorf("left over: %v, %v", left, err)
		}
	})

	t.Run("a log takes so much and then says that it stopped", func(t *testing.T) {
		files := open(t, t.TempDir())
		const limit, size = 1 << 20, 1 << 16
		files.Limit(0, limit)
		for range 2 {
			w, err := files.Logs().Append(t.Context(), 1)
			if err != nil {
				t.Fatal(err)
			}
			chunk := bytes.Repeat([]byte("x"), size)
			for range limit/size + 3 {
				if n, err := w.Write(chunk); n != len(chunk) || err != nil {
					t.Fatalf("Write: %d, %v", n, err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
		}
		r, err := files.Logs().Open(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		head, tail := data[:limit], string(data[limit:])
		if len(bytes.Trim(head, "x")) > 0 || tail != "\nThe log has reached its limit; the rest was dropped.\n" {
			t.Errorf("%d bytes, ending in %q", len(data), tail)
		}
	})

	t.Run("a write stops when its context ends", func(t *testing.T) {
		files := open(t, t.TempDir())
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := files.Put(ctx, 1, "x", zeros{})
		if !errors.Is(err, context.Canceled) || sdk.CodeOf(err) != sdk.Unavailable {
			t.Errorf("Put: %v", err)
		}
	})
}

func TestHoles(t *testing.T) {
	const block = 64 << 10
	for name, content := range map[string][]byte{
		"nothing":                     nil,
		"less than a block of zeros":  make([]byte, 100),
		"zeros alone":                 make([]byte, 5*block),
		"zeros at the end":            append([]byte("x"), make([]byte, 5*block+7)...),
		"zeros in the middle":         append(append(bytes.Repeat([]byte("a"), block+1), make([]byte, 4*block)...), 'z'),
		"a block that is almost zero": append(make([]byte, 2*block-1), 'z'),
	} {
		t.Run("a file with "+name+" is read as it was stored", func(t *testing.T) {
			files := open(t, t.TempDir())
			// A reader that gives little at a time must not hide the blocks.
			if err := files.Put(t.Context(), 1, "x", iotest.HalfReader(bytes.NewReader(content))); err != nil {
				t.Fatal(err)
			}
			r, err := files.Open(t.Context(), 1, "x")
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			got, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(got, content) {
				t.Errorf("%d bytes, %v; want %d", len(got), err, len(content))
			}
		})
	}

	t.Run("a sparse image stays sparse", func(t *testing.T) {
		dir := t.TempDir()
		files := open(t, dir)
		const size = 128 << 20
		if err := files.Put(t.Context(), 1, "x", io.MultiReader(strings.NewReader("x"), io.LimitReader(zeros{}, size-1))); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(dir, "0", "1", "x.artifact"))
		if err != nil || info.Size() != size {
			t.Fatalf("%v, %v", info, err)
		}
		if used := info.Sys().(*syscall.Stat_t).Blocks * 512; used > 1<<20 {
			t.Errorf("%d bytes on the disk", used)
		}
	})
}

func TestDirectory(t *testing.T) {
	t.Run("links out of it are not followed", func(t *testing.T) {
		dir, outside := t.TempDir(), t.TempDir()
		if err := os.Symlink(outside, filepath.Join(dir, "0")); err != nil {
			t.Fatal(err)
		}
		files := open(t, dir)
		if err := files.Put(t.Context(), 1, "x", strings.NewReader("")); sdk.CodeOf(err) != sdk.Unavailable {
			t.Errorf("Put: %v", err)
		}
		entries, err := os.ReadDir(outside)
		if err != nil || len(entries) > 0 {
			t.Errorf("outside: %v, %v", entries, err)
		}
	})

	t.Run("what is strange in it is left alone", func(t *testing.T) {
		dir := t.TempDir()
		files := open(t, dir)
		for _, name := range []string{"lost+found", "0/x", "0/2000", "7/1", "00/1"} {
			if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		err := files.Each(t.Context(), func(f core.Footprint) error {
			t.Errorf("footprint %+v", f)
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})

	t.Run("that cannot be used is said so", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := artifact.Open(file, 1); sdk.CodeOf(err) != sdk.Unavailable {
			t.Errorf("Open: %v", err)
		}
	})
}

func TestSweep(t *testing.T) {
	const keep = 3 * 24 * time.Hour
	store := coretest.NewMemory(nil)
	files := open(t, t.TempDir())
	ended, running := request(t, store, core.Complete), request(t, store, core.InProgress)
	const unknown = 77
	for _, id := range []int64{ended, running, unknown} {
		if err := files.Put(t.Context(), id, "x", strings.NewReader("12345")); err != nil {
			t.Fatal(err)
		}
	}
	sweep := func(after time.Duration, dryRun bool) []int64 {
		t.Helper()
		removed, err := artifact.Sweep(t.Context(), files, store, keep, time.Now().Add(after), dryRun)
		if err != nil {
			t.Fatal(err)
		}
		var ids []int64
		for _, f := range removed {
			if f.Bytes != 5 {
				t.Errorf("footprint %+v", f)
			}
			ids = append(ids, f.Request)
		}
		return ids
	}
	left := func() []int64 {
		t.Helper()
		var ids []int64
		for _, id := range []int64{ended, running, unknown} {
			r, err := files.Open(t.Context(), id, "x")
			if err == nil {
				ids = append(ids, id)
				r.Close()
			}
		}
		return ids
	}
	for _, step := range []struct {
		name          string
		after         time.Duration
		dryRun        bool
		removed, left []int64
	}{
		{"before anything has expired", keep - time.Hour, false, nil, []int64{ended, running, unknown}},
		{"as a dry run", keep + time.Hour, true, []int64{ended, unknown}, []int64{ended, running, unknown}},
		{"in earnest", keep + time.Hour, false, []int64{ended, unknown}, []int64{running}},
		{"never of a running request", 1000 * keep, false, nil, []int64{running}},
	} {
		t.Run(step.name, func(t *testing.T) {
			if diff := cmp.Diff(step.removed, sweep(step.after, step.dryRun)); diff != "" {
				t.Errorf("removed (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(step.left, left()); diff != "" {
				t.Errorf("left (-want +got):\n%s", diff)
			}
		})
	}
}

func request(t *testing.T, store core.Store, state core.State) int64 {
	t.Helper()
	requests, _, err := store.Create(t.Context(), &core.NewBatch{Requests: []core.NewRequest{{Type: "add"}}})
	if err != nil {
		t.Fatal(err)
	}
	if state != core.InProgress {
		if _, err := store.Patch(t.Context(), requests[0].ID, &core.Change{State: state, Reason: "end"}); err != nil {
			t.Fatal(err)
		}
	}
	return requests[0].ID
}
