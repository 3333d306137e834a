package oci

import (
	"net/http"
	"strconv"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/iib-engine/iib/plugins/registry/internal/store"
)

// forever lets caches keep what has a digest for a name.
const forever = "max-age=31536000, immutable"

func (c *call) digestReference() (digest.Digest, error) { return store.ParseDigest(c.reference) }

// blob is end-2 for blobs: GET and HEAD, with ranges.
func (c *call) blob() error {
	d, err := c.digestReference()
	if err != nil {
		return err
	}
	header := c.w.Header()
	describe := func(b store.Blob) {
		header.Set("Content-Type", "application/octet-stream")
		header.Set("Docker-Content-Digest", b.Digest.String())
		header.Set("ETag", `"`+b.Digest.String()+`"`)
		header.Set("Cache-Control", forever)
	}
	if c.r.Method == http.MethodHead {
		// A client that pushes asks this, and leaves out what is there.
		blob, err := c.Store.Promise(c.r.Context(), c.repository, d)
		if err != nil {
			return err
		}
		describe(blob)
		header.Set("Accept-Ranges", "bytes")
		header.Set("Content-Length", strconv.FormatInt(blob.Size, 10))
		return nil
	}
	blob, content, err := c.Store.OpenBlob(c.r.Context(), c.repository, d)
	if err != nil {
		return err
	}
	defer content.Close()
	describe(blob)
	http.ServeContent(c.w, c.r, "", time.Time{}, content)
	return nil
}

// deleteBlob is end-10.
func (c *call) deleteBlob() error {
	d, err := c.digestReference()
	if err != nil {
		return err
	}
	if err := c.Store.DeleteBlob(c.r.Context(), c.repository, d); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusAccepted)
	return nil
}
