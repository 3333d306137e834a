package image

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/iib-engine/iib/sdk"
)

// OpenLayer returns a layer of an image as an uncompressed tar stream, bounded
// by the client's limits. The layer's digest is verified by the time that the
// stream returns io.EOF, which is after the end of the archive: a reader that
// stops at the archive's end has not verified it, WalkLayer has. The reader's
// errors are *sdk.Error or those of ctx, which must last as long. Close it.
func (c *Client) OpenLayer(ctx context.Context, info *Info, layer Layer) (io.ReadCloser, error) {
	r, err := c.openLayer(ctx, info.Ref, layer)
	if err != nil {
		return nil, finalError(layerSubject(info.Ref, layer), err)
	}
	return &finalErrors{ReadCloser: r, subject: layerSubject(info.Ref, layer)}, nil
}

// WalkLayer calls visit for every entry of a layer's archive, in order, and
// returns nil after the whole layer is read and verified. visit must not keep
// the header or the content reader. An error of visit ends the walk and is
// returned as it stands; ErrStop ends it without one.
//
// Content is handed out before its digest is known to match: drop what was made
// of it when WalkLayer fails.
func (c *Client) WalkLayer(ctx context.Context, info *Info, layer Layer, visit func(*tar.Header, io.Reader) error) error {
	err := c.walk(ctx, info.Ref, layer, visit)
	if errors.Is(err, errCorrupt) {
		return finalError(layerSubject(info.Ref, layer), err)
	}
	return err
}

// ErrStop, returned by a function that is called for each of several things,
// means that it needs no more of them.
var ErrStop = errors.New("stop")

func layerSubject(ref Ref, layer Layer) string {
	return fmt.Sprintf("image %s: layer %s", ref, layer.Digest)
}

// walk is WalkLayer that reports a damaged blob as errCorrupt.
func (c *Client) walk(ctx context.Context, ref Ref, layer Layer, visit func(*tar.Header, io.Reader) error) error {
	r, err := c.openLayer(ctx, ref, layer)
	if err != nil {
		return err
	}
	defer r.Close()
	tr := tar.NewReader(r)
	for {
		hdr, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return r.fault(err)
		}
		content := &countingReader{r: tr}
		err = visit(hdr, content)
		switch {
		case errors.Is(err, ErrStop):
			return nil
		case content.err != nil:
			return r.fault(content.err)
		case err != nil:
			return err
		}
	}
	_, err = io.Copy(io.Discard, r)
	return r.fault(err)
}

// layerReader unpacks a blob and holds it against the limits.
type layerReader struct {
	subject string
	blob    *countingReader
	unpack  io.Reader
	close   func()
	total   int64
	limits  Limits
	// err is what the stream below ended in, besides io.EOF; a tar reader on
	// top hides it behind its own.
	err error
}

func (c *Client) openLayer(ctx context.Context, ref Ref, layer Layer) (*layerReader, error) {
	raw, err := c.openBlob(ctx, ref, layer.Digest, layer.Size)
	if err != nil {
		return nil, err
	}
	blob := &countingReader{r: raw}
	lr := &layerReader{subject: layerSubject(ref, layer), blob: blob, limits: c.limits}
	lr.close = func() { raw.Close() }
	buffered := bufio.NewReaderSize(blob, 64<<10)
	magic, err := buffered.Peek(4)
	if err != nil && err != io.EOF {
		raw.Close()
		return nil, lr.fault(err)
	}
	switch {
	case bytes.HasPrefix(magic, gzipMagic):
		z, err := gzip.NewReader(buffered)
		if err != nil {
			raw.Close()
			return nil, lr.fault(err)
		}
		lr.unpack = &drained{Reader: z, below: buffered}
	case bytes.HasPrefix(magic, zstdMagic):
		z, err := zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			raw.Close()
			return nil, lr.fault(err)
		}
		lr.unpack = &drained{Reader: z, below: buffered}
		lr.close = func() { z.Close(); raw.Close() }
	default:
		lr.unpack = buffered
	}
	return lr, nil
}

func (r *layerReader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.unpack.Read(p)
	r.total += int64(n)
	if limit := r.exceeded(); limit != nil {
		r.err = limit
		return 0, limit
	}
	if err != nil && err != io.EOF {
		r.err = r.fault(err)
		return n, r.err
	}
	return n, err
}

// unpackGrace is how much a layer may unpack to before its ratio counts: a few
// empty files compress extremely well.
const unpackGrace = 16 << 20

func (r *layerReader) exceeded() error {
	if r.total > r.limits.Total {
		return sdk.Errorf(sdk.Invalid, "%s: it unpacks to more than %d bytes, which is the limit", r.subject, r.limits.Total)
	}
	if r.total > unpackGrace && r.total/r.limits.Ratio > r.blob.n {
		return sdk.Errorf(sdk.Invalid, "%s: it unpacks to more than %d times its size, which no honest layer does", r.subject, r.limits.Ratio)
	}
	return nil
}

// fault tells what an error in the middle of a layer means. What comes from
// below stands as it is; the rest is the layer's own fault.
func (r *layerReader) fault(err error) error {
	var known *sdk.Error
	switch {
	case err == nil:
		return nil
	case r.blob.err != nil:
		err = r.blob.err
	case r.err != nil:
		err = r.err
	}
	switch {
	case errors.As(err, &known):
		return known
	case r.blob.err != nil:
		return err
	}
	// Bytes that were damaged on the way are not the image's fault: the digest
	// tells, once all of them are read.
	if _, err := io.Copy(io.Discard, r.blob); err != nil {
		return err
	}
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return sdk.Errorf(sdk.Invalid, "%s: the archive ends early", r.subject)
	}
	return sdk.Errorf(sdk.Invalid, "%s: the archive is damaged (%s)", r.subject, printable(err.Error(), 200))
}

func (r *layerReader) Close() error {
	r.close()
	return nil
}

// countingReader remembers how much was read, and why it ended.
type countingReader struct {
	r   io.Reader
	n   int64
	err error
}

func (r *countingReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.n += int64(n)
	if err != nil && err != io.EOF {
		r.err = err
	}
	return n, err
}

// drained reads what is left below once its reader is at its end, so that the
// digest below is verified.
type drained struct {
	io.Reader
	below io.Reader
}

func (d *drained) Read(p []byte) (int, error) {
	n, err := d.Reader.Read(p)
	if err == io.EOF {
		if _, below := io.Copy(io.Discard, d.below); below != nil {
			return n, below
		}
	}
	return n, err
}
