package tree

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/image/layer/cas"
)

// Import returns the tree remembered under a key; if there is none, it reads
// the source, keeps what it gives, and remembers it. A catalog that opm could
// not load is refused with code Invalid and the place of the mistake. Several
// imports of one key at once read the source once.
func (s *Store) Import(ctx context.Context, key string, source Source) (*Tree, error) {
	unlock, err := s.flight.lock(ctx, key)
	if err != nil {
		return nil, err
	}
	defer unlock()
	t, err := s.Lookup(key)
	if sdk.CodeOf(err) != sdk.NotFound {
		return t, err
	}
	if t, err = s.read(ctx, source); err != nil {
		return nil, err
	}
	return t, s.Remember(t, key)
}

// Empty returns a tree without files.
func (s *Store) Empty() *Tree {
	t, err := newTree(s, nil, nil)
	if err != nil {
		panic(err) // nothing in it can be wrong
	}
	return t
}

func (s *Store) read(ctx context.Context, source Source) (*Tree, error) {
	in := &intake{store: s, ctx: ctx, entries: make(map[string]*entry), buf: make([]byte, 256<<10)}
	if err := source(ctx, in.add); err != nil {
		return nil, err
	}
	var dirs, files []*entry
	for _, e := range in.entries {
		if e.Mode.IsDir() {
			dirs = append(dirs, e)
		} else {
			files = append(files, e)
		}
	}
	t, err := newTree(s, dirs, files)
	if err != nil {
		return nil, err
	}
	return t.scanned(ctx)
}

// intake takes the files of a source.
type intake struct {
	store   *Store
	ctx     context.Context
	entries map[string]*entry
	total   int64
	buf     []byte
}

func (in *intake) add(f File) error {
	if err := in.ctx.Err(); err != nil {
		return err
	}
	if err := checkPath(f.Name); err != nil {
		return err
	}
	limits := in.store.limits
	if in.entries[f.Name] == nil && len(in.entries) >= limits.Files {
		return invalid("has more than %d files", limits.Files)
	}
	e := &entry{Path: f.Name, Mode: f.Mode.Type() | f.Mode.Perm(), UID: f.UID, GID: f.GID}
	switch {
	case f.SameAs != "":
		first := in.entries[f.SameAs]
		if first == nil || first.Mode.IsDir() {
			return invalid("file %s: a hard link to %s, which is no file before it", f.Name, f.SameAs)
		}
		linked := *first
		linked.Path = f.Name
		e = &linked
	case f.Mode.IsDir():
	case f.Mode.IsRegular() && f.Content != nil:
		if err := in.store.keep(in.ctx, e, f.Content, in.buf); err != nil {
			return err
		}
	default:
		return invalid("file %s: neither a regular file nor a directory", f.Name)
	}
	if in.total += e.Size; in.total > limits.TotalSize {
		return invalid("is larger than %d bytes", limits.TotalSize)
	}
	in.entries[f.Name] = e
	return nil
}

// keep stores content and completes the entry with its digest and size.
func (s *Store) keep(ctx context.Context, e *entry, content io.Reader, buf []byte) error {
	w, err := s.blobs.Create()
	if err != nil {
		return fmt.Errorf("keep catalog file %s: %w", e.Path, err)
	}
	defer w.Abort()
	limit := s.limits.FileSize
	if isIgnoreFile(e.Path) {
		limit = ignoreSize
	}
	sum := sha256.New()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := content.Read(buf)
		if w.Size()+int64(n) > limit {
			return invalid("file %s: larger than %d bytes", e.Path, limit)
		}
		sum.Write(buf[:n])
		if _, err := w.Write(buf[:n]); err != nil {
			return fmt.Errorf("keep catalog file %s: %w", e.Path, err)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return invalid("file %s: %v", e.Path, err)
		}
		if err != nil {
			return fmt.Errorf("read catalog file %s: %w", e.Path, err)
		}
	}
	e.Key, e.Size = cas.Key(sum.Sum(nil)), w.Size()
	if s.blobs.Has(e.Key) {
		return nil
	}
	if err := w.Commit(e.Key); err != nil {
		return fmt.Errorf("keep catalog file %s: %w", e.Path, err)
	}
	return nil
}

// regular is what a new file and a new directory look like.
const (
	fileMode = fs.FileMode(0o644)
	dirMode  = fs.ModeDir | 0o755
)
