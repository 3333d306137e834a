package coretest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// CheckFiles runs the suite that every core.Files must pass. The second of the
// two that open returns is another process's view of the same place; where
// there is no such thing, it may be the same.
func CheckFiles(t *testing.T, open func(t *testing.T) (a, b core.Files)) {
	t.Run("artifacts", func(t *testing.T) { testArtifacts(t, open) })
	t.Run("logs", func(t *testing.T) { testLogs(t, open) })
	t.Run("leftovers", func(t *testing.T) { testLeftovers(t, open) })
}

func put(t *testing.T, files core.Files, request int64, name, content string) {
	t.Helper()
	if err := files.Put(t.Context(), request, name, strings.NewReader(content)); err != nil {
		t.Fatalf("Put(%d, %s): %v", request, name, err)
	}
}

func content(t *testing.T, files core.Files, request int64, name string) string {
	t.Helper()
	r, err := files.Open(t.Context(), request, name)
	if err != nil {
		t.Fatalf("Open(%d, %s): %v", request, name, err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("read artifact %s of request %d: %v", name, request, err)
	}
	return string(data)
}

func testArtifacts(t *testing.T, open func(t *testing.T) (a, b core.Files)) {
	t.Run("are read as they were stored, by any process", func(t *testing.T) {
		a, b := open(t)
		big := strings.Repeat("0123456789abcdef", 1<<16)
		put(t, a, 1, "related_bundles", "[]")
		put(t, a, 1, "big", big)
		put(t, a, 1, "empty", "")
		put(t, b, 12345678901, "related_bundles", "another")
		for _, files := range []core.Files{a, b} {
			if content(t, files, 1, "related_bundles") != "[]" || content(t, files, 1, "big") != big ||
				content(t, files, 1, "empty") != "" || content(t, files, 12345678901, "related_bundles") != "another" {
				t.Error("an artifact came back as another")
			}
		}
	})

	t.Run("are replaced", func(t *testing.T) {
		a, b := open(t)
		put(t, a, 1, "x", "a long first one")
		put(t, b, 1, "x", "short")
		if got := content(t, a, 1, "x"); got != "short" {
			t.Errorf("got %q", got)
		}
	})

	t.Run("that were not stored are not found", func(t *testing.T) {
		a, _ := open(t)
		put(t, a, 1, "x", "")
		for _, c := range []fileKey{{1, "y"}, {2, "x"}, {-1, "x"}, {0, "x"}} {
			_, err := a.Open(t.Context(), c.request, c.name)
			wantCode(t, fmt.Sprint("Open ", c), err, sdk.NotFound, "")
		}
	})

	t.Run("are whole or not there", func(t *testing.T) {
		a, b := open(t)
		put(t, a, 1, "x", "first")
		broken := io.MultiReader(strings.NewReader("second"), iotestError{})
		wantCode(t, "Put of what cannot be read", a.Put(t.Context(), 1, "x", broken), sdk.Unavailable, "")
		wantCode(t, "Put of a new one", a.Put(t.Context(), 1, "y", iotestError{}), sdk.Unavailable, "")
		if got := content(t, b, 1, "x"); got != "first" {
			t.Errorf("got %q", got)
		}
		_, err := b.Open(t.Context(), 1, "y")
		wantCode(t, "Open of the new one", err, sdk.NotFound, "")
	})

	t.Run("are never seen half written", func(t *testing.T) {
		a, b := open(t)
		versions := []string{strings.Repeat("a", 300_000), strings.Repeat("b", 200_000)}
		put(t, a, 1, "x", versions[0])
		var wg sync.WaitGroup
		done := make(chan struct{})
		wg.Go(func() {
			defer close(done)
			for i := range 20 {
				if err := a.Put(t.Context(), 1, "x", strings.NewReader(versions[i%2])); err != nil {
					t.Errorf("Put: %v", err)
				}
			}
		})
		for reading := true; reading; {
			select {
			case <-done:
				reading = false
			default:
			}
			if got := content(t, b, 1, "x"); !slices.Contains(versions, got) {
				t.Errorf("got %d bytes", len(got))
			}
		}
		wg.Wait()
	})

	t.Run("have names that are safe everywhere", func(t *testing.T) {
		a, _ := open(t)
		for _, name := range []string{
			"", ".", "..", "../x", "a/b", `a\b`, "/etc/passwd", "a\x00b", "A", "ä", "-x", "_x", "a b", "a.b", "request.log",
			strings.Repeat("a", 65), "x\n",
		} {
			wantCode(t, fmt.Sprintf("Put %q", name), a.Put(t.Context(), 1, name, strings.NewReader("")), sdk.Invalid, "")
			_, err := a.Open(t.Context(), 1, name)
			wantCode(t, fmt.Sprintf("Open %q", name), err, sdk.Invalid, "")
		}
		put(t, a, 1, strings.Repeat("a", 64), "")
		put(t, a, 1, "log", "")
	})
}

// iotestError is a reader that fails.
type iotestError struct{}

func (iotestError) Read([]byte) (int, error) { return 0, errors.New("the plugin died") }

func testLogs(t *testing.T, open func(t *testing.T) (a, b core.Files)) {
	t.Run("grow, and are read while they do, by any process", func(t *testing.T) {
		a, b := open(t)
		w := appendTo(t, a, 1)
		write(t, w, "one\n")
		r, err := b.Logs().Open(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		var got bytes.Buffer
		read := func(want string) {
			t.Helper()
			wait(t, "the log to say "+want, func() bool {
				if _, err := io.Copy(&got, r); err != nil {
					t.Fatal(err)
				}
				return got.String() == want
			})
		}
		read("one\n")
		write(t, w, "two\nthree\n")
		read("one\ntwo\nthree\n")
		write(t, w, "four\n")
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		read("one\ntwo\nthree\nfour\n")
	})

	t.Run("go on where the attempt before ended", func(t *testing.T) {
		a, b := open(t)
		for i, files := range []core.Files{a, b, a} {
			w := appendTo(t, files, 1)
			write(t, w, fmt.Sprintf("attempt %d\n", i+1))
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if got := logOf(t, b, 1); got != "attempt 1\nattempt 2\nattempt 3\n" {
			t.Errorf("got %q", got)
		}
	})

	t.Run("of requests that wrote none are not found", func(t *testing.T) {
		a, _ := open(t)
		put(t, a, 1, "x", "")
		_, err := a.Logs().Open(t.Context(), 1)
		wantCode(t, "Open", err, sdk.NotFound, "")
	})

	t.Run("are there as soon as they are opened for writing", func(t *testing.T) {
		a, b := open(t)
		w := appendTo(t, a, 1)
		if got := logOf(t, b, 1); got != "" {
			t.Errorf("got %q", got)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	})

	t.Run("take lines from many at once without mixing them", func(t *testing.T) {
		a, _ := open(t)
		w := appendTo(t, a, 1)
		var wg sync.WaitGroup
		const writers, lines = 8, 50
		for i := range writers {
			wg.Go(func() {
				for range lines {
					if _, err := fmt.Fprintf(w, "%s\n", strings.Repeat(fmt.Sprint(i), 100)); err != nil {
						t.Errorf("Write: %v", err)
					}
				}
			})
		}
		wg.Wait()
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		got := strings.Split(strings.TrimSuffix(logOf(t, a, 1), "\n"), "\n")
		if len(got) != writers*lines {
			t.Errorf("%d lines", len(got))
		}
		for _, line := range got {
			if len(line) != 100 || strings.Trim(line, line[:1]) != "" {
				t.Errorf("line %q", line)
			}
		}
	})
}

func appendTo(t *testing.T, files core.Files, request int64) io.WriteCloser {
	t.Helper()
	w, err := files.Logs().Append(t.Context(), request)
	if err != nil {
		t.Fatalf("Append(%d): %v", request, err)
	}
	return w
}

func write(t *testing.T, w io.Writer, text string) {
	t.Helper()
	if n, err := io.WriteString(w, text); n != len(text) || err != nil {
		t.Fatalf("Write: %d, %v", n, err)
	}
}

func logOf(t *testing.T, files core.Files, request int64) string {
	t.Helper()
	r, err := files.Logs().Open(t.Context(), request)
	if err != nil {
		t.Fatalf("Open(%d): %v", request, err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func testLeftovers(t *testing.T, open func(t *testing.T) (a, b core.Files)) {
	footprints := func(t *testing.T, files core.Files) map[int64]int64 {
		t.Helper()
		found := make(map[int64]int64)
		err := files.Each(t.Context(), func(f core.Footprint) error {
			if _, twice := found[f.Request]; twice {
				t.Errorf("request %d came twice", f.Request)
			}
			if age := time.Since(f.Changed); age > time.Hour || age < -time.Hour {
				t.Errorf("request %d was changed at %v", f.Request, f.Changed)
			}
			found[f.Request] = f.Bytes
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return found
	}

	t.Run("are all requests with files, and what those take", func(t *testing.T) {
		a, b := open(t)
		wantSame(t, "of nothing", footprints(t, a), map[int64]int64{})
		put(t, a, 1, "x", "12345")
		put(t, a, 1, "y", "123")
		put(t, a, 1001, "x", "1")
		w := appendTo(t, a, 1)
		write(t, w, "12")
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		wantSame(t, "footprints", footprints(t, b), map[int64]int64{1: 10, 1001: 1})
	})

	t.Run("are removed with one request, and no other's", func(t *testing.T) {
		a, b := open(t)
		for _, request := range []int64{1, 2, 11} {
			put(t, a, request, "x", "1")
			if err := appendTo(t, a, request).Close(); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			if err := b.Remove(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
		}
		wantSame(t, "what is left", footprints(t, a), map[int64]int64{2: 1, 11: 1})
		_, err := a.Open(t.Context(), 1, "x")
		wantCode(t, "Open of a removed artifact", err, sdk.NotFound, "")
		_, err = a.Logs().Open(t.Context(), 1)
		wantCode(t, "Open of a removed log", err, sdk.NotFound, "")
		put(t, a, 1, "x", "again")
	})

	t.Run("stop at the first error of whoever looks", func(t *testing.T) {
		a, _ := open(t)
		put(t, a, 1, "x", "1")
		put(t, a, 2, "x", "1")
		calls := 0
		err := a.Each(t.Context(), func(core.Footprint) error { calls++; return context.Canceled })
		if !errors.Is(err, context.Canceled) || calls != 1 {
			t.Errorf("error %v after %d calls", err, calls)
		}
	})
}
