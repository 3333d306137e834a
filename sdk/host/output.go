package host

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

const (
	// maxLine bounds a line of a plugin's output; the rest of it is left out.
	maxLine = 16 << 10
	// A plugin may print outputBurst bytes at once and outputRate a second on
	// average. What is beyond that is counted and dropped.
	outputBurst = 1 << 20
	outputRate  = 256 << 10
	// lineCost is what a line costs beyond its length: empty ones do, too.
	lineCost = 100
	// maxTail bounds what is kept for the error of a failed start.
	maxTail = 1 << 10
)

// output brings what a plugin prints into the engine's log. Lines of hclog's
// JSON, which package serve writes, keep their level and attributes.
type output struct {
	logger *slog.Logger

	mu      sync.Mutex
	tokens  float64
	filled  time.Time
	dropped int // lines since the last one that was kept
	bytes   int
	tail    string
	panic   bool
}

func newOutput(logger *slog.Logger) *output {
	return &output{logger: logger, tokens: outputBurst, filled: time.Now()}
}

// level is the lowest one that the log keeps.
func (o *output) level() string {
	ctx := context.Background()
	switch {
	case o.logger.Enabled(ctx, slog.LevelDebug):
		return "debug"
	case o.logger.Enabled(ctx, slog.LevelInfo):
		return "info"
	case o.logger.Enabled(ctx, slog.LevelWarn):
		return "warn"
	}
	return "error"
}

// copy logs the lines of r until its end.
func (o *output) copy(stream string, r io.Reader) {
	lines := bufio.NewReaderSize(r, maxLine)
	for {
		chunk, err := lines.ReadSlice('\n')
		text := strings.TrimRight(string(chunk), "\r\n")
		if err == bufio.ErrBufferFull {
			var rest int
			rest, err = skipLine(lines)
			text = fmt.Sprintf("%s… (%d bytes left out)", text, rest)
		}
		if text != "" {
			o.line(stream, text)
		}
		if err != nil {
			return
		}
	}
}

// skipLine reads up to the end of a line and tells how much it was.
func skipLine(r *bufio.Reader) (n int, err error) {
	for {
		chunk, err := r.ReadSlice('\n')
		n += len(chunk)
		if err != bufio.ErrBufferFull {
			return n, err
		}
	}
}

// writer returns a writer whose lines are logged. It is not for concurrent use.
func (o *output) writer(stream string) io.Writer { return &lineWriter{out: o, stream: stream} }

type lineWriter struct {
	out    *output
	stream string
	part   []byte
}

func (w *lineWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		end := i
		if i < 0 {
			end = len(p)
		}
		w.part = append(w.part, p[:end]...)
		if i >= 0 || len(w.part) >= maxLine {
			w.out.line(w.stream, string(w.part))
			w.part = w.part[:0]
		}
		if i < 0 {
			break
		}
		p = p[i+1:]
	}
	return n, nil
}

// line logs one line, or drops it.
func (o *output) line(stream, text string) {
	if text == "" {
		return
	}
	text = strings.ToValidUTF8(text, "\uFFFD")
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	o.tokens = min(outputBurst, o.tokens+now.Sub(o.filled).Seconds()*outputRate)
	o.filled = now
	cost := float64(len(text) + lineCost)
	if o.tokens < cost {
		o.dropped++
		o.bytes += len(text)
		return
	}
	o.tokens -= cost
	if o.dropped > 0 {
		o.logger.Warn("the plugin prints too much; output was dropped", "lines", o.dropped, "bytes", o.bytes)
		o.dropped, o.bytes = 0, 0
	}
	if level, message, attrs, ok := parseLine(text); ok {
		o.remember(message)
		o.logger.LogAttrs(context.Background(), level, message, attrs...)
		return
	}
	o.remember(text)
	// A crashing Go program says so and then prints its stacks.
	if strings.HasPrefix(text, "panic: ") || strings.HasPrefix(text, "fatal error: ") {
		o.panic = true
	}
	level := slog.LevelInfo
	if o.panic {
		level = slog.LevelError
	}
	o.logger.Log(context.Background(), level, text, "stream", stream)
}

func (o *output) remember(text string) {
	o.tail += "\n" + text
	if len(o.tail) > maxTail {
		o.tail = strings.ToValidUTF8(o.tail[len(o.tail)-maxTail:], "")
	}
}

// last returns the last few lines, on one line.
func (o *output) last() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	lines := strings.Split(strings.Trim(o.tail, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], " / ")
}

var levels = map[string]slog.Level{
	"trace": slog.LevelDebug,
	"debug": slog.LevelDebug,
	"info":  slog.LevelInfo,
	"warn":  slog.LevelWarn,
	"error": slog.LevelError,
}

// taken are the keys of the engine's own record, which a plugin must not fake.
var taken = map[string]bool{"time": true, "level": true, "msg": true, "source": true, "plugin": true, "stream": true}

// maxAttrs bounds the attributes of a line.
const maxAttrs = 32

// parseLine reads a line of hclog's JSON.
func parseLine(text string) (level slog.Level, message string, attrs []slog.Attr, ok bool) {
	if !strings.HasPrefix(text, "{") {
		return 0, "", nil, false
	}
	var members map[string]any
	if json.Unmarshal([]byte(text), &members) != nil {
		return 0, "", nil, false
	}
	name, _ := members["@level"].(string)
	level, known := levels[name]
	message, isText := members["@message"].(string)
	if !known || !isText {
		return 0, "", nil, false
	}
	for key, value := range members {
		if strings.HasPrefix(key, "@") || value == nil {
			continue
		}
		if taken[key] {
			key = "plugin." + key
		}
		attrs = append(attrs, slog.Any(key, value))
	}
	slices.SortFunc(attrs, func(a, b slog.Attr) int { return strings.Compare(a.Key, b.Key) })
	return level, message, attrs[:min(len(attrs), maxAttrs)], true
}

// chatter returns a logger for go-plugin itself, whose doings are of interest
// only when something is wrong with them.
func chatter(logger *slog.Logger) hclog.Logger {
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Level: hclog.Debug, Output: io.Discard})
	l.RegisterSink(sink{logger})
	return l
}

type sink struct{ logger *slog.Logger }

func (s sink) Accept(_ string, _ hclog.Level, message string, args ...any) {
	s.logger.Debug("go-plugin: "+message, args...)
}
