package coretest

import (
	"bytes"
	"context"
	"io"
	"maps"
	"sync"
	"time"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// Files are logs and artifacts in memory. The zero value is empty.
type Files struct {
	mu    sync.Mutex
	files map[fileKey][]byte
}

// fileKey names an artifact, or the log by a name that no artifact has.
type fileKey struct {
	request int64
	name    string
}

const logKey = "log of the request"

var _ core.Files = (*Files)(nil)

// Put implements core.Artifacts.
func (f *Files) Put(_ context.Context, request int64, name string, content io.Reader) error {
	if err := core.CheckArtifactName(name); err != nil {
		return err
	}
	data, err := io.ReadAll(content)
	if err != nil {
		return sdk.Errorf(sdk.Unavailable, "store %s of request %d: %w", name, request, err)
	}
	f.set(fileKey{request, name}, data, false)
	return nil
}

// Open implements core.Artifacts.
func (f *Files) Open(_ context.Context, request int64, name string) (io.ReadCloser, error) {
	if err := core.CheckArtifactName(name); err != nil {
		return nil, err
	}
	return f.open(fileKey{request, name})
}

// Remove implements core.Leftovers.
func (f *Files) Remove(_ context.Context, request int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.DeleteFunc(f.files, func(key fileKey, _ []byte) bool { return key.request == request })
	return nil
}

// Each implements core.Leftovers.
func (f *Files) Each(_ context.Context, yield func(core.Footprint) error) error {
	f.mu.Lock()
	found := make(map[int64]core.Footprint)
	for key, data := range f.files {
		footprint := found[key.request]
		footprint.Request = key.request
		footprint.Bytes += int64(len(data))
		footprint.Changed = time.Now()
		found[key.request] = footprint
	}
	f.mu.Unlock()
	for _, footprint := range found {
		if err := yield(footprint); err != nil {
			return err
		}
	}
	return nil
}

func (f *Files) open(key fileKey) (io.ReadCloser, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	data, ok := f.files[key]
	if !ok {
		return nil, sdk.Errorf(sdk.NotFound, "request %d has no %s", key.request, key.name)
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

func (f *Files) set(key fileKey, data []byte, add bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.files == nil {
		f.files = make(map[fileKey][]byte)
	}
	if add {
		data = append(f.files[key], data...)
	}
	f.files[key] = data
}

// Log returns the text of a request's log.
func (f *Files) Log(request int64) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return string(f.files[fileKey{request, logKey}])
}

// Logs returns the same files as a core.Logs.
func (f *Files) Logs() core.Logs { return logFiles{f} }

type logFiles struct{ *Files }

func (l logFiles) Append(_ context.Context, request int64) (io.WriteCloser, error) {
	key := fileKey{request, logKey}
	l.set(key, nil, true)
	return appender{l.Files, key}, nil
}

func (l logFiles) Open(_ context.Context, request int64) (io.ReadCloser, error) {
	key := fileKey{request, logKey}
	if _, err := l.open(key); err != nil {
		return nil, err
	}
	return &follower{files: l.Files, key: key}, nil
}

type appender struct {
	files *Files
	key   fileKey
}

func (a appender) Write(p []byte) (int, error) {
	a.files.set(a.key, p, true)
	return len(p), nil
}

func (appender) Close() error { return nil }

// follower reads on when the log has grown.
type follower struct {
	files *Files
	key   fileKey
	at    int
}

func (r *follower) Read(p []byte) (int, error) {
	r.files.mu.Lock()
	defer r.files.mu.Unlock()
	data := r.files.files[r.key]
	if r.at >= len(data) {
		return 0, io.EOF
	}
	n := copy(p, data[r.at:])
	r.at += n
	return n, nil
}

func (*follower) Close() error { return nil }
