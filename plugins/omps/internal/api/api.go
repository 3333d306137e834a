// Package api is the push service's own interface, versions 1 and 2 (push
// service contract, sections 1 to 9).
package api

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/iib-engine/iib/plugins/omps/internal/fault"
	"github.com/iib-engine/iib/plugins/omps/internal/lock"
	"github.com/iib-engine/iib/plugins/omps/internal/manifest"
)

// Target is where packages are pushed to. Errors are faults.
type Target interface {
	Push(ctx context.Context, authorization, organization, repository, release string, blob []byte) error
	// Releases are in the target's order; none is a fault PackageNotFound.
	Releases(ctx context.Context, authorization, organization, repository string) ([]string, error)
	Delete(ctx context.Context, authorization, organization, repository, release string) error
	// Publish makes a repository public. Token is the organization's.
	Publish(ctx context.Context, authorization, token, organization, repository string) error
	Ping(ctx context.Context) error
}

// Source fetches the archive of a build.
type Source interface {
	Archive(ctx context.Context, nvr string) ([]byte, error)
	Ping(ctx context.Context) error
}

// Gate judges a build before its archive is opened.
type Gate interface {
	Check(ctx context.Context, nvr string) error
	Ping(ctx context.Context) error
}

// Organization is what differs for one organization; the zero value is that of
// an organization that nothing is said of.
type Organization struct {
	Public bool
	Token  string
	Rules  manifest.Rules
}

// Options are what the service is made of.
type Options struct {
	Target Target
	// Source and Gate may be nil: switched off.
	Source        Source
	Gate          Gate
	Organizations map[string]*Organization
	// MaxBody bounds an upload, MaxContent what is in an archive.
	MaxBody, MaxContent int64
	// FirstRelease is that of a package without releases.
	FirstRelease string
	// Deadline bounds a call, 0 is no bound; Parallel how many archives are
	// worked on at once.
	Deadline time.Duration
	Parallel int
	Version  string
}

type service struct {
	Options
	turns    chan struct{}
	packages lock.Names

	metrics  *prometheus.Registry
	calls    *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

// rules is the version of the rules that manifests are judged by.
const rules = "2.1.10"

// New returns the handler of the paths from /v1/ and /v2/ on, and of /metrics.
func New(o Options) http.Handler {
	s := &service{
		Options: o, turns: make(chan struct{}, o.Parallel), metrics: prometheus.NewRegistry(),
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "omps_calls_total", Help: "Calls by what they do and how they ended: ok, or an error ID.",
		}, []string{"call", "outcome"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "omps_call_duration_seconds", Help: "How long calls take.", Buckets: prometheus.DefBuckets,
		}, []string{"call"}),
	}
	s.metrics.MustRegister(s.calls, s.duration)
	shown := promhttp.HandlerFor(s.metrics, promhttp.HandlerOpts{})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/metrics" {
			shown.ServeHTTP(w, r)
			return
		}
		s.ServeHTTP(w, r)
	})
}

// endpoint is what a path and a method stand for.
type endpoint struct {
	name   string
	handle func(*call) (any, error)
}

// call is one request with what its path says.
type call struct {
	*service
	w http.ResponseWriter
	r *http.Request
	// organization, repository, release and nvr are "" where the path has none.
	organization, repository, release, nvr string
	authorization                          string
	// explicit tells that the path names the release.
	explicit bool
	// dryRun tells that nothing shall be pushed.
	dryRun bool
	// digest is of the archive that was pushed.
	digest string
}

// route finds what a path stands for, by method.
func (c *call) route(version string, p []string) map[string]endpoint {
	found := make(map[string]endpoint)
	if len(p) == 1 && p[0] == "about" {
		found[http.MethodGet] = endpoint{"about", (*call).about}
	}
	if len(p) == 2 && p[0] == "health" && p[1] == "ping" {
		found[http.MethodGet] = endpoint{"health", (*call).health}
	}
	if len(p) == 2 || len(p) == 3 {
		found[http.MethodDelete] = endpoint{"delete", func(c *call) (any, error) {
			c.organization, c.repository = p[0], p[1]
			if len(p) == 3 {
				c.release, c.explicit = p[2], true
			}
			return c.delete()
		}}
	}
	head := 1
	if version == "v1" {
		head = 2
	}
	if len(p) > head {
		rest := p[head+1:]
		set := func(c *call, release []string) {
			if c.organization = p[0]; head == 2 {
				c.repository = p[1]
			}
			if len(release) == 1 {
				c.release, c.explicit = release[0], true
			}
		}
		switch {
		case p[head] == "zipfile" && len(rest) <= 1:
			found[http.MethodPost] = endpoint{"push", func(c *call) (any, error) { set(c, rest); return c.pushZip() }}
		case p[head] == "koji" && (len(rest) == 1 || len(rest) == 2):
			found[http.MethodPost] = endpoint{"push_koji", func(c *call) (any, error) { set(c, rest[1:]); c.nvr = rest[0]; return c.pushBuild() }}
		}
	}
	return found
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	started := time.Now()
	c := &call{service: s, w: w, r: r, authorization: r.Header.Get("Authorization")}
	name, body, err := c.serve()
	status, outcome := http.StatusOK, "ok"
	if err != nil {
		f := asFault(err)
		if f.ID == fault.Internal {
			slog.Error("push service", "call", name, "err", err)
		}
		status, outcome, body = f.Status, f.ID, f
	}
	if h, ok := body.(*health); ok {
		status = h.Status
	}
	s.calls.WithLabelValues(name, outcome).Inc()
	s.duration.WithLabelValues(name).Observe(time.Since(started).Seconds())
	c.audit(name, outcome)
	encoded, err := json.Marshal(body)
	if err != nil {
		slog.Error("push service", "call", name, "err", err)
		status, encoded = http.StatusInternalServerError, []byte(`{"status":500,"error":"InternalServerError","message":"The answer cannot be written."}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(encoded)
}

func asFault(err error) *fault.Fault {
	var f *fault.Fault
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, &tooLarge):
		return fault.New(fault.TooLarge, "The body is larger than %d bytes, which is the most that is taken.", tooLarge.Limit)
	case errors.Is(err, context.DeadlineExceeded):
		return fault.New(fault.Internal, "The call took longer than it may; try again.")
	}
	return fault.New(fault.Internal, "%v", err)
}

func (c *call) serve() (name string, body any, err error) {
	parts := strings.Split(strings.TrimPrefix(c.r.URL.Path, "/"), "/")
	if len(parts) < 2 || parts[0] != "v1" && parts[0] != "v2" || !whole(parts[1:]) {
		return "none", nil, fault.New(fault.NotFound, "There is nothing at this path.")
	}
	endpoints := c.route(parts[0], parts[1:])
	if len(endpoints) == 0 {
		return "none", nil, fault.New(fault.NotFound, "There is nothing at this path.")
	}
	method := c.r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	e, ok := endpoints[method]
	if !ok {
		var allowed []string
		for _, m := range []string{http.MethodDelete, http.MethodGet, http.MethodPost} {
			if _, ok := endpoints[m]; ok {
				allowed = append(allowed, m)
			}
		}
		c.w.Header().Set("Allow", strings.Join(allowed, ", "))
		return "none", nil, fault.New(fault.MethodNotAllowed, "The method %s is not allowed here.", c.r.Method)
	}
	if c.Deadline > 0 {
		ctx, cancel := context.WithTimeout(c.r.Context(), c.Deadline)
		defer cancel()
		c.r = c.r.WithContext(ctx)
	}
	body, err = e.handle(c)
	return e.name, body, err
}

func whole(parts []string) bool {
	for _, part := range parts {
		if part == "" {
			return false
		}
	}
	return true
}

// authorized demands the header, whatever it holds.
func (c *call) authorized() error {
	if strings.TrimSpace(c.authorization) == "" {
		return fault.New(fault.AuthorizationRequired, "The header Authorization is needed: it is handed to the application registry.")
	}
	return nil
}
