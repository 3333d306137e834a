package bucket

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

const (
	// partSize is how much of an artifact is in memory at once. The protocol
	// allows 10,000 parts, so a larger artifact gets larger ones.
	partSize = 8 << 20
	maxParts = 10_000
	// partTime bounds how long sending a part may take, with what is repeated.
	partTime = 2 * time.Minute
)

// errTooLong ends the reading of an artifact that is too long.
var errTooLong = errors.New("too long")

// Put stores or replaces an artifact, whole or not at all. It keeps a part or two
// of the content in memory, however long that is.
func (f *Files) Put(ctx context.Context, request int64, name string, content io.Reader) error {
	if err := core.CheckArtifactName(name); err != nil {
		return err
	}
	err := f.put(ctx, f.artifact(request, name), &limited{ctx: ctx, content: content, left: f.maxSize})
	if errors.Is(err, errTooLong) {
		return sdk.Errorf(sdk.Invalid, "artifact %s of request %d has more than %d bytes", name, request, f.maxSize)
	}
	if err != nil {
		return f.unavailable("store "+name, request, err)
	}
	return nil
}

// limited reads no more than it may, and nothing after its context has ended.
type limited struct {
	ctx     context.Context
	content io.Reader
	left    int64
}

func (l *limited) Read(p []byte) (int, error) {
	if err := l.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := l.content.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return 0, errTooLong
	}
	return n, err
}

// put stores a short content with one call, and a longer one in parts, which
// become an object when the last of them is there.
func (f *Files) put(ctx context.Context, key string, content io.Reader) error {
	p := &parts{content: content, size: max(partSize, f.maxSize/(maxParts-1))}
	if err := p.next(); err != nil {
		return err
	}
	if p.last {
		_, err := f.send(ctx, key, p.Bytes(), minio.PutObjectOptions{}, partTime)
		return err
	}
	upload, err := f.client.NewMultipartUpload(ctx, f.bucket, key, minio.PutObjectOptions{})
	if err != nil {
		return err
	}
	if err := f.sendParts(ctx, key, upload, p); err != nil {
		f.abort(ctx, key, upload)
		return err
	}
	return nil
}

// parts are pieces of a content, one at a time.
type parts struct {
	bytes.Buffer
	content io.Reader
	size    int64
	// last tells that nothing comes after this part, which may be empty.
	last bool
}

// next reads the next part. It does not overwrite the one before, which a
// connection that has failed may still read.
func (p *parts) next() error {
	p.Buffer = bytes.Buffer{}
	_, err := io.CopyN(&p.Buffer, p.content, p.size)
	if errors.Is(err, io.EOF) {
		p.last = true
		return nil
	}
	return err
}

func (f *Files) sendParts(ctx context.Context, key, upload string, p *parts) error {
	var sent []minio.CompletePart
	for {
		if p.Len() > 0 {
			part, err := f.sendPart(ctx, key, upload, len(sent)+1, p.Bytes())
			if err != nil {
				return err
			}
			sent = append(sent, part)
		}
		if p.last {
			break
		}
		if err := p.next(); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, partTime)
	defer cancel()
	_, err := f.client.CompleteMultipartUpload(ctx, f.bucket, key, upload, sent, minio.PutObjectOptions{})
	return err
}

// send stores an object with one call, which is repeated if it fails.
func (f *Files) send(ctx context.Context, key string, data []byte, o minio.PutObjectOptions, limit time.Duration) (info minio.UploadInfo, err error) {
	// The library's other way, a sum for each piece, sends an empty object without
	// its length, which services refuse.
	o.DisableContentSha256 = true
	err = repeat(ctx, limit, func(ctx context.Context) error {
		info, err = f.sender.PutObject(ctx, f.bucket, key, bytes.NewReader(data), int64(len(data)), "", sum(data), o)
		return err
	})
	return info, err
}

func (f *Files) sendPart(ctx context.Context, key, upload string, number int, data []byte) (minio.CompletePart, error) {
	var part minio.ObjectPart
	err := repeat(ctx, partTime, func(ctx context.Context) (err error) {
		part, err = f.sender.PutObjectPart(ctx, f.bucket, key, upload, number, bytes.NewReader(data), int64(len(data)),
			minio.PutObjectPartOptions{Sha256Hex: sum(data), DisableContentSha256: true})
		return err
	})
	return minio.CompletePart{PartNumber: number, ETag: part.ETag}, err
}

// sum is signed with a call, so that the service refuses what has changed on
// its way.
func sum(data []byte) string {
	digest := sha256.Sum256(data)
	return hex.EncodeToString(digest[:])
}

// abort drops the parts of an upload that has failed, also if ctx has ended. If that
// fails as well, they are left to Remove.
func (f *Files) abort(ctx context.Context, key, upload string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTime)
	defer cancel()
	_ = f.client.AbortMultipartUpload(ctx, f.bucket, key, upload)
}

// Open reads an artifact, until ctx ends. Where the connection breaks it goes
// on with another one.
func (f *Files) Open(ctx context.Context, request int64, name string) (io.ReadCloser, error) {
	if err := core.CheckArtifactName(name); err != nil {
		return nil, err
	}
	r := &artifactReader{files: f, ctx: ctx, request: request, name: name}
	if err := r.connect(); err != nil {
		return nil, err
	}
	return r, nil
}

// artifactReader reads one version of an artifact.
type artifactReader struct {
	files   *Files
	ctx     context.Context
	request int64
	name    string

	stream
	etag     string
	at, size int64
}

func (r *artifactReader) Read(p []byte) (int, error) {
	for {
		if r.at >= r.size {
			return 0, io.EOF
		}
		if r.body == nil {
			if err := r.connect(); err != nil {
				return 0, err
			}
		}
		n, err := r.read(p)
		r.at += int64(n)
		if n > 0 {
			return n, nil
		}
		if err != nil && r.hopeless(r.ctx) {
			return 0, r.files.unavailable("read "+r.name, r.request, err)
		}
	}
}

// connect asks for the rest of the version that the reading began with.
func (r *artifactReader) connect() error {
	body, info, err := r.files.get(r.ctx, r.files.artifact(r.request, r.name), r.at, r.etag)
	switch {
	case err == nil:
	case notFound(err) && r.etag == "":
		return sdk.Errorf(sdk.NotFound, "request %d has no %s", r.request, r.name)
	case notFound(err), refused(err):
		return sdk.Errorf(sdk.Unavailable, "read %s of request %d: it was replaced or removed meanwhile; read it again", r.name, r.request)
	default:
		return r.files.unavailable("open "+r.name, r.request, err)
	}
	if r.etag == "" {
		r.etag, r.size = info.ETag, info.Size
	}
	r.body = body
	return nil
}
