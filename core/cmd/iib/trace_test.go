package main

import (
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// TestATraceFollowsARequestFromItsSubmissionToItsPlugins sends spans to a
// collector and looks for the way of one request in them.
func TestATraceFollowsARequestFromItsSubmissionToItsPlugins(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	spans := make(map[string]*trace.Span)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, err := io.ReadAll(r.Body)
		var batch collector.ExportTraceServiceRequest
		if err != nil || r.URL.Path != "/v1/traces" || proto.Unmarshal(data, &batch) != nil {
			http.Error(w, "no spans", http.StatusBadRequest)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		for _, resource := range batch.ResourceSpans {
			for _, scope := range resource.ScopeSpans {
				for _, span := range scope.Spans {
					spans[string(span.SpanId)] = span
				}
			}
		}
	}))
	defer server.Close()
	r := newReleases(t, startServer(t, "tracing {\n  endpoint = \""+server.URL+"\"\n}\n"))
	index := r.emptyIndex("index:v4.14", fileBased, false)
	specs, _ := r.bundles(1, 1)
	const traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
	body := `{"bundles": ["` + specs[0] + `"], "from_index": "` + index + `", "binary_image": "` + r.base + `"}`
	status, _, data := r.do(http.MethodPost, "/api/v1/builds/add", body, map[string]string{"traceparent": "00-" + traceID + "-00f067aa0ba902b7-01"})
	if status != http.StatusCreated {
		t.Fatalf("%d %s", status, data)
	}
	if build := r.wait(1); build["state"] != "complete" {
		t.Fatalf("%v", build["state_reason"])
	}

	// Each span is below the one before it.
	way := []string{"POST /api/v1/builds/{type}", "run add", "builder image-builder"}
	var found []string
	for range poll(t) {
		mu.Lock()
		found = nil
		for _, span := range spans {
			if hex.EncodeToString(span.TraceId) != traceID || span.Name != way[len(way)-1] {
				continue
			}
			found = []string{span.Name}
			for parent := spans[string(span.ParentSpanId)]; parent != nil; parent = spans[string(parent.ParentSpanId)] {
				found = append([]string{parent.Name}, found...)
			}
		}
		names := make(map[string]bool)
		for _, span := range spans {
			names[span.Name] = true
		}
		mu.Unlock()
		if strings.Join(found, " > ") == strings.Join(way, " > ") && names["handler index-add"] && names["publish"] {
			break
		}
		if len(found) > 0 {
			t.Logf("so far: %s", strings.Join(found, " > "))
		}
	}
}
