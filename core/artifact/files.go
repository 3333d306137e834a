// Package artifact keeps the logs and the artifacts of requests in a directory.
package artifact

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// Files keeps one directory per request: its log, and a file per artifact. It
// is safe for concurrent use, also by several processes.
type Files struct {
	root *os.Root
	// What one artifact and one log may have; the latter is core.MaxLog, less in tests.
	maxSize int64
	maxLog  core.LogRoom
}

var _ core.Files = (*Files)(nil)

// Open uses a directory, and makes it if it is not there. An artifact that is
// put there may have maxSize bytes.
func Open(dir string, maxSize int64) (*Files, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, sdk.Errorf(sdk.Unavailable, "make the artifact directory: %v", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, sdk.Errorf(sdk.Unavailable, "open the artifact directory: %v", err)
	}
	return &Files{root: root, maxSize: maxSize, maxLog: core.MaxLog}, nil
}

const (
	logName        = "request.log"
	artifactSuffix = ".artifact"
	// unfinished begins the name of an artifact that is being written.
	unfinished = ".new-"
)

// dir spreads the requests, so that no directory grows without bound.
func dir(request int64) string { return fmt.Sprintf("%d/%d", request/1000, request) }

// Put stores or replaces an artifact, whole or not at all. Long runs of zeros take
// no space on the disk.
func (f *Files) Put(ctx context.Context, request int64, name string, content io.Reader) (err error) {
	if err := core.CheckArtifactName(name); err != nil {
		return err
	}
	// A sweep may remove the directory between its making and the first file.
	temporary := path.Join(dir(request), unfinished+rand.Text())
	file, err := f.create(request, temporary, os.O_EXCL)
	if err != nil {
		return err
	}
	defer func() {
		_ = file.Close()
		if err != nil {
			_ = f.root.Remove(temporary)
		}
	}()
	n, err := copySparse(file, io.LimitReader(&reader{ctx, content}, f.maxSize+1))
	if err != nil {
		return unavailable("store "+name, request, err)
	}
	if n > f.maxSize {
		return sdk.Errorf(sdk.Invalid, "artifact %s of request %d has more than %d bytes", name, request, f.maxSize)
	}
	if err := file.Sync(); err != nil {
		return unavailable("store "+name, request, err)
	}
	if err := f.root.Rename(temporary, path.Join(dir(request), name+artifactSuffix)); err != nil {
		return unavailable("store "+name, request, err)
	}
	return f.flush(request)
}

// create opens a file for writing, in the request's directory.
func (f *Files) create(request int64, name string, flag int) (*os.File, error) {
	for attempt := 1; ; attempt++ {
		if err := f.root.MkdirAll(dir(request), 0o700); err != nil {
			return nil, unavailable("make the directory", request, err)
		}
		file, err := f.root.OpenFile(name, flag|os.O_CREATE|os.O_WRONLY, 0o600)
		if errors.Is(err, fs.ErrNotExist) && attempt < 3 {
			continue
		}
		if err != nil {
			return nil, unavailable("make a file", request, err)
		}
		return file, nil
	}
}

// flush makes the names in a request's directory durable.
func (f *Files) flush(request int64) error {
	d, err := f.root.Open(dir(request))
	if err != nil {
		return unavailable("flush the directory", request, err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return unavailable("flush the directory", request, err)
	}
	return nil
}

// reader stops reading when its context ends.
type reader struct {
	ctx context.Context
	io.Reader
}

func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}

// Open reads an artifact.
func (f *Files) Open(_ context.Context, request int64, name string) (io.ReadCloser, error) {
	if err := core.CheckArtifactName(name); err != nil {
		return nil, err
	}
	return f.read(request, name, name+artifactSuffix)
}

func (f *Files) read(request int64, what, name string) (io.ReadCloser, error) {
	file, err := f.root.Open(path.Join(dir(request), name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, sdk.Errorf(sdk.NotFound, "request %d has no %s", request, what)
	}
	if err != nil {
		return nil, unavailable("open "+what, request, err)
	}
	return file, nil
}

// Remove deletes what a request left behind.
func (f *Files) Remove(_ context.Context, request int64) error {
	if err := f.root.RemoveAll(dir(request)); err != nil {
		return unavailable("remove the files", request, err)
	}
	return nil
}

// Each calls yield with every request that has files.
func (f *Files) Each(ctx context.Context, yield func(core.Footprint) error) error {
	groups, err := fs.ReadDir(f.root.FS(), ".")
	if err != nil {
		return sdk.Errorf(sdk.Unavailable, "list the artifact directory: %v", err)
	}
	for _, group := range groups {
		if !isNumber(group.Name()) {
			continue
		}
		entries, err := fs.ReadDir(f.root.FS(), group.Name())
		if err != nil {
			return sdk.Errorf(sdk.Unavailable, "list the artifact directory: %v", err)
		}
		for _, entry := range entries {
			if err := ctx.Err(); err != nil {
				return sdk.Errorf(sdk.Unavailable, "list the artifact directory: %w", err)
			}
			request, err := strconv.ParseInt(entry.Name(), 10, 64)
			if err != nil || dir(request) != path.Join(group.Name(), entry.Name()) {
				// It was put there by somebody else: leave it alone.
				continue
			}
			footprint, err := f.footprint(request)
			if err != nil {
				return err
			}
			if err := yield(footprint); err != nil {
				return err
			}
		}
	}
	return nil
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

func (f *Files) footprint(request int64) (core.Footprint, error) {
	total := core.Footprint{Request: request}
	entries, err := fs.ReadDir(f.root.FS(), dir(request))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return total, unavailable("list the files", request, err)
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return total, unavailable("list the files", request, err)
		}
		total.Bytes += info.Size()
		if info.ModTime().After(total.Changed) {
			total.Changed = info.ModTime().UTC()
		}
	}
	return total, nil
}

func unavailable(doing string, request int64, err error) error {
	return sdk.Errorf(sdk.Unavailable, "%s of request %d: %w", doing, request, err)
}
