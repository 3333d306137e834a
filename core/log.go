package core

import (
	"context"
	"log/slog"
)

type loggerKey struct{}

// WithLogger returns a context whose work is logged with a logger, which says
// on whose behalf it is done.
func WithLogger(ctx context.Context, log *slog.Logger) context.Context {
	return context.WithValue(ctx, loggerKey{}, log)
}

// Logger returns the logger of a context, or the other one.
func Logger(ctx context.Context, otherwise *slog.Logger) *slog.Logger {
	if log, ok := ctx.Value(loggerKey{}).(*slog.Logger); ok {
		return log
	}
	return otherwise
}
