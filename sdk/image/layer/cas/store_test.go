package cas_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/iib-engine/iib/sdk/image/layer/cas"
)

func open(t *testing.T, dir string, opts cas.Options) *cas.Store {
	t.Helper()
	s, err := cas.Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t *testing.T, s *cas.Store, data []byte) cas.Key {
	t.Helper()
	k := cas.Sum(data)
	if err := s.Put(k, data); err != nil {
		t.Fatal(err)
	}
	return k
}

// paths are the files of a store, without what is unfinished.
func paths(t *testing.T, dir string) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, "??", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestKey(t *testing.T) {
	k := cas.Sum([]byte("x"))
	if again, err := cas.Parse(k.String()); err != nil || again != k {
		t.Errorf("parse %s: %s, error %v", k, again, err)
	}
	for _, s := range []string{"", "sha256:", k.String()[7:], k.String() + "0", "md5:" + k.String()[7:], "sha256:" + string(bytes.Repeat([]byte("g"), 64)), "sha256:" + string(bytes.Repeat([]byte("A"), 64))} {
		if _, err := cas.Parse(s); err == nil {
			t.Errorf("parse %q: no error", s)
		}
	}
	if !(cas.Key{}).IsZero() || k.IsZero() {
		t.Error("IsZero is wrong")
	}
}

func TestContentComesBack(t *testing.T) {
	s := open(t, t.TempDir(), cas.Options{})
	for _, data := range [][]byte{{}, []byte("x"), bytes.Repeat([]byte("0123456789"), 100_000)} {
		k := put(t, s, data)
		got, err := s.Get(k, nil)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes: got %d, error %v", len(data), len(got), err)
		}
		f, err := s.Open(k)
		if err != nil {
			t.Fatal(err)
		}
		if read, err := io.ReadAll(f.Reader()); err != nil || !bytes.Equal(read, data) {
			t.Errorf("%d bytes: read %d, error %v", len(data), len(read), err)
		}
		tail := make([]byte, 10)
		n, err := f.ReadAt(tail, max(f.Size()-5, 0))
		if err != io.EOF || !bytes.Equal(tail[:n], data[max(len(data)-5, 0):]) {
			t.Errorf("%d bytes: the end reads %q, error %v", len(data), tail[:n], err)
		}
		if _, err := f.ReadAt(tail, -1); err == nil {
			t.Error("a negative offset reads")
		}
		f.Close()
	}
}

func TestMiss(t *testing.T) {
	s := open(t, t.TempDir(), cas.Options{})
	k := cas.Sum([]byte("never put"))
	if _, err := s.Get(k, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("get: %v", err)
	}
	if _, err := s.Open(k); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open: %v", err)
	}
	if s.Has(k) {
		t.Error("has what was never put")
	}
	if err := s.Remove(k); err != nil {
		t.Errorf("remove: %v", err)
	}
}

func TestDamage(t *testing.T) {
	data := bytes.Repeat([]byte("content "), 1000)
	for name, harm := range map[string]func(path string) error{
		"emptied":     func(path string) error { return os.Truncate(path, 0) },
		"cut short":   func(path string) error { return os.Truncate(path, 2000) },
		"grown":       func(path string) error { return os.Truncate(path, 100_000) },
		"a bit wrong": func(path string) error { return flip(path, 3000) },
		"bad magic":   func(path string) error { return flip(path, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, cas.Options{})
			damage := func() cas.Key {
				k := put(t, s, data)
				for _, path := range paths(t, dir) {
					if err := harm(path); err != nil {
						t.Fatal(err)
					}
				}
				return k
			}
			k := damage()
			if _, err := s.Get(k, nil); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("get: %v", err)
			}
			k = damage()
			if f, err := s.Open(k); err == nil {
				_, err = io.ReadAll(f.Reader())
				f.Close()
				if !errors.Is(err, cas.ErrDamaged) {
					t.Errorf("read: %v", err)
				}
			} else if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("open: %v", err)
			}
			if s.Has(k) {
				t.Error("what is damaged was not dropped")
			}
			// Making it again cures it.
			put(t, s, data)
			if got, err := s.Get(k, nil); err != nil || !bytes.Equal(got, data) {
				t.Errorf("after another put: %d bytes, error %v", len(got), err)
			}
		})
	}
}

func flip(path string, at int) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	data[at] ^= 0x40
	return os.WriteFile(path, data, 0o600)
}

func TestWriterThatEndsWithoutCommitLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, cas.Options{})
	w, err := s.Create()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("half")); err != nil {
		t.Fatal(err)
	}
	w.Abort()
	w.Abort()
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestStoreMayBeDeletedUnderAWriter(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := open(t, dir, cas.Options{})
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	k := put(t, s, []byte("x"))
	if _, err := s.Get(k, nil); err != nil {
		t.Error(err)
	}
}

func TestTrim(t *testing.T) {
	const size = 1000
	content := func(i int) []byte { return bytes.Repeat([]byte{byte(i)}, size) }
	age := func(t *testing.T, dir string, by time.Duration) {
		t.Helper()
		for _, path := range paths(t, dir) {
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			when := info.ModTime().Add(-by)
			if err := os.Chtimes(path, when, when); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Run("drops what was not used for longest", func(t *testing.T) {
		dir := t.TempDir()
		// A write alone must not trim here, so that the test decides when.
		s := open(t, dir, cas.Options{Limit: 100 * size})
		for i := range 20 {
			put(t, s, content(i))
			age(t, dir, time.Hour)
		}
		if !s.Has(cas.Sum(content(0))) {
			t.Fatal("dropped before the limit was reached")
		}
		small := open(t, dir, cas.Options{Limit: 10 * size})
		if err := small.Trim(); err != nil {
			t.Fatal(err)
		}
		if !small.Has(cas.Sum(content(0))) {
			t.Error("dropped what Has marked as used")
		}
		if small.Has(cas.Sum(content(1))) {
			t.Error("kept what was not used for longest")
		}
		if !small.Has(cas.Sum(content(19))) {
			t.Error("dropped what was put last")
		}
		if n := len(paths(t, dir)); n > 10 || n < 5 {
			t.Errorf("%d files are left", n)
		}
	})
	t.Run("keeps what is in its grace period", func(t *testing.T) {
		dir := t.TempDir()
		s := open(t, dir, cas.Options{Limit: size})
		for i := range 5 {
			put(t, s, content(i))
		}
		if n := len(paths(t, dir)); n != 5 {
			t.Errorf("%d files are left of 5", n)
		}
	})
	t.Run("happens by itself", func(t *testing.T) {
		dir := t.TempDir()
		s := open(t, dir, cas.Options{Limit: 20 * size, Grace: -1})
		for i := range 200 {
			put(t, s, content(i))
		}
		if n := len(paths(t, dir)); n > 25 {
			t.Errorf("%d files are left with room for 20", n)
		}
	})
	t.Run("removes what a crash left unfinished", func(t *testing.T) {
		dir := t.TempDir()
		s := open(t, dir, cas.Options{})
		for name, old := range map[string]time.Duration{"tmp-old": 24 * time.Hour, "tmp-new": time.Minute} {
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			when := time.Now().Add(-old)
			if err := os.Chtimes(path, when, when); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Trim(); err != nil {
			t.Fatal(err)
		}
		left, _ := filepath.Glob(filepath.Join(dir, "tmp-*"))
		if len(left) != 1 || filepath.Base(left[0]) != "tmp-new" {
			t.Errorf("left: %v", left)
		}
	})
}

// Several stores on one directory stand for several processes. Each content is
// whole or missing, whatever the others do.
func TestStoresShareADirectory(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	for p := range 4 {
		s := open(t, dir, cas.Options{Limit: 20_000, Grace: -1})
		wg.Go(func() {
			for i := range 200 {
				data := []byte(fmt.Sprintf("%d %s", i%30, bytes.Repeat([]byte("x"), 1000)))
				k := cas.Sum(data)
				switch (i + p) % 4 {
				case 0, 1:
					if err := s.Put(k, data); err != nil {
						t.Errorf("put: %v", err)
					}
				case 2:
					if got, err := s.Get(k, nil); err == nil && !bytes.Equal(got, data) {
						t.Error("got other content than was put")
					} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
						t.Errorf("get: %v", err)
					}
				case 3:
					if err := s.Trim(); err != nil {
						t.Errorf("trim: %v", err)
					}
				}
			}
		})
	}
	wg.Wait()
}
