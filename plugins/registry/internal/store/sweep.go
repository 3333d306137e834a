package store

import (
	"context"
	"errors"
	"fmt"
	"path"
	"time"

	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"
)

// uploadLife is how long an upload may lie still before it is given up.
const uploadLife = 24 * time.Hour

// Sweep removes files that nothing speaks of: uploads that were given up, and
// blobs that were moved into place by a process that died before it could
// record them. It may run at any time.
func (s *Store) Sweep(ctx context.Context) (removed int, err error) {
	uploads, err := s.sweepUploads(ctx)
	if err != nil {
		return uploads, fmt.Errorf("sweep uploads: %w", err)
	}
	blobs, err := s.sweepBlobs(ctx)
	if err != nil {
		return uploads + blobs, fmt.Errorf("sweep blobs: %w", err)
	}
	return uploads + blobs, nil
}

// older tells whether a file was last written before some time ago.
func (s *Store) older(ctx context.Context, file string, age time.Duration) (bool, error) {
	info, err := s.driver.Stat(ctx, file)
	if err != nil {
		if _, missing := errors.AsType[driver.PathNotFoundError](err); missing {
			return false, nil
		}
		return false, err
	}
	return info.ModTime().Before(s.options.Now().Add(-age)), nil
}

func (s *Store) list(ctx context.Context, dir string) ([]string, error) {
	files, err := s.driver.List(ctx, dir)
	if _, missing := errors.AsType[driver.PathNotFoundError](err); missing {
		return nil, nil
	}
	return files, err
}

func (s *Store) sweepUploads(ctx context.Context) (removed int, err error) {
	files, err := s.list(ctx, "/uploads")
	if err != nil {
		return 0, err
	}
	for _, file := range files {
		old, err := s.older(ctx, file, uploadLife)
		if err != nil {
			return removed, err
		}
		if !old {
			continue
		}
		up := s.uploads.add(newUpload(file, s.options.Now()))
		select {
		case up.busy <- struct{}{}:
		default:
			continue // somebody is going on with it
		}
		up.file = true
		err = s.discard(ctx, up)
		up.release()
		if err != nil {
			return removed, err
		}
		removed++
	}
	return removed, nil
}

func (s *Store) sweepBlobs(ctx context.Context) (removed int, err error) {
	for _, algorithm := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
		files, err := s.list(ctx, path.Join("/blobs", algorithm.String()))
		if err != nil {
			return removed, err
		}
		for _, file := range files {
			done, err := s.sweepBlob(ctx, algorithm, file)
			if err != nil {
				return removed, err
			}
			if done {
				removed++
			}
		}
	}
	return removed, nil
}

// sweepBlob removes a file that is old enough not to be about to be recorded.
func (s *Store) sweepBlob(ctx context.Context, algorithm digest.Algorithm, file string) (removed bool, err error) {
	d := digest.NewDigestFromEncoded(algorithm, path.Base(file))
	recorded := func(t *tx) (bool, error) {
		return t.one(`SELECT 1 FROM blobs WHERE digest = ? AND content IS NULL`, []any{d}, new(int))
	}
	known := false
	if err := s.view(ctx, func(t *tx) (err error) {
		known, err = recorded(t)
		return err
	}); err != nil || known {
		return false, err
	}
	if old, err := s.older(ctx, file, s.options.Hold); err != nil || !old {
		return false, err
	}
	err = s.update(ctx, func(t *tx) error {
		if known, err = recorded(t); err != nil || known {
			return err
		}
		removed = true
		return s.remove(t.ctx, file)
	})
	return removed, err
}
