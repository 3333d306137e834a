// Package tracing sends spans to an OpenTelemetry collector, by OTLP over HTTP.
package tracing

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"

	"github.com/iib-engine/iib/core"
)

// Options say where spans go.
type Options struct {
	// Endpoint is the collector's address: https://collector.example.com:4318.
	// Without a path, spans go to /v1/traces.
	Endpoint string
	// Service is the name of this service in traces, Version its version.
	Service, Version string
	// Logger hears of spans that could not be sent.
	Logger *slog.Logger
}

// Tracer is a core.Tracer that sends what it records in batches, beside the
// work. A collector that is away delays nothing: spans are dropped.
type Tracer struct{ provider *trace.TracerProvider }

var _ core.Tracer = (*Tracer)(nil)

// exportTimeout bounds one batch, and closing.
const exportTimeout = 5 * time.Second

// New returns a tracer. Nothing is connected to before there are spans.
func New(ctx context.Context, o Options) (*Tracer, error) {
	address, err := url.Parse(o.Endpoint)
	if err != nil || address.Host == "" {
		return nil, fmt.Errorf("tracing: the endpoint %q is not an address", o.Endpoint)
	}
	if strings.Trim(address.Path, "/") == "" {
		address.Path = "/v1/traces"
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(address.String()), otlptracehttp.WithTimeout(exportTimeout))
	if err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	return &Tracer{trace.NewTracerProvider(
		trace.WithBatcher(loggedExporter{exporter, o.Logger}, trace.WithExportTimeout(exportTimeout), trace.WithBatchTimeout(time.Second)),
		trace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", o.Service), attribute.String("service.version", o.Version))),
	)}, nil
}

// Close sends what is left, for a few seconds at most.
func (t *Tracer) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), exportTimeout)
	defer cancel()
	_ = t.provider.Shutdown(ctx)
}

// Span implements core.Tracer.
func (t *Tracer) Span(ctx context.Context, name string, attributes ...slog.Attr) (context.Context, func(error)) {
	ctx, span := t.provider.Tracer("iib").Start(ctx, name)
	for _, a := range attributes {
		span.SetAttributes(keyValue(a))
	}
	return ctx, func(err error) {
		if err != nil {
			span.SetStatus(codes.Error, err.Error())
		}
		span.End()
	}
}

func keyValue(a slog.Attr) attribute.KeyValue {
	switch v := a.Value.Resolve(); v.Kind() {
	case slog.KindInt64:
		return attribute.Int64(a.Key, v.Int64())
	case slog.KindBool:
		return attribute.Bool(a.Key, v.Bool())
	default:
		return attribute.String(a.Key, v.String())
	}
}

const header = "traceparent"

// Carry implements core.Tracer.
func (t *Tracer) Carry(ctx context.Context) string {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier[header]
}

// Continue implements core.Tracer.
func (t *Tracer) Continue(ctx context.Context, carried string) context.Context {
	if carried == "" {
		return ctx
	}
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{header: carried})
}

// loggedExporter tells of batches that were not taken, where the library has a
// global hook only.
type loggedExporter struct {
	trace.SpanExporter
	log *slog.Logger
}

func (e loggedExporter) ExportSpans(ctx context.Context, spans []trace.ReadOnlySpan) error {
	err := e.SpanExporter.ExportSpans(ctx, spans)
	if err != nil {
		e.log.Warn("spans were dropped", "spans", len(spans), "err", err)
	}
	return nil
}
