package oci

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/iib-engine/iib/plugins/registry/internal/access"
	"github.com/iib-engine/iib/plugins/registry/internal/store"
)

// byDigest tells whether the reference of a manifest is a digest: tags have no
// colon.
func (c *call) byDigest() bool { return strings.Contains(c.reference, ":") }

// manifest is end-3: GET and HEAD by tag or by digest.
func (c *call) manifest() error {
	m, err := c.findManifest()
	if err != nil {
		return err
	}
	header := c.w.Header()
	etag := `"` + m.Digest.String() + `"`
	header.Set("Docker-Content-Digest", m.Digest.String())
	header.Set("ETag", etag)
	header.Set("Content-Type", m.MediaType)
	if c.byDigest() {
		header.Set("Cache-Control", forever)
	}
	for _, known := range strings.Split(c.r.Header.Get("If-None-Match"), ",") {
		if strings.TrimPrefix(strings.TrimSpace(known), "W/") == etag {
			c.w.WriteHeader(http.StatusNotModified)
			return nil
		}
	}
	header.Set("Content-Length", strconv.FormatInt(m.Size, 10))
	if c.r.Method == http.MethodHead {
		return nil
	}
	_, err = c.w.Write(m.Content)
	return err
}

func (c *call) findManifest() (store.Manifest, error) {
	ctx := c.r.Context()
	if !c.byDigest() {
		if store.CheckTag(c.reference) != nil {
			return store.Manifest{}, fmt.Errorf("%w: %.200q", store.ErrTag, c.reference)
		}
		return c.Store.ManifestByTag(ctx, c.repository, c.reference)
	}
	d, err := c.digestReference()
	if err != nil {
		return store.Manifest{}, err
	}
	if c.r.Method == http.MethodHead && c.permit(access.Write) == nil {
		// A client that pushes asks this, and leaves out what is there.
		return c.Store.PromiseManifest(ctx, c.repository, d)
	}
	return c.Store.ManifestByDigest(ctx, c.repository, d)
}

// maxTagParameters bounds the tags that one push by digest may give.
const maxTagParameters = 100

// condition is what the tags of a push must be before, by the conditional
// requests of RFC 9110: If-Match with the ETag of the manifest that a GET
// answers, or If-None-Match: *. The specification of registries has none.
func (c *call) condition() (*digest.Digest, error) {
	match, none := c.r.Header.Get("If-Match"), c.r.Header.Get("If-None-Match")
	var was digest.Digest
	switch {
	case match == "" && none != "*", match == "*":
		return nil, nil
	case match != "":
		was = digest.Digest(strings.Trim(match, `"`))
		if was.Validate() != nil {
			return nil, fmt.Errorf("%w: If-Match: want one digest in quotes", store.ErrDigest)
		}
	}
	return &was, nil
}

// putManifest is end-7. A push by digest may name tags in the query.
func (c *call) putManifest() error {
	push := store.Push{ContentType: c.r.Header.Get("Content-Type")}
	query := c.r.URL.Query()
	if c.byDigest() {
		d, err := c.digestReference()
		if err != nil {
			return err
		}
		push.Digest, push.Tags = d, query["tag"]
		if len(push.Tags) > maxTagParameters {
			return fmt.Errorf("%w: %d tags in one request; at most %d", store.ErrTagName, len(push.Tags), maxTagParameters)
		}
	} else {
		push.Tags = []string{c.reference}
	}
	var err error
	if push.Was, err = c.condition(); err != nil {
		return err
	}
	tooLarge := fmt.Errorf("%w: a manifest has at most %d bytes", store.ErrTooLarge, store.MaxManifest)
	if c.r.ContentLength > store.MaxManifest {
		return tooLarge
	}
	content, err := io.ReadAll(io.LimitReader(c.r.Body, store.MaxManifest+1))
	if err != nil {
		return fmt.Errorf("receive the manifest: %w", err)
	}
	if len(content) > store.MaxManifest {
		return tooLarge
	}
	push.Content = content
	pushed, err := c.Store.PutManifest(c.r.Context(), c.repository, push, access.Caller(c.r))
	if err != nil {
		return err
	}
	header := c.w.Header()
	header.Set("Location", "/v2/"+c.repository+"/manifests/"+pushed.Digest.String())
	header.Set("Docker-Content-Digest", pushed.Digest.String())
	if pushed.Subject != "" {
		header.Set("OCI-Subject", pushed.Subject.String())
	}
	if c.byDigest() {
		for _, tag := range push.Tags {
			header.Add("OCI-Tag", tag)
		}
	}
	header.Set("Content-Length", "0")
	c.w.WriteHeader(http.StatusCreated)
	return nil
}

// deleteManifest is end-9: a tag, or a manifest with all its tags.
func (c *call) deleteManifest() error {
	ctx, actor := c.r.Context(), access.Caller(c.r)
	var err error
	if c.byDigest() {
		var d digest.Digest
		if d, err = c.digestReference(); err == nil {
			err = c.Store.DeleteManifest(ctx, c.repository, d, actor)
		}
	} else {
		err = c.Store.DeleteTag(ctx, c.repository, c.reference, false, actor)
	}
	if err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusAccepted)
	return nil
}
