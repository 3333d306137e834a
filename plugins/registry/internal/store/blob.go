package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"
)

// Blob is a stored blob.
type Blob struct {
	Digest digest.Digest
	Size   int64
}

// blobPath is where the bytes of a large blob are, for the driver.
func blobPath(d digest.Digest) string {
	return path.Join("/blobs", d.Algorithm().String(), d.Encoded())
}

// link is the row of links that gives a repository a blob.
type link struct {
	size    int64
	touched int64
	hidden  bool
}

func (t *tx) link(r *repository, d digest.Digest) (link, bool, error) {
	var l link
	found, err := t.one(`SELECT b.size, l.touched, l.hidden FROM links l JOIN blobs b USING (digest)
		WHERE l.repository = ? AND l.digest = ?`, []any{r.id, d}, &l.size, &l.touched, &l.hidden)
	return l, found, err
}

// attach gives a repository a blob that is stored.
func (t *tx) attach(r *repository, d digest.Digest) error {
	_, err := t.exec(`INSERT INTO links (repository, digest, touched) VALUES (?, ?, ?)
		ON CONFLICT DO UPDATE SET touched = excluded.touched, hidden = 0`, r.id, d, t.wall)
	return err
}

// Blob returns a blob of a repository, or ErrBlob.
func (s *Store) Blob(ctx context.Context, repository string, d digest.Digest) (Blob, error) {
	blob, _, err := s.blob(ctx, repository, d)
	return blob, err
}

// Promise is Blob for a client that may rely on the answer: what it returns
// stays for the time of the hold at least.
func (s *Store) Promise(ctx context.Context, repository string, d digest.Digest) (Blob, error) {
	blob, touched, err := s.blob(ctx, repository, d)
	if err != nil || s.fresh(touched) {
		return blob, err
	}
	err = s.update(ctx, func(t *tx) error {
		r, err := t.find(repository)
		if err != nil {
			return err
		}
		n, err := t.exec(`UPDATE links SET touched = ? WHERE repository = ? AND digest = ? AND hidden = 0`, t.wall, r.id, d)
		if err == nil && n == 0 {
			err = fmt.Errorf("%w: %s", ErrBlob, d)
		}
		return err
	})
	return blob, err
}

// fresh tells that a promise was made so recently that it need not be renewed:
// collections give twice the hold, so at least one is left.
func (s *Store) fresh(touched int64) bool {
	return touched > s.wall()-s.options.Hold.Milliseconds()
}

func (s *Store) blob(ctx context.Context, repository string, d digest.Digest) (blob Blob, touched int64, err error) {
	err = s.view(ctx, func(t *tx) error {
		r, err := t.find(repository)
		if err != nil {
			return err
		}
		l, found, err := t.link(r, d)
		if err != nil {
			return err
		}
		if !found || l.hidden {
			return fmt.Errorf("%w: %s", ErrBlob, d)
		}
		blob, touched = Blob{Digest: d, Size: l.size}, l.touched
		return nil
	})
	return blob, touched, err
}

// OpenBlob returns a blob of a repository with its bytes, or ErrBlob. The
// caller closes the reader, which stays good even if the blob is collected.
func (s *Store) OpenBlob(ctx context.Context, repository string, d digest.Digest) (Blob, io.ReadSeekCloser, error) {
	blob, err := s.Blob(ctx, repository, d)
	if err != nil {
		return Blob{}, nil, err
	}
	content, err := s.content(ctx, d)
	return blob, content, err
}

// content opens the bytes of a blob, whoever has it, or returns ErrBlob.
func (s *Store) content(ctx context.Context, d digest.Digest) (io.ReadSeekCloser, error) {
	var small []byte
	inFile := false
	err := s.view(ctx, func(t *tx) error {
		found, err := t.one(`SELECT content IS NULL, content FROM blobs WHERE digest = ?`, []any{d}, &inFile, &small)
		if err == nil && !found {
			err = fmt.Errorf("%w: %s", ErrBlob, d)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if !inFile {
		return inMemory{bytes.NewReader(small)}, nil
	}
	reader, err := s.driver.Reader(ctx, blobPath(d), 0)
	if err != nil {
		if _, gone := errors.AsType[driver.PathNotFoundError](err); gone {
			return nil, fmt.Errorf("%w: %s", ErrBlob, d)
		}
		return nil, fmt.Errorf("open blob %s: %w", d, err)
	}
	// The filesystem driver hands out files.
	file, ok := reader.(io.ReadSeekCloser)
	if !ok {
		return nil, errors.Join(fmt.Errorf("open blob %s: the storage driver cannot seek", d), reader.Close())
	}
	return file, nil
}

type inMemory struct{ *bytes.Reader }

func (inMemory) Close() error { return nil }

// Mount gives a repository a blob that another one has, or returns ErrBlob.
func (s *Store) Mount(ctx context.Context, from, into string, d digest.Digest) (Blob, error) {
	var blob Blob
	err := s.update(ctx, func(t *tx) error {
		source, err := t.find(from)
		if err != nil {
			return err
		}
		l, found, err := t.link(source, d)
		if err != nil {
			return err
		}
		if !found || l.hidden {
			return fmt.Errorf("%w: %s in %s", ErrBlob, d, from)
		}
		target, err := t.make(into)
		if err != nil {
			return err
		}
		blob = Blob{Digest: d, Size: l.size}
		return t.attach(target, d)
	})
	return blob, err
}

// Holders returns the repositories that have a blob, at most limit.
func (s *Store) Holders(ctx context.Context, d digest.Digest, limit int) ([]string, error) {
	var names []string
	err := s.view(ctx, func(t *tx) (err error) {
		names, err = t.texts(`SELECT r.name FROM links l JOIN repositories r ON r.id = l.repository
			WHERE l.digest = ? AND l.hidden = 0 LIMIT ?`, d, limit)
		return err
	})
	return names, err
}

// DeleteBlob takes a blob from a repository, or returns ErrBlob, or ErrInUse
// if a manifest that is served names it.
func (s *Store) DeleteBlob(ctx context.Context, repository string, d digest.Digest) error {
	return s.update(ctx, func(t *tx) error {
		r, err := t.find(repository)
		if err != nil {
			return err
		}
		l, found, err := t.link(r, d)
		if err != nil {
			return err
		}
		if !found || l.hidden {
			return fmt.Errorf("%w: %s", ErrBlob, d)
		}
		var user string
		used, err := t.one(`SELECT m.digest FROM needs n JOIN manifests m ON m.id = n.manifest
			WHERE n.repository = ? AND n.digest = ? AND n.child = 0 AND m.hidden = 0 LIMIT 1`, []any{r.id, d}, &user)
		if err != nil {
			return err
		}
		if used {
			return fmt.Errorf("%w: blob %s is part of manifest %s; delete that first", ErrInUse, d, user)
		}
		// A deleted manifest that can be restored still needs it; otherwise
		// the next collection takes it, as nothing promises it any more.
		_, err = t.exec(`UPDATE links SET hidden = 1, touched = 0 WHERE repository = ? AND digest = ?`, r.id, d)
		return err
	})
}

// place moves a finished file to where a blob's bytes belong and returns once
// that is on the disk. The caller holds the lock on writing.
func (s *Store) place(ctx context.Context, from string, d digest.Digest) error {
	target := blobPath(d)
	if err := s.driver.Move(ctx, from, target); err != nil {
		return err
	}
	// The driver renames, and leaves it to the system when that is written.
	return syncDir(filepath.Join(s.dir, filepath.FromSlash(path.Dir(target))))
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
