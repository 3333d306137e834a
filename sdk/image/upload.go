package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"sync/atomic"

	"github.com/iib-engine/iib/sdk"
)

// blobSource is a blob to be brought into a repository.
type blobSource struct {
	digest sdk.Digest
	size   int64
	// open is called once per attempt to send the content.
	open func(context.Context) (io.ReadCloser, error)
	// mountFrom is another repository of the same registry that may have it.
	mountFrom string
}

// PushLayer brings a layer's file into a repository, which spec names, unless
// it is there already. Pushes of the same layer to the same repository at the
// same time are one. It returns the bytes that this call sent.
func (c *Client) PushLayer(ctx context.Context, spec string, layer sdk.Layer) (sent int64, err error) {
	ref, err := ParseRef(spec)
	if err != nil {
		return 0, err
	}
	digest := sdk.Digest(layer.Digest)
	if !validDigest(digest) {
		return 0, sdk.Errorf(sdk.Invalid, "layer file %s: %q is not a sha256 digest", layer.Path, printable(layer.Digest, 100))
	}
	return c.upload(ctx, ref, blobSource{
		digest: digest,
		size:   layer.Size,
		open: func(context.Context) (io.ReadCloser, error) {
			return openLayerFile(layer, digest)
		},
	})
}

func openLayerFile(layer sdk.Layer, digest sdk.Digest) (io.ReadCloser, error) {
	f, err := os.Open(layer.Path)
	if err != nil {
		return nil, sdk.Errorf(sdk.Internal, "layer file: %v", err)
	}
	info, err := f.Stat()
	if err != nil || info.Size() != layer.Size {
		f.Close()
		return nil, sdk.Errorf(sdk.Invalid, "layer file %s: it does not have the %d bytes that it should", layer.Path, layer.Size)
	}
	return &checkedFile{file: f, hash: sha256.New(), want: digest}, nil
}

// checkedFile fails at its end when the file is not what it should be, which
// the registry would say less clearly.
type checkedFile struct {
	file *os.File
	hash hash.Hash
	want sdk.Digest
}

func (f *checkedFile) Read(p []byte) (int, error) {
	n, err := f.file.Read(p)
	f.hash.Write(p[:n])
	if err == io.EOF && hashed(f.hash) != f.want {
		return n, sdk.Errorf(sdk.Invalid, "layer file %s: its content does not match %s", f.file.Name(), f.want)
	}
	return n, err
}

func (f *checkedFile) Close() error { return f.file.Close() }

// PushBytes brings a small blob into a repository.
func (c *Client) PushBytes(ctx context.Context, spec string, data []byte) (digest sdk.Digest, sent int64, err error) {
	ref, err := ParseRef(spec)
	if err != nil {
		return "", 0, err
	}
	digest = sum(data)
	sent, err = c.upload(ctx, ref, blobSource{
		digest: digest,
		size:   int64(len(data)),
		open: func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(data)), nil
		},
	})
	return digest, sent, err
}

// CopyBlob brings a blob of one repository into another: without traffic where
// both are in one registry that can do so, through this machine where not.
func (c *Client) CopyBlob(ctx context.Context, from, to string, digest sdk.Digest, size int64) (sent int64, err error) {
	src, err := ParseRef(from)
	if err != nil {
		return 0, err
	}
	dst, err := ParseRef(to)
	if err != nil {
		return 0, err
	}
	return c.copyBlob(ctx, src, dst, digest, size)
}

func (c *Client) copyBlob(ctx context.Context, src, dst Ref, digest sdk.Digest, size int64) (int64, error) {
	source := blobSource{
		digest: digest,
		size:   size,
		open: func(ctx context.Context) (io.ReadCloser, error) {
			return c.openBlob(ctx, src, digest, size)
		},
	}
	if src.Registry == dst.Registry && src.Repository != dst.Repository {
		source.mountFrom = src.Repository
	}
	return c.upload(ctx, dst, source)
}

// upload does each blob once per repository at a time: some registries lose
// blobs, or answer nonsense, when the same one arrives twice at once.
func (c *Client) upload(ctx context.Context, ref Ref, src blobSource) (int64, error) {
	access, err := c.access(ctx, ref.String())
	if err != nil {
		return 0, err
	}
	key := contentKey{keyOf(access), ref.Name(), src.digest}
	sent, leader, err := c.uploads.do(ctx, key, func(ctx context.Context) (int64, error) {
		var sent atomic.Int64
		err := c.attempt(ctx, blobSubject(ref, src.digest), func(ctx context.Context) error {
			return c.uploadOnce(ctx, ref, access, src, &sent)
		})
		return sent.Load(), err
	})
	if !leader {
		sent = 0
	}
	return sent, err
}

func (c *Client) uploadOnce(ctx context.Context, ref Ref, access sdk.Access, src blobSource, sent *atomic.Int64) error {
	s, err := c.session(ctx, ref, access, scope(ref.Repository, push))
	if err != nil {
		return err
	}
	exists, err := c.hasBlob(ctx, s, ref, src.digest)
	if exists || err != nil {
		return err
	}
	location, mounted, err := c.begin(ctx, s, ref, access, src)
	if mounted || err != nil {
		return err
	}
	return c.sendBlob(ctx, s, location, src, sent)
}

// begin mounts the blob, or returns the address that its content goes to.
func (c *Client) begin(ctx context.Context, s *session, ref Ref, access sdk.Access, src blobSource) (location *url.URL, mounted bool, err error) {
	if src.mountFrom != "" {
		location, mounted, err = c.mount(ctx, ref, access, src)
		// A mount that is refused is no fault: the content is sent instead.
		if err == nil || passes(err) {
			return location, mounted, err
		}
	}
	return c.startUpload(ctx, s, "/v2/"+ref.Repository+"/blobs/uploads/")
}

func (c *Client) hasBlob(ctx context.Context, s *session, ref Ref, digest sdk.Digest) (bool, error) {
	resp, err := c.do(ctx, s, call{
		method: http.MethodHead,
		path:   "/v2/" + ref.Repository + "/blobs/" + string(digest),
		want:   []int{http.StatusOK, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect},
		// A registry redirects to a blob that it has, and storage that signs
		// addresses for GET refuses HEAD.
		still: true,
	})
	var status *statusError
	if errors.As(err, &status) && (status.status == http.StatusNotFound || status.status == http.StatusUnauthorized || status.status == http.StatusForbidden) {
		// A repository that the first push will make may be refused to
		// readers until then; if it is more, the upload is refused too.
		return false, nil
	}
	if err != nil {
		return false, err
	}
	resp.Body.Close()
	return true, nil
}

// mount asks the registry to take the blob from another of its repositories.
// A registry that will not begins an upload instead.
func (c *Client) mount(ctx context.Context, ref Ref, access sdk.Access, src blobSource) (location *url.URL, mounted bool, err error) {
	s, err := c.session(ctx, ref, access, scope(ref.Repository, push), scope(src.mountFrom, pull))
	if err != nil {
		return nil, false, err
	}
	query := url.Values{"mount": {string(src.digest)}, "from": {src.mountFrom}}
	return c.startUpload(ctx, s, "/v2/"+ref.Repository+"/blobs/uploads/?"+query.Encode())
}

func (c *Client) startUpload(ctx context.Context, s *session, path string) (location *url.URL, mounted bool, err error) {
	resp, err := c.do(ctx, s, call{
		method: http.MethodPost,
		path:   path,
		want:   []int{http.StatusCreated, http.StatusAccepted},
	})
	if err != nil {
		return nil, false, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusCreated {
		return nil, true, nil
	}
	location, err = resp.Location()
	return location, false, err
}

// sendBlob sends the content in one piece and closes the upload, the way that
// container tools do it and every registry knows.
func (c *Client) sendBlob(ctx context.Context, s *session, location *url.URL, src blobSource, sent *atomic.Int64) error {
	resp, err := c.do(ctx, s, call{
		method: http.MethodPatch,
		path:   location.String(),
		header: http.Header{"Content-Type": {"application/octet-stream"}},
		body: func() (io.ReadCloser, error) {
			r, err := src.open(ctx)
			if err != nil {
				return nil, err
			}
			return &countedBody{ReadCloser: r, sent: sent}, nil
		},
		length:  src.size,
		want:    []int{http.StatusAccepted, http.StatusNoContent, http.StatusCreated},
		patient: true,
	})
	if err != nil {
		return err
	}
	resp.Body.Close()
	if next, err := resp.Location(); err == nil {
		location = next
	}
	query := location.Query()
	query.Set("digest", string(src.digest))
	location.RawQuery = query.Encode()
	resp, err = c.do(ctx, s, call{
		method:  http.MethodPut,
		path:    location.String(),
		header:  http.Header{"Content-Type": {"application/octet-stream"}},
		want:    []int{http.StatusCreated, http.StatusNoContent},
		patient: true,
	})
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

type countedBody struct {
	io.ReadCloser
	sent *atomic.Int64
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.sent.Add(int64(n))
	return n, err
}

// PutManifest puts a manifest or list under the tag of spec, or by its digest
// if spec has no tag. Everything that it refers to must be in the repository.
func (c *Client) PutManifest(ctx context.Context, spec, mediaType string, raw []byte) (sdk.Digest, error) {
	ref, err := ParseRef(spec)
	if err != nil {
		return "", err
	}
	return c.putManifest(ctx, ref, mediaType, raw, nil)
}

func (c *Client) putManifest(ctx context.Context, ref Ref, mediaType string, raw []byte, when http.Header) (sdk.Digest, error) {
	digest := sum(raw)
	header := http.Header{"Content-Type": {mediaType}}
	maps.Copy(header, when)
	switch {
	case ref.Digest != "" && ref.Digest != digest:
		return "", sdk.Errorf(sdk.Invalid, "image %s: the manifest to put there has the digest %s", ref, digest)
	case ref.Tag == "":
		ref = ref.WithDigest(digest)
	default:
		ref = ref.WithTag(ref.Tag)
	}
	access, err := c.access(ctx, ref.String())
	if err != nil {
		return "", err
	}
	err = c.attempt(ctx, "image "+ref.String(), func(ctx context.Context) error {
		s, err := c.session(ctx, ref, access, scope(ref.Repository, push))
		if err != nil {
			return err
		}
		resp, err := c.do(ctx, s, call{
			method: http.MethodPut,
			path:   "/v2/" + ref.Repository + "/manifests/" + ref.identifier(),
			header: header,
			body:   func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil },
			length: int64(len(raw)),
			want:   []int{http.StatusCreated, http.StatusOK, http.StatusAccepted},
		})
		if err != nil {
			return err
		}
		resp.Body.Close()
		if got := resp.Header.Get("Docker-Content-Digest"); validDigest(sdk.Digest(got)) && sdk.Digest(got) != digest {
			return fmt.Errorf("%w: the registry stored %s", errCorrupt, got)
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	// Whoever put it may read it; the next step often does.
	if _, err := c.known(ref, access, raw); err == nil {
		c.cache.write(digest, raw)
	}
	return digest, nil
}
