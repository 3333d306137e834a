package coretest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// Files are logs and artifacts in memory. The zero value is empty.
type Files struct {
	mu    sync.Mutex
	files map[string][]byte
}

var _ core.Artifacts = (*Files)(nil)

func (f *Files) Put(_ context.Context, request int64, name string, content io.Reader) error {
	data, err := io.ReadAll(content)
	if err != nil {
		return err
	}
	f.set(fmt.Sprintf("%d/%s", request, name), data, false)
	return nil
}

func (f *Files) Open(_ context.Context, request int64, name string) (io.ReadCloser, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	data, ok := f.files[fmt.Sprintf("%d/%s", request, name)]
	if !ok {
		return nil, sdk.Errorf(sdk.NotFound, "request %d has no %s", request, name)
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

func (f *Files) set(key string, data []byte, add bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.files == nil {
		f.files = make(map[string][]byte)
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
	return string(f.files[fmt.Sprintf("%d/log", request)])
}

// Logs returns the same files as a core.Logs.
func (f *Files) Logs() core.Logs { return logFiles{f} }

type logFiles struct{ *Files }

func (l logFiles) Append(_ context.Context, request int64) (io.WriteCloser, error) {
	key := fmt.Sprintf("%d/log", request)
	l.set(key, nil, true)
	return appender{l.Files, key}, nil
}

func (l logFiles) Open(ctx context.Context, request int64) (io.ReadCloser, error) {
	return l.Files.Open(ctx, request, "log")
}

type appender struct {
	files *Files
	key   string
}

func (a appender) Write(p []byte) (int, error) {
	a.files.set(a.key, p, true)
	return len(p), nil
}

func (appender) Close() error { return nil }
