package artifact

import (
	"context"
	"io"
	"os"
	"path"
	"sync"

	"github.com/iib-engine/iib/core"
)

// MaxLog bounds one request's log, in bytes: what a plugin says in a loop must not fill
// the disk.
const MaxLog = 64 << 20

// cutOff is the last line of a log that has grown too long.
const cutOff = "\nThe log has reached its limit; the rest was dropped.\n"

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
	return &appender{file: file, request: request, room: l.files.maxLog - info.Size()}, nil
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
	// room is what is left of the limit, negative when the log says that it stopped.
	room int64
}

// Write appends p with one call of the system, so that lines of two writers do
// not mix.
func (a *appender) Write(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.room < 0 || len(p) == 0 {
		return len(p), nil
	}
	whole := p
	if int64(len(p)) > a.room {
		p = append(p[:a.room:a.room], cutOff...)
	}
	n, err := a.file.Write(p)
	a.room -= int64(n)
	if err != nil {
		return min(n, len(whole)), unavailable("write the log", a.request, err)
	}
	return len(whole), nil
}

func (a *appender) Close() error { return a.file.Close() }
