package api

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// Engine is what the API asks to be done.
type Engine interface {
	Submit(ctx context.Context, sub *core.Submission) (requests []*core.Request, repeated bool, err error)
	// Preview tells what a submission would change. It stores nothing.
	Preview(ctx context.Context, user string, item core.SubmissionItem) (*sdk.Preview, error)
	Patch(ctx context.Context, id int64, keys map[string]json.RawMessage) (*core.Request, error)
	Cancel(ctx context.Context, id int64, reason string) (*core.Request, error)
	// Replay makes events due again for a notifier; Forget drops one.
	Replay(ctx context.Context, notifier string, r core.Replay) (int64, error)
	Forget(ctx context.Context, notifier string) error
	// PauseQueue lets no request of a queue begin until ResumeQueue.
	PauseQueue(ctx context.Context, queue, by, reason string) error
	ResumeQueue(ctx context.Context, queue, by string) error
	// What tags were, and making them that again.
	TagPoints(ctx context.Context, user, spec string, page int) (*core.TagPage, error)
	TagPoint(ctx context.Context, user, spec, point string) (tag, digest string, err error)
	RestoreTag(ctx context.Context, user, spec, point string) (*core.TagMove, error)
	ExpireTag(ctx context.Context, user, spec string, at time.Time) error
	DeleteTag(ctx context.Context, user, spec string) (*core.TagMove, error)
	// Changed is closed at the next change of any request: a hint.
	Changed() <-chan struct{}
}

// Roster lends the plugins that are in force.
type Roster interface {
	Acquire() (lineup core.Lineup, release func())
	// Mount returns the service that is mounted at a path, if there is one.
	Mount(path string) (http.Handler, bool)
	// Complete reports whether everything is known that the plugins answer.
	// While it is false, what is not there yet may come.
	Complete() bool
	// Status tells how every plugin stands.
	Status() []core.PluginStatus
}

// Options are what the API is made of. All are required unless it says so.
type Options struct {
	Engine Engine
	Store  core.Store
	Roster Roster
	Logs   core.Logs
	// Artifacts are the files that requests leave behind.
	Artifacts core.Artifacts
	// Identity returns what is in force; a reload may change it.
	Identity func() Identity
	Settings func() *Settings
	Logger   *slog.Logger
	// Probes are the parts that GET /readyz asks.
	Probes []Probe
	// Observer is told of answers, and Metrics shows them at GET /metrics.
	Observer Observer
	Metrics  http.Handler
	// Tracer records answers, below the caller's span if there is one; nil
	// records nothing.
	Tracer core.Tracer
	// Version is the engine's, for its documentation.
	Version string
}

// Settings are what a reload of the configuration may change.
type Settings struct {
	// Workers are the users that may report about requests.
	Workers []string
	// Queues are those of the configuration, in its order.
	Queues []Queue
	// MaxPage caps the entries of a page.
	MaxPage int
	// MaxBody bounds a request's body in bytes.
	MaxBody int64
	// Keep is how long a request's files outlive its latest state.
	Keep time.Duration
	// KeepLogs tells whether logs are kept at all.
	KeepLogs bool
	// ExternalURL is the scheme and host that clients use; empty means what
	// each client's request says.
	ExternalURL string
	// TrustedProxies are the networks of the proxies whose forwarding headers
	// are believed.
	TrustedProxies []netip.Prefix
	// PageSize is what a page has if the caller does not say.
	PageSize int
	// MaxWait bounds how long a caller may wait for a request to end.
	MaxWait time.Duration
	// RequestsPerMinute bounds the submissions of a user; 0 is no limit.
	RequestsPerMinute int
}

type server struct {
	Options
	submissions limiter
}

// New returns the handler of everything the engine answers: the API, and the
// services that plugins mount. It is safe for concurrent use.
func New(o Options) http.Handler {
	if o.Tracer == nil {
		o.Tracer = core.Untraced{}
	}
	s := &server{Options: o}
	router := mux.NewRouter().SkipClean(true)
	router.Use(s.observed)
	s.healthRoutes(router)
	router.Handle("/", methods{http.MethodGet: page("index.html")})
	router.Handle("/static/docs.html", methods{http.MethodGet: page("index.html")})
	router.Handle("/static/page.css", methods{http.MethodGet: page("page.css")})
	router.Handle("/static/page.js", methods{http.MethodGet: page("page.js")})
	router.Handle("/static/api_v1.yaml", methods{http.MethodGet: s.openapiYAML})
	v1 := router.PathPrefix("/api/v1").Subrouter()
	v1.Handle("/healthcheck", methods{http.MethodGet: s.health})
	v1.Handle("/openapi.json", methods{http.MethodGet: s.openapi})
	v1.Handle("/plugins", methods{http.MethodGet: s.plugins})
	v1.Handle("/notifiers", methods{http.MethodGet: s.notifiers})
	v1.Handle("/notifiers/{name}", methods{http.MethodDelete: s.forget})
	v1.Handle("/notifiers/{name}/events", methods{http.MethodGet: s.undelivered})
	v1.Handle("/notifiers/{name}/replay", methods{http.MethodPost: s.replay})
	v1.Handle("/queues", methods{http.MethodGet: s.queues})
	v1.Handle("/queues/{name}/pause", methods{http.MethodPost: s.pauseQueue})
	v1.Handle("/queues/{name}/resume", methods{http.MethodPost: s.resumeQueue})
	v1.Handle("/builds", methods{http.MethodGet: s.list})
	v1.Handle("/builds/{id:[0-9]+}", methods{http.MethodGet: s.get, http.MethodPatch: s.patch})
	v1.Handle("/builds/{id:[0-9]+}/logs", methods{http.MethodGet: s.logs})
	v1.Handle("/builds/{id:[0-9]+}/events", methods{http.MethodGet: s.requestEvents})
	v1.Handle("/builds/{id:[0-9]+}/cancel", methods{http.MethodPost: s.cancel})
	v1.Handle("/builds/{id:[0-9]+}/{artifact}", methods{http.MethodGet: s.artifact}).MatcherFunc(s.isArtifact)
	v1.Handle("/tags/history", methods{http.MethodGet: s.tagHistory})
	v1.Handle("/tags/point", methods{http.MethodGet: s.tagPoint})
	v1.Handle("/tags/restore", methods{http.MethodPost: s.restoreTag})
	v1.Handle("/tags/expire", methods{http.MethodPost: s.expireTag})
	v1.Handle("/events", methods{http.MethodGet: s.events})
	for path := range batches {
		v1.Handle("/builds/"+path, methods{http.MethodPost: s.batch})
	}
	v1.Handle("/builds/{type}", methods{http.MethodPost: s.submit}).MatcherFunc(s.isType)
	router.NotFoundHandler = s.observed(http.HandlerFunc(s.mounted))
	return s.outermost(router)
}

// methods answers one path. A known path with an unknown method is told which
// methods there are, before anything else is looked at.
type methods map[string]func(http.ResponseWriter, *http.Request) error

func (m methods) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	handle, ok := m[method]
	switch {
	case ok:
		if err := handle(w, r); err != nil {
			writeError(w, r, err)
		}
	case r.Method == http.MethodOptions:
		w.Header().Set("Allow", m.allowed())
		w.WriteHeader(http.StatusOK)
	default:
		w.Header().Set("Allow", m.allowed())
		writeJSON(w, http.StatusMethodNotAllowed, map[string]string{
			"error": "The method " + r.Method + " is not allowed here; use " + m.allowed() + ".",
		})
	}
}

func (m methods) allowed() string {
	list := []string{http.MethodOptions}
	for method := range m {
		list = append(list, method)
		if method == http.MethodGet {
			list = append(list, http.MethodHead)
		}
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// isType matches the paths of the request types that the roster offers.
func (s *server) isType(r *http.Request, _ *mux.RouteMatch) bool {
	lineup, release := s.Roster.Acquire()
	defer release()
	_, ok := lineup.Handler(lastPart(r.URL.Path))
	return ok
}

// isArtifact matches the paths of the artifacts that any request type has.
func (s *server) isArtifact(r *http.Request, _ *mux.RouteMatch) bool {
	lineup, release := s.Roster.Acquire()
	defer release()
	path := lastPart(r.URL.Path)
	return slices.ContainsFunc(lineup.Handlers(), func(h core.HandlerType) bool {
		_, ok := h.Artifact(path)
		return ok
	})
}

func lastPart(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

// notThere is the error that something is not there, as long as that is known:
// clients take it for a final answer, and registries' clients for a repository
// that does not exist.
func (s *server) notThere(err error) error {
	if s.Roster.Complete() {
		return err
	}
	return sdk.Errorf(sdk.Unavailable, "The engine has just started, and some plugins have not: what is at this address is not known yet. Try it again.")
}

// mounted hands a path that is not the API's own to the service mounted there.
func (s *server) mounted(w http.ResponseWriter, r *http.Request) {
	service, ok := s.Roster.Mount(r.URL.Path)
	if !ok {
		writeError(w, r, s.notThere(errNoPath))
		return
	}
	user, err := s.visitor(r)
	if err != nil {
		writeError(w, r, err)
		return
	}
	r.Header.Del(sdk.UserHeader)
	if user != "" {
		r.Header.Set(sdk.UserHeader, user)
	}
	service.ServeHTTP(w, r)
}

// RequestIDHeader names each HTTP request, in answers and in the log.
const RequestIDHeader = "X-Request-Id"

// outermost gives every request an ID, which its answer, the lines that it logs
// and the service that answers it have too, and keeps a panic from ending more
// than its own request.
func (s *server) outermost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from := readForwarded(r, s.Settings().TrustedProxies)
		if from.id == "" {
			from.id = rand.Text()
		}
		w.Header().Set(RequestIDHeader, from.id)
		log := s.Logger.With("http_request", from.id)
		defer func() {
			if fault := recover(); fault != nil {
				if fault == http.ErrAbortHandler {
					panic(fault)
				}
				log.Error("panic while answering", "method", r.Method, "path", r.URL.Path, "err", fault)
				writeError(w, r, sdk.Errorf(sdk.Internal, "panic"))
			}
		}()
		ctx := context.WithValue(core.WithLogger(r.Context(), log), clientKey{}, from.client)
		r = r.WithContext(ctx)
		r.Header.Set(RequestIDHeader, from.id)
		from.apply(r)
		next.ServeHTTP(w, r)
	})
}

type clientKey struct{}

// clientOf returns the address that a request comes from.
func clientOf(r *http.Request) string {
	client, _ := r.Context().Value(clientKey{}).(string)
	return client
}

func logger(r *http.Request) *slog.Logger { return core.Logger(r.Context(), slog.Default()) }
