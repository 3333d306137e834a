// Package metrics shows how the engine does, in the format of Prometheus.
package metrics

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/iib-engine/iib/core"
)

// Options are where the figures come from that are looked up when somebody
// asks. All are required.
type Options struct {
	// Subscriptions tells how the notifiers stand.
	Subscriptions func(context.Context) ([]core.Subscription, error)
	// Queues tells what waits and runs.
	Queues func(context.Context) ([]core.QueueStanding, error)
	// Plugins tells how the plugins stand.
	Plugins func() []core.PluginStatus
	// Version is the program's own.
	Version string
}

// scrapeTimeout bounds what the database is asked for a scrape.
const scrapeTimeout = 5 * time.Second

// Metrics counts what happens. It is safe for concurrent use.
type Metrics struct {
	options  Options
	registry *prometheus.Registry

	answers  *prometheus.CounterVec
	answered *prometheus.HistogramVec
	ended    *prometheus.CounterVec
	took     *prometheus.HistogramVec
}

// New returns metrics in which nothing has happened yet.
func New(o Options) *Metrics {
	m := &Metrics{
		options:  o,
		registry: prometheus.NewRegistry(),
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "iib_http_requests_total", Help: "HTTP requests answered, by route, method and status.",
		}, []string{"route", "method", "code"}),
		answered: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "iib_http_request_duration_seconds", Help: "How long answers took, by route.",
			Buckets: []float64{.001, .0025, .005, .01, .02, .05, .1, .25, .5, 1, 5, 30},
		}, []string{"route"}),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "iib_requests_ended_total", Help: "Build requests that ended in this process, by type and state.",
		}, []string{"type", "state"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "iib_request_duration_seconds", Help: "From the acceptance of build requests to their end, by type.",
			Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200},
		}, []string{"type"}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "iib_build_info", Help: "1, with the program's version.", ConstLabels: prometheus.Labels{"version": o.Version},
	})
	build.Set(1)
	m.registry.MustRegister(m.answers, m.answered, m.ended, m.took, build, (*standing)(m),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Handler answers GET /metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}

// Answered counts an answer. The route is a pattern and not a path, so that
// callers cannot make metrics without bounds.
func (m *Metrics) Answered(route, method string, status int, took time.Duration) {
	m.answers.WithLabelValues(route, method, strconv.Itoa(status)).Inc()
	m.answered.WithLabelValues(route).Observe(took.Seconds())
}

// Ended counts a build request that has ended. Its history begins with its
// acceptance.
func (m *Metrics) Ended(r *core.Request, state core.State) {
	m.ended.WithLabelValues(r.Type, string(state)).Inc()
	m.took.WithLabelValues(r.Type).Observe(time.Since(r.History[len(r.History)-1].Time).Seconds())
}
