package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"

	"github.com/iib-engine/iib/sdk"
)

// OpenBlob returns a blob of the repository that spec names. Its content comes
// from the cache or, as it arrives, from the registry; the digest is verified
// while it is read, and the read that would return io.EOF fails instead if it
// does not match. The reader's errors are *sdk.Error or those of ctx, which
// must last as long as the reader. Close it.
//
// size is the expected size, or -1 where it is not known. A blob that is larger
// than the limit is Invalid.
func (c *Client) OpenBlob(ctx context.Context, spec string, digest sdk.Digest, size int64) (io.ReadCloser, error) {
	ref, err := ParseRef(spec)
	if err != nil {
		return nil, err
	}
	if !validDigest(digest) {
		return nil, sdk.Errorf(sdk.Invalid, "blob of %s: %q is not a sha256 digest", ref.Name(), printable(string(digest), 100))
	}
	r, err := c.openBlob(ctx, ref, digest, size)
	if err != nil {
		return nil, err
	}
	return &finalErrors{ReadCloser: r, subject: blobSubject(ref, digest)}, nil
}

func blobSubject(ref Ref, digest sdk.Digest) string {
	return fmt.Sprintf("blob %s of %s", digest, ref.Name())
}

// finalErrors turns what a stream ends in into the error that callers outside
// the package see.
type finalErrors struct {
	io.ReadCloser
	subject string
}

func (r *finalErrors) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	return n, finalError(r.subject, err)
}

// finalError gives a code to what only this package knows how to take.
func finalError(subject string, err error) error {
	var known *sdk.Error
	switch {
	case err == nil, err == io.EOF, errors.As(err, &known),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	return sdk.Errorf(sdk.Unavailable, "%s: %v; try again later", subject, err)
}

// openBlob is OpenBlob whose reader reports a damaged blob as errCorrupt, for
// callers that can start over.
func (c *Client) openBlob(ctx context.Context, ref Ref, digest sdk.Digest, size int64) (io.ReadCloser, error) {
	if size > c.limits.Blob {
		return nil, sdk.Errorf(sdk.Invalid, "%s: it has %d bytes; at most %d are allowed", blobSubject(ref, digest), size, c.limits.Blob)
	}
	access, err := c.access(ctx, ref.String())
	if err != nil {
		return nil, err
	}
	if c.hasSeen(ref, access, digest) {
		if f, ok := c.cache.open(blobs, digest); ok {
			return &cachedBlob{f: f, cache: c.cache, digest: digest, hash: sha256.New()}, nil
		}
	}
	return c.follow(ctx, ref, access, digest, size)
}

// readBlob returns a whole small blob.
func (c *Client) readBlob(ctx context.Context, ref Ref, digest sdk.Digest, size, limit int64, what string) ([]byte, error) {
	if size > limit {
		return nil, sdk.Errorf(sdk.Invalid, "image %s: the %s has %d bytes; at most %d are allowed", ref, what, size, limit)
	}
	var data []byte
	err := c.attempt(ctx, blobSubject(ref, digest), func(ctx context.Context) error {
		r, err := c.openBlob(ctx, ref, digest, size)
		if err != nil {
			return err
		}
		defer r.Close()
		data, err = io.ReadAll(r)
		return err
	})
	return data, err
}

// cachedBlob verifies a file of the cache once more: disks fail too.
type cachedBlob struct {
	f      *os.File
	cache  *cache
	digest sdk.Digest
	hash   hash.Hash
}

func (b *cachedBlob) Read(p []byte) (int, error) {
	n, err := b.f.Read(p)
	b.hash.Write(p[:n])
	if err == io.EOF && hashed(b.hash) != b.digest {
		b.cache.drop(b.digest)
		return n, errCorrupt
	}
	return n, err
}

func (b *cachedBlob) Close() error { return b.f.Close() }

func hashed(h hash.Hash) sdk.Digest {
	return digestPrefix + sdk.Digest(hex.EncodeToString(h.Sum(nil)))
}

// fetch copies a blob from the registry to w, picking up where it was when the
// connection breaks. Its error is final, but for errCorrupt.
func (c *Client) fetch(ctx context.Context, ref Ref, access sdk.Access, digest sdk.Digest, size int64, w io.Writer) error {
	limit := c.limits.Blob
	if size >= 0 {
		limit = size
	}
	t := &transfer{w: w, hash: sha256.New(), limit: limit}
	subject := blobSubject(ref, digest)
	err := c.attempt(ctx, subject, func(ctx context.Context) error {
		s, err := c.session(ctx, ref, access, scope(ref.Repository, pull))
		if err != nil {
			return err
		}
		return c.fetchRest(ctx, s, "/v2/"+ref.Repository+"/blobs/"+string(digest), size, t)
	})
	switch {
	case errors.Is(err, errTooLong) && size < 0:
		return sdk.Errorf(sdk.Invalid, "%s: it has more than %d bytes, which is the limit", subject, limit)
	case errors.Is(err, errTooLong):
		return sdk.Errorf(sdk.Invalid, "%s: it is longer than the %d bytes that its manifest tells", subject, size)
	case err != nil:
		return err
	case hashed(t.hash) != digest:
		return errCorrupt
	}
	return nil
}

// transfer is a blob of which a part has arrived.
type transfer struct {
	w     io.Writer
	hash  hash.Hash
	done  int64
	limit int64
	// whole tells that the registry refused to send a part.
	whole bool
}

// errTooLong has a code so that no attempt follows it.
var errTooLong = sdk.Errorf(sdk.Invalid, "the blob is too long")

func (t *transfer) Write(p []byte) (int, error) {
	if t.done+int64(len(p)) > t.limit {
		return 0, errTooLong
	}
	n, err := t.w.Write(p)
	t.hash.Write(p[:n])
	t.done += int64(n)
	if err != nil {
		return n, sdk.Errorf(sdk.Internal, "keep blob: %v", err)
	}
	return n, nil
}

func (c *Client) fetchRest(ctx context.Context, s *session, path string, size int64, t *transfer) error {
	if t.done == size && size > 0 {
		// Only the end had not been told.
		return nil
	}
	header := http.Header{}
	if t.done > 0 && !t.whole {
		header.Set("Range", byteRange(t.done, size))
	}
	resp, err := c.do(ctx, s, call{
		method: http.MethodGet,
		path:   path,
		header: header,
		want:   []int{http.StatusOK, http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable},
	})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusRequestedRangeNotSatisfiable:
		if t.whole || t.done == 0 {
			return errors.New("the registry cannot satisfy a range that nobody asked for")
		}
		t.whole = true
		return c.fetchRest(ctx, s, path, size, t)
	case http.StatusOK:
		// A server without ranges sends what we have once more.
		if _, err := io.CopyN(io.Discard, resp.Body, t.done); err != nil {
			return err
		}
	case http.StatusPartialContent:
		var from int64
		if _, err := fmt.Sscanf(resp.Header.Get("Content-Range"), "bytes %d-", &from); err != nil || from != t.done {
			return fmt.Errorf("the registry answered the range from %d with %q", t.done, printable(resp.Header.Get("Content-Range"), 100))
		}
	}
	if _, err := io.Copy(t, resp.Body); err != nil {
		return err
	}
	if size >= 0 && t.done < size {
		return errTruncated
	}
	return nil
}

// byteRange names the end where it can: not every registry knows open ranges.
func byteRange(from, size int64) string {
	if size < 0 {
		return fmt.Sprintf("bytes=%d-", from)
	}
	return fmt.Sprintf("bytes=%d-%d", from, size-1)
}
