package api

import (
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/gorilla/mux"
)

// mountedRoute stands for the paths of services, which are theirs to count.
const mountedRoute = "mounted"

// unwatched are the routes that are asked all the time, and have no spans.
var unwatched = map[string]bool{"/livez": true, "/readyz": true, "/metrics": true, "/api/v1/healthcheck": true}

// Observer is told of each answer. The route is a pattern, or "mounted" for
// paths that are not the API's own.
type Observer interface {
	Answered(route, method string, status int, took time.Duration)
}

// observed tells the observer about answers. An answer that streams counts when
// it ends.
func (s *server) observed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		watch := &statusWatch{ResponseWriter: w}
		route := mountedRoute
		if current := mux.CurrentRoute(r); current != nil {
			route, _ = current.GetPathTemplate()
		}
		ended := func(error) {}
		if !unwatched[route] {
			ctx := s.Tracer.Continue(r.Context(), r.Header.Get("traceparent"))
			ctx, ended = s.Tracer.Span(ctx, knownMethod(r.Method)+" "+route, slog.String("http.request.id", r.Header.Get(RequestIDHeader)))
			r = r.WithContext(ctx)
		}
		defer func() {
			if watch.status == 0 {
				watch.status = http.StatusOK
			}
			took := time.Since(began)
			if watch.status >= http.StatusInternalServerError {
				ended(fmt.Errorf("status %d", watch.status))
			} else {
				ended(nil)
			}
			s.Observer.Answered(route, knownMethod(r.Method), watch.status, took)
			logger(r).Debug("answered", "method", r.Method, "path", r.URL.Path, "status", watch.status, "took", took)
		}()
		next.ServeHTTP(watch, r)
	})
}

// knownMethod keeps callers from making metrics of words of their own.
func knownMethod(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return method
	}
	return "other"
}

// statusWatch notes the status of an answer.
type statusWatch struct {
	http.ResponseWriter
	status int
}

func (w *statusWatch) WriteHeader(status int) {
	// Informational answers come before the one that counts.
	if w.status == 0 && status >= http.StatusOK {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWatch) Write(data []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(data)
}

// Unwrap lets http.ResponseController reach what it needs.
func (w *statusWatch) Unwrap() http.ResponseWriter { return w.ResponseWriter }
