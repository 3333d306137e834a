package api

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/mux"

	"github.com/iib-engine/iib/core"
)

// Probe asks one part that the engine needs whether it is there.
type Probe struct {
	Name  string
	Check func(context.Context) error
}

// probeTimeout bounds each probe, so that a part that hangs is one that is
// reported and not one that keeps the caller waiting.
const probeTimeout = 3 * time.Second

// NewHealth returns the handler of a process that answers nothing but how it
// is. It needs the Probes, the Metrics and the Logger alone.
func NewHealth(o Options) http.Handler {
	o.Tracer = core.Untraced{}
	s := &server{Options: o}
	router := mux.NewRouter().SkipClean(true)
	s.healthRoutes(router)
	router.NotFoundHandler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { writeError(w, r, errNoPath) })
	return s.outermost(router)
}

func (s *server) healthRoutes(router *mux.Router) {
	router.Handle("/livez", methods{http.MethodGet: s.live})
	router.Handle("/readyz", methods{http.MethodGet: s.ready})
	router.Handle("/metrics", methods{http.MethodGet: s.metrics})
}

// health is GET /healthcheck.
func (s *server) health(w http.ResponseWriter, r *http.Request) error {
	if err := s.Store.Ping(r.Context()); err != nil {
		logger(r).Error("health check", "err", err)
		return &statusError{status: http.StatusInternalServerError, message: "The database does not answer."}
	}
	writeJSON(w, http.StatusOK, map[string]string{"status": "Health check OK"})
	return nil
}

// live is GET /livez: the process answers.
func (s *server) live(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	return nil
}

// metrics is GET /metrics.
func (s *server) metrics(w http.ResponseWriter, r *http.Request) error {
	s.Metrics.ServeHTTP(w, r)
	return nil
}

// ready is GET /readyz: each part that the engine needs, and what ails it.
// Anything that is not "ok" makes the answer a 503.
func (s *server) ready(w http.ResponseWriter, r *http.Request) error {
	results := make([]string, len(s.Probes))
	var wg sync.WaitGroup
	for i, probe := range s.Probes {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(r.Context(), probeTimeout)
			defer cancel()
			results[i] = "ok"
			if err := probe.Check(ctx); err != nil {
				results[i] = err.Error()
			}
		})
	}
	wg.Wait()
	status := http.StatusOK
	parts := make(map[string]string, len(results))
	for i, probe := range s.Probes {
		parts[probe.Name] = results[i]
		if results[i] != "ok" {
			status = http.StatusServiceUnavailable
		}
	}
	writeJSON(w, status, map[string]any{"ready": status == http.StatusOK, "parts": parts})
	return nil
}
