package bucket

import (
	"context"
	"errors"

	"github.com/minio/minio-go/v7"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// Each calls yield with every request that has objects, while the bucket is
// listed page by page.
func (f *Files) Each(ctx context.Context, yield func(core.Footprint) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var sum core.Footprint
	begun := false
	for object := range f.client.ListObjectsIter(ctx, f.bucket, minio.ListObjectsOptions{Prefix: f.requests(), Recursive: true}) {
		if object.Err != nil {
			return f.listing(object.Err)
		}
		request, ok := f.requestOf(object.Key)
		if !ok {
			continue
		}
		if begun && request != sum.Request {
			if err := yield(sum); err != nil {
				return err
			}
			sum = core.Footprint{}
		}
		begun = true
		sum.Request = request
		sum.Bytes += object.Size
		if object.LastModified.After(sum.Changed) {
			sum.Changed = object.LastModified.UTC()
		}
	}
	// A listing that was cut short ends like a whole one.
	if err := ctx.Err(); err != nil {
		return f.listing(err)
	}
	if !begun {
		return nil
	}
	return yield(sum)
}

func (f *Files) listing(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return sdk.Errorf(sdk.Unavailable, "list bucket %s: %w", f.bucket, err)
	}
	return sdk.Errorf(sdk.Unavailable, "list bucket %s: %s", f.bucket, f.text(err))
}

// Remove deletes a request's objects, and the parts of uploads that never ended.
func (f *Files) Remove(ctx context.Context, request int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	const doing = "remove the files"
	var listed error
	objects := func(yield func(minio.ObjectInfo) bool) {
		for object := range f.client.ListObjectsIter(ctx, f.bucket, minio.ListObjectsOptions{Prefix: f.of(request), Recursive: true}) {
			if listed = object.Err; listed != nil || !yield(object) {
				return
			}
		}
	}
	results, err := f.client.RemoveObjectsWithIter(ctx, f.bucket, objects, minio.RemoveObjectsOptions{})
	if err != nil {
		return f.unavailable(doing, request, err)
	}
	for result := range results {
		if result.Err != nil {
			return f.unavailable(doing, request, result.Err)
		}
	}
	if listed == nil {
		listed = ctx.Err()
	}
	if listed != nil {
		return f.unavailable(doing, request, listed)
	}
	for upload := range f.client.ListIncompleteUploads(ctx, f.bucket, f.of(request), true) {
		if notFound(upload.Err) {
			break // so some services say that there are none
		}
		if upload.Err != nil {
			return f.unavailable(doing, request, upload.Err)
		}
		if err := f.client.AbortMultipartUpload(ctx, f.bucket, upload.Key, upload.UploadID); err != nil && !notFound(err) {
			return f.unavailable(doing, request, err)
		}
	}
	return nil
}
