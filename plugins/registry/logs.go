package main

import (
	"context"
	"io"
	"log/slog"
	"sync"

	"github.com/sirupsen/logrus"
)

// relayLogs hands everything that distribution logs to slog. It logs a line or
// more for each request, of which none is news to an operator: all but errors
// are debug.
var relayLogs = sync.OnceFunc(func() {
	logrus.SetOutput(io.Discard)
	logrus.SetLevel(logrus.DebugLevel)
	logrus.AddHook(relay{})
})

type relay struct{}

func (relay) Levels() []logrus.Level { return logrus.AllLevels }

func (relay) Fire(entry *logrus.Entry) error {
	level := slog.LevelDebug
	if entry.Level <= logrus.ErrorLevel && entry.Data["http.request.method"] == nil {
		level = slog.LevelError
	}
	ctx := entry.Context
	if ctx == nil {
		ctx = context.Background()
	}
	slog.Log(ctx, level, entry.Message)
	return nil
}
