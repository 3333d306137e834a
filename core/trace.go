package core

import (
	"context"
	"log/slog"
)

// Tracer records what takes time, for whoever looks for what was slow. Its
// methods are safe for concurrent use.
type Tracer interface {
	// Span begins a span below that of ctx. Whoever begins it ends it, with the
	// error that came of it or nil.
	Span(ctx context.Context, name string, attributes ...slog.Attr) (context.Context, func(error))
	// Carry is ctx's span in the words of the traceparent header (W3C Trace
	// Context), empty if there is none.
	Carry(ctx context.Context) string
	// Continue returns ctx below a span that was carried. What is malformed
	// counts as empty.
	Continue(ctx context.Context, carried string) context.Context
}

// Untraced records nothing.
type Untraced struct{}

// Span implements Tracer.
func (Untraced) Span(ctx context.Context, _ string, _ ...slog.Attr) (context.Context, func(error)) {
	return ctx, func(error) {}
}

// Carry implements Tracer.
func (Untraced) Carry(context.Context) string { return "" }

// Continue implements Tracer.
func (Untraced) Continue(ctx context.Context, _ string) context.Context { return ctx }
