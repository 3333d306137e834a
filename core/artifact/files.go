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
	"regexp"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// MaxSize bounds one artifact.
const MaxSize = 256 << 20

// Files keeps one directory per request: its log, and a file per artifact. It
// is safe for concurrent use, also by several processes.
type Files struct{ root *os.Root }

var (
	_ core.Logs      = logs{}
	_ core.Artifacts = (*Files)(nil)
)

// Open uses a directory, and makes it if it is not there.
func Open(dir string) (*Files, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, sdk.Errorf(sdk.Unavailable, "make the artifact directory: %v", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, sdk.Errorf(sdk.Unavailable, "open the artifact directory: %v", err)
	}
	return &Files{root}, nil
}

const logName = "request.log"

// dir spreads the requests, so that no directory grows without bound.
func dir(request int64) string { return fmt.Sprintf("%d/%d", request/1000, request) }

// Append opens a request's log for writing at its end.
func (f *Files) Append(_ context.Context, request int64) (io.WriteCloser, error) {
	if err := f.root.MkdirAll(dir(request), 0o700); err != nil {
		return nil, unavailable("make the directory", request, err)
	}
	file, err := f.root.OpenFile(path.Join(dir(request), logName), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, unavailable("open the log", request, err)
	}
	return file, nil
}

// Open reads an artifact.
func (f *Files) Open(_ context.Context, request int64, name string) (io.ReadCloser, error) {
	file, err := checkName(name)
	if err != nil {
		return nil, err
	}
	return f.read(request, file)
}

func (f *Files) read(request int64, name string) (io.ReadCloser, error) {
	file, err := f.root.Open(path.Join(dir(request), name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, sdk.Errorf(sdk.NotFound, "request %d has no %s", request, name)
	}
	if err != nil {
		return nil, unavailable("open "+name, request, err)
	}
	return file, nil
}

// Put stores or replaces an artifact, whole or not at all.
func (f *Files) Put(_ context.Context, request int64, name string, content io.Reader) (err error) {
	target, err := checkName(name)
	if err != nil {
		return err
	}
	if err := f.root.MkdirAll(dir(request), 0o700); err != nil {
		return unavailable("make the directory", request, err)
	}
	temporary := path.Join(dir(request), ".new-"+rand.Text())
	file, err := f.root.OpenFile(temporary, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return unavailable("store "+name, request, err)
	}
	defer func() {
		_ = file.Close()
		if err != nil {
			_ = f.root.Remove(temporary)
		}
	}()
	n, err := io.Copy(file, io.LimitReader(content, MaxSize+1))
	if err != nil {
		return unavailable("store "+name, request, err)
	}
	if n > MaxSize {
		return sdk.Errorf(sdk.Invalid, "artifact %s of request %d is larger than %d MiB", name, request, MaxSize>>20)
	}
	if err := file.Sync(); err != nil {
		return unavailable("store "+name, request, err)
	}
	if err := f.root.Rename(temporary, path.Join(dir(request), target)); err != nil {
		return unavailable("store "+name, request, err)
	}
	return nil
}

// Remove deletes what a request left behind. Nothing left is no error.
func (f *Files) Remove(request int64) error {
	if err := f.root.RemoveAll(dir(request)); err != nil {
		return unavailable("remove the files", request, err)
	}
	return nil
}

// Logs returns the same directory as a core.Logs.
func (f *Files) Logs() core.Logs { return logs{f} }

type logs struct{ *Files }

func (l logs) Open(_ context.Context, request int64) (io.ReadCloser, error) {
	return l.read(request, logName)
}

var names = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,63}$`)

// checkName turns an artifact's name into a file's.
func checkName(name string) (string, error) {
	if !names.MatchString(name) {
		return "", sdk.Errorf(sdk.Invalid, "%q cannot be an artifact's name: use lower-case letters, digits, '_' and '-'", name)
	}
	return name + ".artifact", nil
}

func unavailable(doing string, request int64, err error) error {
	return sdk.Errorf(sdk.Unavailable, "%s of request %d: %v", doing, request, err)
}
