package artifact

import (
	"context"
	"io"
	"os"
	"path"
	"sync"

	"github.com/iib-engine/iib/core"
)

// Logs returns the logs that are kept in the same directory.
func (f *Files) Logs() core.Logs { return logs{f} }

type logs struct{ files *Files }

// Append opens a request's log for writing at its end.
func (l logs) Append(_ context.Context, request int64) (io.WriteCloser, error) {
	file, err := l.files.create(request, path.Join(dir(request), logName), os.O_APPEND)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		_ = file.Close()
		return nil, unavailable("open the log", request, err)
	}
	return &appender{file: file, request: request, room: l.files.maxLog - core.LogRoom(info.Size())}, nil
}

// Open reads a log. A file's reader goes on after its end when there is more.
func (l logs) Open(_ context.Context, request int64) (io.ReadCloser, error) {
	return l.files.read(request, "log", logName)
}

// appender writes to a log as long as there is room.
type appender struct {
	request int64

	mu   sync.Mutex
	file *os.File
	room core.LogRoom
}

// Write appends p with one call of the system, so that lines of two writers do
// not mix.
func (a *appender) Write(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	taken := a.room.Take(p)
	n, err := a.file.Write(taken)
	if err != nil {
		a.room += core.LogRoom(len(taken) - n)
		return min(n, len(p)), unavailable("write the log", a.request, err)
	}
	return len(p), nil
}

func (a *appender) Close() error { return a.file.Close() }
