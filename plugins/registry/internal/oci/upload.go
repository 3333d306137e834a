package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"

	"github.com/opencontainers/go-digest"

	"github.com/iib-engine/iib/plugins/registry/internal/store"
)

// startUpload is end-4a, end-4b and end-11: it begins an upload, takes a whole
// blob, or mounts one of another repository.
func (c *call) startUpload() error {
	query := c.r.URL.Query()
	if query.Has("mount") {
		d, err := store.ParseDigest(query.Get("mount"))
		if err != nil {
			return err
		}
		mounted, err := c.mount(query.Get("from"), d)
		if err != nil {
			return err
		}
		if mounted {
			return c.created(d)
		}
	}
	var d digest.Digest
	if query.Has("digest") {
		var err error
		if d, err = store.ParseDigest(query.Get("digest")); err != nil {
			return err
		}
	}
	id, err := c.Store.StartUpload(c.r.Context(), c.repository)
	if err != nil {
		return err
	}
	if d == "" {
		c.progress(id, 0)
		c.w.WriteHeader(http.StatusAccepted)
		return nil
	}
	chunk := store.Chunk{Content: c.r.Body, Start: -1, Length: c.r.ContentLength}
	if _, _, err := c.Store.Finish(c.r.Context(), c.repository, id, chunk, d); err != nil {
		// The client was never told the upload's name and cannot go on with it.
		undo := c.Store.CancelUpload(context.WithoutCancel(c.r.Context()), c.repository, id)
		if undo != nil && !errors.Is(undo, store.ErrUpload) {
			return errors.Join(err, undo)
		}
		return err
	}
	return c.created(d)
}

// mountCandidates is how many holders of a blob are tried for a client that
// names none.
const mountCandidates = 100

// mount tells whether it could give the repository a blob that another one
// has, and that the caller may read there.
func (c *call) mount(from string, d digest.Digest) (bool, error) {
	sources := []string{from}
	if from == "" {
		var err error
		if sources, err = c.Store.Holders(c.r.Context(), d, mountCandidates); err != nil {
			return false, err
		}
	}
	for _, source := range sources {
		if !c.mayRead(source) {
			continue
		}
		_, err := c.Store.Mount(c.r.Context(), source, c.repository, d)
		if errors.Is(err, store.ErrBlob) || errors.Is(err, store.ErrRepository) {
			continue
		}
		return err == nil, err
	}
	return false, nil
}

// created answers that a blob is there.
func (c *call) created(d digest.Digest) error {
	header := c.w.Header()
	header.Set("Location", "/v2/"+c.repository+"/blobs/"+d.String())
	header.Set("Docker-Content-Digest", d.String())
	header.Set("Content-Length", "0")
	c.w.WriteHeader(http.StatusCreated)
	return nil
}

// progress says where an upload goes on and how far it is. The specification
// has no way to say "nothing yet"; clients know 0-0.
func (c *call) progress(id string, size int64) {
	header := c.w.Header()
	header.Set("Location", "/v2/"+c.repository+"/blobs/uploads/"+id)
	header.Set("Docker-Upload-UUID", id)
	header.Set("Range", fmt.Sprintf("0-%d", max(0, size-1)))
	header.Set("Content-Length", "0")
}

// uploadStatus is end-13.
func (c *call) uploadStatus() error {
	size, err := c.Store.UploadSize(c.r.Context(), c.repository, c.reference)
	if err != nil {
		return err
	}
	c.progress(c.reference, size)
	c.w.Header().Del("Content-Length")
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// appendUpload is end-5.
func (c *call) appendUpload() error {
	chunk, err := c.chunk()
	if err != nil {
		return c.failUpload(err)
	}
	size, err := c.Store.Append(c.r.Context(), c.repository, c.reference, chunk)
	if err != nil {
		return c.failUpload(err)
	}
	c.progress(c.reference, size)
	c.w.WriteHeader(http.StatusAccepted)
	return nil
}

// finishUpload is end-6.
func (c *call) finishUpload() error {
	d, err := store.ParseDigest(c.r.URL.Query().Get("digest"))
	if err != nil {
		return err
	}
	chunk, err := c.chunk()
	if err != nil {
		return c.failUpload(err)
	}
	if _, _, err := c.Store.Finish(c.r.Context(), c.repository, c.reference, chunk, d); err != nil {
		return c.failUpload(err)
	}
	return c.created(d)
}

// cancelUpload takes an upload back.
func (c *call) cancelUpload() error {
	if err := c.Store.CancelUpload(c.r.Context(), c.repository, c.reference); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// failUpload tells a client that got the range wrong where the upload stands.
func (c *call) failUpload(err error) error {
	if !errors.Is(err, store.ErrRange) {
		return err
	}
	size, statusErr := c.Store.UploadSize(c.r.Context(), c.repository, c.reference)
	if statusErr != nil {
		return statusErr
	}
	c.progress(c.reference, size)
	return err
}

var contentRange = regexp.MustCompile(`\A(?:bytes[ =])?([0-9]{1,18})-([0-9]{1,18})(?:/(?:[0-9]+|\*))?\z`)

// chunk reads from the headers what part of the blob the body is.
func (c *call) chunk() (store.Chunk, error) {
	chunk := store.Chunk{Content: c.r.Body, Start: -1, Length: c.r.ContentLength}
	text := c.r.Header.Get("Content-Range")
	if text == "" {
		return chunk, nil
	}
	match := contentRange.FindStringSubmatch(text)
	if match == nil {
		return chunk, fmt.Errorf("%w: Content-Range %.100q is none", store.ErrRange, text)
	}
	start, _ := strconv.ParseInt(match[1], 10, 64)
	end, _ := strconv.ParseInt(match[2], 10, 64)
	if end < start {
		return chunk, fmt.Errorf("%w: Content-Range %s ends before it begins", store.ErrRange, text)
	}
	length := end - start + 1
	if chunk.Length >= 0 && chunk.Length != length {
		return chunk, fmt.Errorf("Content-Range %s has %d bytes and Content-Length is %d: %w", text, length, chunk.Length, io.ErrUnexpectedEOF)
	}
	chunk.Start, chunk.Length = start, length
	return chunk, nil
}
