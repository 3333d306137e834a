package store

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"
	"regexp"
	"sync"
	"time"

	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"
)

// smallBlob is the size up to which a blob is kept in the database, and until
// it is finished in memory.
const smallBlob = 64 << 10

// maxUploads and maxInMemory bound what uploads under way take.
const (
	maxUploads  = 10_000
	maxInMemory = 64 << 20
)

// uploads are the blobs that are being received. Those that have a file can be
// continued by another process after this one has died; of the others so
// little has come that the client may as well begin again.
type uploads struct {
	mu       sync.Mutex
	open     map[string]*upload // by path
	inMemory int
}

// upload is a blob that is being received. Who has taken busy may use it.
type upload struct {
	path string
	busy chan struct{}
	used time.Time
	// size is how much has been received; -1 if the file has to tell.
	size int64
	// memory is what has been received, as long as there is no file.
	memory []byte
	file   bool
	// sum is the running digest of the file by algorithm; nil is not known.
	algorithm digest.Algorithm
	sum       hash.Hash
	ended     bool
}

var uploadID = regexp.MustCompile(`\A[0-9a-f]{32}\z`)

// uploadPath is where the bytes of an upload go, for the driver. It depends on
// the repository, so that an upload is found there only.
func uploadPath(repository, id string) string {
	sum := sha256.Sum256([]byte(repository))
	return path.Join("/uploads", id+"."+hex.EncodeToString(sum[:8]))
}

func newUpload(path string, now time.Time) *upload {
	return &upload{path: path, busy: make(chan struct{}, 1), used: now}
}

func (u *upload) release() { <-u.busy }

func (u *uploads) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.open = nil
}

// add enters an upload unless there is one, and returns the one there is. If
// there are too many, the one that has been idle for longest is forgotten.
func (u *uploads) add(up *upload) *upload {
	u.mu.Lock()
	defer u.mu.Unlock()
	if there := u.open[up.path]; there != nil {
		return there
	}
	if u.open == nil {
		u.open = make(map[string]*upload)
	}
	if len(u.open) >= maxUploads {
		var oldest *upload
		for _, candidate := range u.open {
			if len(candidate.busy) == 0 && (oldest == nil || candidate.used.Before(oldest.used)) {
				oldest = candidate
			}
		}
		if oldest != nil {
			u.forget(oldest)
		}
	}
	u.open[up.path] = up
	return up
}

func (u *uploads) find(path string) *upload {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.open[path]
}

// end forgets an upload for good. The caller has taken it.
func (u *uploads) end(up *upload) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.forget(up)
}

// forget is end for who holds the lock.
func (u *uploads) forget(up *upload) {
	up.ended = true
	u.inMemory -= len(up.memory)
	up.memory = nil
	delete(u.open, up.path)
}

// give adds to what an upload has in memory, or tells that there is no room.
func (u *uploads) give(up *upload, content []byte) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.inMemory+len(content) > maxInMemory {
		return false
	}
	u.inMemory += len(content)
	up.memory = append(up.memory, content...)
	return true
}

// take returns what an upload has in memory; from now on it has a file.
func (u *uploads) take(up *upload) []byte {
	u.mu.Lock()
	defer u.mu.Unlock()
	content := up.memory
	u.inMemory -= len(content)
	up.memory, up.file = nil, true
	return content
}

// StartUpload begins to receive a blob and returns the upload's name.
func (s *Store) StartUpload(_ context.Context, repository string) (id string, err error) {
	if err := CheckRepository(repository); err != nil {
		return "", err
	}
	random := make([]byte, 16)
	rand.Read(random)
	id = hex.EncodeToString(random)
	s.uploads.add(newUpload(uploadPath(repository, id), s.options.Now()))
	return id, nil
}

// lend returns an upload for the caller alone, until it calls release.
func (s *Store) lend(ctx context.Context, repository, id string) (*upload, error) {
	unknown := fmt.Errorf("%w: %.100q", ErrUpload, id)
	if !uploadID.MatchString(id) {
		return nil, unknown
	}
	path := uploadPath(repository, id)
	up := s.uploads.find(path)
	if up == nil {
		there, err := s.exists(ctx, path)
		if err != nil {
			return nil, err
		}
		if !there {
			return nil, unknown
		}
		found := newUpload(path, s.options.Now())
		found.file, found.size = true, -1
		up = s.uploads.add(found)
	}
	select {
	case up.busy <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if up.ended {
		up.release()
		return nil, unknown
	}
	up.used = s.options.Now()
	if up.size < 0 {
		info, err := s.driver.Stat(ctx, path)
		if err != nil {
			up.release()
			return nil, fmt.Errorf("upload %s: %w", id, err)
		}
		up.size, up.sum = info.Size(), nil
	}
	return up, nil
}

// exists tells whether the driver has a file.
func (s *Store) exists(ctx context.Context, path string) (bool, error) {
	_, err := s.driver.Stat(ctx, path)
	if _, missing := errors.AsType[driver.PathNotFoundError](err); missing {
		return false, nil
	}
	return err == nil, err
}

// UploadSize returns how much of an upload has been received, or ErrUpload.
func (s *Store) UploadSize(ctx context.Context, repository, id string) (int64, error) {
	up, err := s.lend(ctx, repository, id)
	if err != nil {
		return 0, err
	}
	defer up.release()
	return up.size, nil
}

// Chunk is a part of an upload. The zero value is an empty one.
type Chunk struct {
	Content io.Reader
	// Start is where the part belongs; negative is wherever the upload ends.
	Start int64
	// Length is how long the part says it is; negative is unknown. What
	// Content has beyond is not read. A part of length 0 adds nothing.
	Length int64
}

// Append adds a chunk to an upload and returns the size that it has then, also
// with an error: what was received before a connection broke is kept. The
// error may be ErrUpload, ErrRange or ErrTooLarge.
func (s *Store) Append(ctx context.Context, repository, id string, chunk Chunk) (int64, error) {
	up, err := s.lend(ctx, repository, id)
	if err != nil {
		return 0, err
	}
	defer up.release()
	err = s.receive(ctx, up, digest.SHA256, chunk)
	return max(0, up.size), err
}

// Finish adds the last chunk, which may be empty, and makes the upload a blob
// of the repository. The error may be that of Append, or ErrMismatch; then the
// upload is gone.
func (s *Store) Finish(ctx context.Context, repository, id string, chunk Chunk, d digest.Digest) (Blob, int64, error) {
	up, err := s.lend(ctx, repository, id)
	if err != nil {
		return Blob{}, 0, err
	}
	defer up.release()
	if err := s.receive(ctx, up, d.Algorithm(), chunk); err != nil {
		return Blob{}, max(0, up.size), err
	}
	blob, err := s.finish(ctx, up, repository, d)
	return blob, up.size, err
}

// CancelUpload forgets an upload, or returns ErrUpload.
func (s *Store) CancelUpload(ctx context.Context, repository, id string) error {
	up, err := s.lend(ctx, repository, id)
	if err != nil {
		return err
	}
	defer up.release()
	return s.discard(ctx, up)
}

// discard ends an upload and removes its file.
func (s *Store) discard(ctx context.Context, up *upload) error {
	s.uploads.end(up)
	if !up.file {
		return nil
	}
	return s.remove(context.WithoutCancel(ctx), up.path)
}

// finish makes what was received a blob of the repository.
func (s *Store) finish(ctx context.Context, up *upload, repository string, d digest.Digest) (Blob, error) {
	ctx = context.WithoutCancel(ctx)
	got, err := s.sum(ctx, up, d.Algorithm())
	if err != nil {
		return Blob{}, err
	}
	if got != d {
		return Blob{}, errors.Join(fmt.Errorf("%w: it has %s, not %s", ErrMismatch, got, d), s.discard(ctx, up))
	}
	blob := Blob{Digest: d, Size: up.size}
	placed := false
	err = s.update(ctx, func(t *tx) error {
		r, err := t.make(repository)
		if err != nil {
			return err
		}
		known, err := t.one(`SELECT 1 FROM blobs WHERE digest = ?`, []any{d}, new(int))
		if err != nil {
			return err
		}
		if !known {
			var content []byte
			if up.file {
				if err := s.place(ctx, up.path, d); err != nil {
					return err
				}
				placed = true
			} else {
				// Not nil, even if it is empty: nil is a file.
				content = append(make([]byte, 0, len(up.memory)), up.memory...)
			}
			if _, err := t.exec(`INSERT INTO blobs (digest, size, content) VALUES (?, ?, ?)`, d, blob.Size, content); err != nil {
				return err
			}
		}
		return t.attach(r, d)
	})
	if err != nil {
		err = fmt.Errorf("store blob %s: %w", d, err)
	}
	if placed {
		// If the transaction failed, the file is for Sweep.
		s.uploads.end(up)
		return blob, err
	}
	if err != nil {
		return Blob{}, err
	}
	return blob, s.discard(ctx, up)
}

// sum returns the digest of what has been received.
func (s *Store) sum(ctx context.Context, up *upload, algorithm digest.Algorithm) (digest.Digest, error) {
	if !up.file {
		return algorithm.FromBytes(up.memory), nil
	}
	if up.sum != nil && up.algorithm == algorithm {
		return digest.NewDigest(algorithm, up.sum), nil
	}
	reader, err := s.driver.Reader(ctx, up.path, 0)
	if err != nil {
		return "", fmt.Errorf("read the upload: %w", err)
	}
	defer reader.Close()
	sum := algorithm.Hash()
	if _, err = io.Copy(sum, reader); err != nil {
		return "", fmt.Errorf("read the upload: %w", err)
	}
	return digest.NewDigest(algorithm, sum), nil
}
