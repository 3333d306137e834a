package serve

import (
	"context"
	"io"
	"log/slog"
	"strings"
)

// handler writes the JSON of hclog, which the engine reads: level and
// attributes survive the way.
type handler struct {
	slog.Handler
	grouped bool // attributes are in a group, and cannot be taken for the record's own
}

func newHandler(w io.Writer, level slog.Level) slog.Handler {
	return &handler{Handler: slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: hclogKeys})}
}

// hclogKeys renames the members of the record itself. No attribute of the
// author's has their names; see rename.
func hclogKeys(groups []string, a slog.Attr) slog.Attr {
	if len(groups) > 0 {
		return a
	}
	switch a.Key {
	case slog.TimeKey:
		return slog.String("@timestamp", a.Value.Time().Format("2006-01-02T15:04:05.000000Z07:00"))
	case slog.LevelKey:
		l, _ := a.Value.Any().(slog.Level)
		return slog.String("@level", levelName(l))
	case slog.MessageKey:
		a.Key = "@message"
	}
	return a
}

func rename(a slog.Attr) slog.Attr {
	switch a.Key {
	case slog.TimeKey, slog.LevelKey, slog.MessageKey:
		a.Key += "_"
	}
	a.Key = strings.TrimPrefix(a.Key, "@")
	return a
}

func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	if h.grouped {
		return h.Handler.Handle(ctx, r)
	}
	renamed := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		renamed.AddAttrs(rename(a))
		return true
	})
	return h.Handler.Handle(ctx, renamed)
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	if !h.grouped {
		renamed := make([]slog.Attr, len(attrs))
		for i, a := range attrs {
			renamed[i] = rename(a)
		}
		attrs = renamed
	}
	return &handler{h.Handler.WithAttrs(attrs), h.grouped}
}

func (h *handler) WithGroup(name string) slog.Handler {
	return &handler{h.Handler.WithGroup(name), h.grouped || name != ""}
}

func levelName(l slog.Level) string {
	switch {
	case l < slog.LevelInfo:
		return "debug"
	case l < slog.LevelWarn:
		return "info"
	case l < slog.LevelError:
		return "warn"
	}
	return "error"
}

func logLevel(name string) slog.Level {
	var l slog.Level
	if l.UnmarshalText([]byte(strings.ToUpper(name))) != nil {
		return slog.LevelInfo
	}
	return l
}
