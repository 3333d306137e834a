package main

import (
	"context"
	"log/slog"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/core/config"
	"github.com/iib-engine/iib/core/tracing"
)

// newTracer returns what records spans as the configuration has it.
func newTracer(ctx context.Context, c *config.Config, log *slog.Logger) (core.Tracer, error) {
	if c.Tracing.Endpoint == "" {
		return core.Untraced{}, nil
	}
	return tracing.New(ctx, tracing.Options{
		Endpoint: c.Tracing.Endpoint, Service: c.Tracing.ServiceName, Version: version(), Logger: log,
	})
}
