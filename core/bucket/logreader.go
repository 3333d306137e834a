package bucket

import (
	"context"
	"errors"
	"io"

	"github.com/minio/minio-go/v7"

	"github.com/iib-engine/iib/sdk"
)

// Open reads a log from its beginning, until ctx ends. At the end of the log each
// further Read makes two calls, however long it is. Reading on after an error
// goes on where it failed.
func (l logs) Open(ctx context.Context, request int64) (io.ReadCloser, error) {
	last, _, err := l.files.lastSegment(ctx, request)
	if err != nil {
		return nil, l.files.unavailable("open the log", request, err)
	}
	if last == 0 {
		return nil, sdk.Errorf(sdk.NotFound, "request %d has no log", request)
	}
	return &logReader{files: l.files, ctx: ctx, request: request, number: 1, known: last}, nil
}

// logReader reads the segments one after the other.
type logReader struct {
	files   *Files
	ctx     context.Context
	request int64

	number int   // of the segment that is read
	at     int64 // in it
	// known is the last segment of which it is known that it exists. The writer
	// of one before has ended it.
	known int
	// stream is what comes of the segment; with ended it is all that the segment
	// will have.
	stream
	ended bool
}

// Read returns io.EOF when nothing more is there yet.
func (r *logReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if r.body == nil {
			more, err := r.advance()
			if err != nil || !more {
				return 0, err
			}
			continue
		}
		n, err := r.read(p)
		r.at += int64(n)
		if n > 0 {
			return n, nil
		}
		if err == nil {
			continue
		}
		if errors.Is(err, io.EOF) {
			if r.ended {
				r.next()
			}
			continue
		}
		if r.hopeless(r.ctx) {
			r.broken = 0 // reading on tries again
			return 0, r.files.unavailable("read the log", r.request, err)
		}
	}
}

func (r *logReader) next() { r.number, r.at = r.number+1, 0 }

// advance asks for the rest of the segment, or goes to the next one. Without
// either it returns false and io.EOF.
func (r *logReader) advance() (bool, error) {
	// Asked before: what is written until the next segment begins comes first.
	r.ended = r.number < r.known
	if more, err := r.connect(); more || err != nil {
		return more, err
	}
	if r.ended {
		r.next()
		return true, nil
	}
	begun, err := r.successor()
	if err != nil {
		return false, err
	}
	if !begun {
		return false, io.EOF
	}
	r.known = r.number + 1
	return true, nil
}

// connect asks for the rest of the segment, and tells whether there is any.
func (r *logReader) connect() (bool, error) {
	body, info, err := r.files.get(r.ctx, r.files.segment(r.request, r.number), r.at, "")
	switch {
	case err == nil && info.Size == 0:
		return false, body.Close()
	case err == nil:
		r.body = body
		return true, nil
	case beyond(err), notFound(err):
		return false, nil
	}
	return false, r.files.unavailable("read the log", r.request, err)
}

// successor tells whether the next segment exists.
func (r *logReader) successor() (bool, error) {
	_, err := r.files.client.StatObject(r.ctx, r.files.bucket, r.files.segment(r.request, r.number+1), minio.StatObjectOptions{})
	if err != nil && !notFound(err) {
		return false, r.files.unavailable("read the log", r.request, err)
	}
	return err == nil, nil
}
