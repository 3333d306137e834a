package cas

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// Options bound a store.
type Options struct {
	// Limit is how many bytes of content to keep, roughly: the store is
	// trimmed after each sixteenth of it that is written. Zero means 1 GiB.
	Limit int64
	// Grace protects what was used within it, even if the limit is passed.
	// Zero means 30 minutes; negative means none.
	Grace time.Duration
}

// Store is a directory of content. It is safe for concurrent use, by several
// processes too.
type Store struct {
	dir   string
	limit int64
	grace time.Duration

	written  atomic.Int64
	trimming sync.Mutex
}

// Open returns the store in dir, and creates it if it is not there.
func Open(dir string, opts Options) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s := &Store{dir: dir, limit: opts.Limit, grace: opts.Grace}
	if s.limit == 0 {
		s.limit = 1 << 30
	}
	switch {
	case s.grace == 0:
		s.grace = 30 * time.Minute
	case s.grace < 0:
		s.grace = 0
	}
	// A process that lives too briefly to write its share must not be a way
	// around the bound.
	s.written.Store(s.limit / trimShare / 2)
	return s, nil
}

// path spreads the files over 256 directories.
func (s *Store) path(k Key) string {
	name := hex.EncodeToString(k[:])
	return filepath.Join(s.dir, name[:2], name[2:])
}

// Open opens the content of a key for reading and marks it as used. The error
// of a miss satisfies errors.Is(err, fs.ErrNotExist).
func (s *Store) Open(k Key) (*File, error) {
	path := s.path(k)
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	fr, ok := readFrame(f, info)
	if !ok {
		f.Close()
		_ = os.Remove(path)
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	s.touch(path, info.ModTime())
	return &File{f: f, frame: fr}, nil
}

// Has reports whether the key's content is there, and marks it as used.
func (s *Store) Has(k Key) bool {
	path := s.path(k)
	info, err := os.Stat(path)
	if err != nil || info.Size() < frameSize {
		return false
	}
	s.touch(path, info.ModTime())
	return true
}

// touch records a use in the modification time, seldom enough to cost nothing.
func (s *Store) touch(path string, last time.Time) {
	if now := time.Now(); now.Sub(last) > s.grace/4 {
		_ = os.Chtimes(path, now, now)
	}
}

// Get returns the content of a key, verified, appended to buf[:0]. The error
// of a miss or of damage satisfies errors.Is(err, fs.ErrNotExist).
func (s *Store) Get(k Key, buf []byte) ([]byte, error) {
	f, err := s.Open(k)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size := int(f.Size())
	if cap(buf) < size {
		buf = make([]byte, size)
	}
	buf = buf[:size]
	if size > 0 {
		if _, err := f.f.ReadAt(buf, frameSize); err != nil {
			return nil, err
		}
	}
	if crc32.Checksum(buf, castagnoli) != f.frame.sum {
		_ = os.Remove(s.path(k))
		return nil, &fs.PathError{Op: "read", Path: s.path(k), Err: fs.ErrNotExist}
	}
	return buf, nil
}

// Put stores content under a key. What is there under that key is kept.
func (s *Store) Put(k Key, data []byte) error {
	if s.Has(k) {
		return nil
	}
	w, err := s.Create()
	if err != nil {
		return err
	}
	defer w.Abort()
	if _, err := w.Write(data); err != nil {
		return err
	}
	return w.Commit(k)
}

// Remove drops a key's content. Dropping what is not there is no error.
func (s *Store) Remove(k Key) error {
	if err := os.Remove(s.path(k)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Writer takes content whose key is known only at its end. It is not safe for
// concurrent use.
type Writer struct {
	s     *Store
	f     *os.File
	frame frame
}

var blankFrame = bytes.Repeat([]byte{0}, frameSize)

// Create starts new content. Exactly one of Commit and Abort ends it; an Abort
// after Commit does nothing, so that it can be deferred.
func (s *Store) Create() (*Writer, error) {
	f, err := os.CreateTemp(s.dir, tempPrefix+"*")
	if errors.Is(err, fs.ErrNotExist) {
		// Somebody deleted the store under us, which is allowed.
		if err := os.MkdirAll(s.dir, 0o700); err != nil {
			return nil, err
		}
		f, err = os.CreateTemp(s.dir, tempPrefix+"*")
	}
	if err != nil {
		return nil, err
	}
	w := &Writer{s: s, f: f}
	if _, err := f.Write(blankFrame); err != nil {
		w.Abort()
		return nil, err
	}
	return w, nil
}

// Write appends content.
func (w *Writer) Write(p []byte) (int, error) {
	n, err := w.f.Write(p)
	w.frame.size += int64(n)
	w.frame.sum = crc32.Update(w.frame.sum, castagnoli, p[:n])
	return n, err
}

// Size is the length of the content so far.
func (w *Writer) Size() int64 { return w.frame.size }

// Commit puts the content into the store under a key.
func (w *Writer) Commit(k Key) error {
	if _, err := w.f.WriteAt(w.frame.encode(), 0); err != nil {
		w.Abort()
		return err
	}
	temp := w.f.Name()
	if err := w.f.Close(); err != nil {
		w.Abort()
		return err
	}
	path := w.s.path(k)
	err := os.Rename(temp, path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(path), 0o700); err == nil {
			err = os.Rename(temp, path)
		}
	}
	if err != nil {
		w.Abort()
		return err
	}
	w.f = nil
	w.s.wrote(w.frame.size)
	return nil
}

// Abort throws the content away.
func (w *Writer) Abort() {
	if w.f == nil {
		return
	}
	w.f.Close()
	_ = os.Remove(w.f.Name())
	w.f = nil
}
