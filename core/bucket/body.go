package bucket

import (
	"context"
	"io"
	"time"

	"github.com/minio/minio-go/v7"
)

// stall is how long a byte of an object may be waited for.
const stall = 30 * time.Second

// body is what comes of an object. It ends with an error when nothing comes for
// too long.
type body struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (b *body) Read(p []byte) (int, error) {
	timer := time.AfterFunc(stall, b.cancel)
	defer timer.Stop()
	return b.ReadCloser.Read(p)
}

func (b *body) Close() error {
	b.cancel()
	return b.ReadCloser.Close()
}

// stream is a body that is asked for again where its connection breaks.
type stream struct {
	body *body // nil if it has to be asked for
	// broken counts connections that ended without a byte.
	broken int
}

// read reads from the body, which is given up with the first error.
func (s *stream) read(p []byte) (int, error) {
	n, err := s.body.Read(p)
	if n > 0 {
		s.broken = 0
		return n, nil
	}
	if err != nil {
		_ = s.Close()
	}
	return 0, err
}

// hopeless counts a connection that broke, and tells whether another one is not
// worth it.
func (s *stream) hopeless(ctx context.Context) bool {
	s.broken++
	return s.broken >= attempts || ctx.Err() != nil
}

// Close gives up the body, if there is one.
func (s *stream) Close() error {
	if s.body == nil {
		return nil
	}
	err := s.body.Close()
	s.body = nil
	return err
}

// get reads an object from a byte on. With an etag it is that version or none.
func (f *Files) get(ctx context.Context, key string, from int64, etag string) (*body, minio.ObjectInfo, error) {
	var o minio.GetObjectOptions
	if from > 0 {
		if err := o.SetRange(from, 0); err != nil {
			return nil, minio.ObjectInfo{}, err
		}
	}
	if etag != "" {
		if err := o.SetMatchETag(etag); err != nil {
			return nil, minio.ObjectInfo{}, err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	content, info, _, err := f.client.GetObject(ctx, f.bucket, key, o)
	if err != nil {
		cancel()
		return nil, minio.ObjectInfo{}, err
	}
	return &body{content, cancel}, info, nil
}
