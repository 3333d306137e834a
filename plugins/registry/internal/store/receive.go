package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"
)

// receive adds a chunk to the end of an upload. algorithm is the likely one of
// its digest.
func (s *Store) receive(ctx context.Context, up *upload, algorithm digest.Algorithm, chunk Chunk) error {
	if chunk.Length == 0 {
		return nil
	}
	if chunk.Start >= 0 && chunk.Start != up.size {
		return fmt.Errorf("%w: it begins at %d, and %d bytes are there", ErrRange, chunk.Start, up.size)
	}
	limit := s.options.MaxBlob - up.size
	tooLarge := fmt.Errorf("%w: a blob has at most %d bytes", ErrTooLarge, s.options.MaxBlob)
	if chunk.Length > limit {
		return errors.Join(tooLarge, s.discard(ctx, up))
	}
	content := io.LimitReader(chunk.Content, limit+1)
	if chunk.Length > 0 {
		content = io.LimitReader(chunk.Content, chunk.Length)
	}
	before := up.size
	if err := s.extend(ctx, up, algorithm, content); err != nil {
		return err
	}
	written := up.size - before
	if written > limit {
		return errors.Join(tooLarge, s.discard(ctx, up))
	}
	if chunk.Length > 0 && written != chunk.Length {
		return fmt.Errorf("receive the chunk: %w", io.ErrUnexpectedEOF)
	}
	return nil
}

// extend adds content to an upload, in memory while it is small. What came
// before an error stays.
func (s *Store) extend(ctx context.Context, up *upload, algorithm digest.Algorithm, content io.Reader) error {
	if up.file {
		return s.write(ctx, up, content)
	}
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	n, err := fill(content, (*buffer)[:smallBlob-len(up.memory)+1])
	read := (*buffer)[:n]
	if err != nil && s.uploads.give(up, read) {
		up.size += int64(n)
		if err != io.EOF {
			return fmt.Errorf("receive the chunk: %w", err)
		}
		return nil
	}
	if err != nil {
		content = failing{err}
	}
	head := s.uploads.take(up)
	up.size, up.algorithm, up.sum = 0, algorithm, algorithm.Hash()
	return s.write(ctx, up, io.MultiReader(bytes.NewReader(head), bytes.NewReader(read), content))
}

// failing is a reader at its end.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// write adds content to the upload's file and syncs it. What came before an
// error stays.
func (s *Store) write(ctx context.Context, up *upload, content io.Reader) error {
	// A client that goes away must not leave the writer half closed.
	ctx = context.WithoutCancel(ctx)
	w, err := s.driver.Writer(ctx, up.path, up.size > 0)
	if err != nil {
		up.size = -1
		return fmt.Errorf("store the chunk: %w", err)
	}
	written, readErr, writeErr := receiveAll(w, up.sum, content)
	if writeErr == nil {
		writeErr = w.Commit(ctx)
	}
	writeErr = errors.Join(writeErr, w.Close())
	if writeErr != nil {
		// Nobody knows how much of it is on the disk.
		up.size = -1
		return fmt.Errorf("store the chunk: %w", writeErr)
	}
	up.size += written
	if readErr != nil {
		return fmt.Errorf("receive the chunk: %w", readErr)
	}
	return nil
}

const bufferSize = 512 << 10

var buffers = sync.Pool{New: func() any { b := make([]byte, bufferSize); return &b }}

// receiveAll copies from r to w and to sum, which may be nil, and tells on
// which side an error was. The digest of one buffer is computed while the next
// is read and written: on a large blob either takes about as long as the other.
func receiveAll(w io.Writer, sum hash.Hash, r io.Reader) (written int64, readErr, writeErr error) {
	first := buffers.Get().(*[]byte)
	second := buffers.Get().(*[]byte)
	defer buffers.Put(first)
	defer buffers.Put(second)

	work := make(chan []byte)
	done := make(chan struct{})
	summing := false
	wait := func() {
		if summing {
			<-done
			summing = false
		}
	}
	defer func() {
		wait()
		close(work)
	}()
	started := false

	for current, other := *first, *second; ; current, other = other, current {
		n, err := fill(r, current)
		if n > 0 {
			if n < len(current) && !started {
				// All of it fits: no need for a helper.
				if sum != nil {
					sum.Write(current[:n])
				}
			} else if sum != nil {
				if !started {
					started = true
					go func() {
						for b := range work {
							sum.Write(b)
							done <- struct{}{}
						}
					}()
				}
				wait()
				work <- current[:n]
				summing = true
			}
			m, err := w.Write(current[:n])
			written += int64(m)
			if err != nil {
				return written, nil, err
			}
		}
		if err == io.EOF {
			return written, nil, nil
		}
		if err != nil {
			return written, err, nil
		}
	}
}

// fill reads until b is full. Unlike io.ReadFull it returns io.EOF for every
// end, and any other error as it came.
func fill(r io.Reader, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var m int
		m, err = r.Read(b[n:])
		n += m
	}
	return n, err
}
