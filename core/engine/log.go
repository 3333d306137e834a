package engine

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// maxLogLine bounds one line of a request's log, maxLog the lines of one
// attempt together: a plugin in a loop must not fill the disk.
const (
	maxLogLine = 64 << 10
	maxLog     = 64 << 20
)

// requestLog writes a request's log. A nil log swallows everything, so that a
// run which ends before its log is open needs no special care.
type requestLog struct {
	mu   sync.Mutex
	file io.WriteCloser
	// left is what this attempt may still write, nothing when the log is closed.
	left   int
	closed bool
}

func openLog(ctx context.Context, logs core.Logs, id int64) (*requestLog, error) {
	file, err := logs.Append(ctx, id)
	if err != nil {
		return nil, err
	}
	return &requestLog{file: file, left: maxLog}, nil
}

// line appends a line. Failures are dropped: a full disk must not end a
// request that needs none.
func (l *requestLog) line(level sdk.Level, text string) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.left <= 0 {
		return
	}
	if len(text) > maxLogLine {
		text = text[:maxLogLine] + "... (cut)"
	}
	line := fmt.Sprintf("%s %-5s %s\n", core.FormatTime(time.Now()), strings.ToUpper(string(level)), text)
	if l.left -= len(line); l.left <= 0 {
		line = "the log is full; what follows is not kept\n"
	}
	_, _ = io.WriteString(l.file, line)
}

// close sends what is written to whoever reads. Closing again does nothing.
func (l *requestLog) close() {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.closed, l.left = true, 0
	_ = l.file.Close()
}
