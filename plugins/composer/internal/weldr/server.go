// Package weldr speaks the Weldr API, versions 0 and 1: routes, their arguments
// and the forms of their answers. What they do is in other packages.
package weldr

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/iib-engine/iib/plugins/composer/internal/blueprint"
	"github.com/iib-engine/iib/plugins/composer/internal/compose"
	"github.com/iib-engine/iib/plugins/composer/internal/fault"
	"github.com/iib-engine/iib/plugins/composer/internal/history"
	"github.com/iib-engine/iib/plugins/composer/internal/ledger"
	"github.com/iib-engine/iib/plugins/composer/internal/library"
	"github.com/iib-engine/iib/plugins/composer/internal/plan"
	"github.com/iib-engine/iib/plugins/composer/internal/solve"
	"github.com/iib-engine/iib/plugins/composer/internal/sources"
	"github.com/iib-engine/iib/sdk"
)

// Options are what a Server is made of. All are required.
type Options struct {
	Library *library.Library
	Sources *sources.Store
	Solver  solve.Solver
	Planner *plan.Planner
	Ledger  *ledger.Ledger
	Host    sdk.Host
	// Gone waits until no handler of this process runs a request, or ctx ends.
	Gone func(ctx context.Context, request int64) error
	// Config returns the build settings of a compose.
	Config func(*compose.Params) compose.Config
	// Distros are the names of distributions, the first is the own one.
	Distros []string
	Version string
}

// Server is the API. It is safe for concurrent use.
type Server struct {
	Options

	statusMu sync.Mutex
	problems problems
}

// New returns the API as an HTTP handler.
func New(o Options) *Server { return &Server{Options: o} }

// call is one request with its arguments.
type call struct {
	*http.Request
	w       http.ResponseWriter
	version int
	args    []string
}

// route is a path below the version. Its arguments are the rest of the path, one
// segment each.
type route struct {
	method string
	path   string
	args   int
	since  int
	do     func(*Server, *call) error
}

var routes = []route{
	{"GET", "blueprints/list", 0, 0, (*Server).listBlueprints},
	{"GET", "blueprints/info", 1, 0, (*Server).showBlueprints},
	{"GET", "blueprints/changes", 1, 0, (*Server).listChanges},
	{"GET", "blueprints/change", 2, 1, (*Server).showChange},
	{"GET", "blueprints/diff", 3, 0, (*Server).diffBlueprint},
	{"GET", "blueprints/depsolve", 1, 0, (*Server).depsolveBlueprints},
	{"GET", "blueprints/freeze", 1, 0, (*Server).freezeBlueprints},
	{"POST", "blueprints/new", 0, 0, (*Server).saveBlueprint},
	{"POST", "blueprints/workspace", 0, 0, (*Server).saveWorkspace},
	{"POST", "blueprints/undo", 2, 0, (*Server).undoBlueprint},
	{"POST", "blueprints/tag", 1, 0, (*Server).tagBlueprint},
	{"DELETE", "blueprints/delete", 1, 0, (*Server).deleteBlueprint},
	{"DELETE", "blueprints/workspace", 1, 0, (*Server).deleteWorkspace},
	{"GET", "projects/list", 0, 0, (*Server).listProjects},
	{"GET", "projects/info", 1, 0, (*Server).showProjects},
	{"GET", "projects/depsolve", 1, 0, (*Server).depsolveProjects},
	{"GET", "projects/source/list", 0, 0, (*Server).listSources},
	{"GET", "projects/source/info", 1, 0, (*Server).showSources},
	{"POST", "projects/source/new", 0, 0, (*Server).saveSource},
	{"DELETE", "projects/source/delete", 1, 0, (*Server).deleteSource},
	{"GET", "modules/list", 0, 0, (*Server).listModules},
	{"GET", "modules/list", 1, 0, (*Server).listModules},
	{"GET", "modules/info", 1, 0, (*Server).showModules},
	{"GET", "distros/list", 0, 1, (*Server).listDistros},
	{"POST", "compose", 0, 0, (*Server).startCompose},
	{"GET", "compose/types", 0, 0, (*Server).listTypes},
	{"GET", "compose/queue", 0, 0, (*Server).listQueue},
	{"GET", "compose/finished", 0, 0, (*Server).listFinished},
	{"GET", "compose/failed", 0, 0, (*Server).listFailed},
	{"GET", "compose/status", 1, 0, (*Server).listStatus},
	{"GET", "compose/info", 1, 0, (*Server).showCompose},
	{"GET", "compose/metadata", 1, 0, (*Server).getMetadata},
	{"GET", "compose/results", 1, 0, (*Server).getResults},
	{"GET", "compose/logs", 1, 0, (*Server).getLogs},
	{"GET", "compose/image", 1, 0, (*Server).getImage},
	{"GET", "compose/log", 1, 0, (*Server).getLog},
	{"DELETE", "compose/cancel", 1, 0, (*Server).cancelCompose},
	{"DELETE", "compose/delete", 1, 0, (*Server).deleteComposes},
}

// status is an error of HTTP's own kind.
type status int

func (s status) Error() string { return http.StatusText(int(s)) }

// errIncomplete is the answer to a path whose argument was left out.
var errIncomplete = fault.New(fault.HTTPError, "The path lacks an argument")

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{Request: r, w: w}
	do, err := find(c)
	if err == nil {
		err = do(s, c)
	}
	if err == nil {
		return
	}
	var many fault.Many
	var code status
	var e *sdk.Error
	switch {
	case errors.As(err, &many):
	case errors.As(err, &code):
	case r.Context().Err() != nil:
		return // nobody listens any more
	case errors.As(err, &e) && e.Code != sdk.Internal && (e.Code != sdk.Unavailable || fault.ID(e, "") != ""):
		many = fault.Many{e}
	default:
		slog.Error("a call of the API", "method", r.Method, "path", r.URL.Path, "err", err)
		code = http.StatusInternalServerError
		if r.Method == http.MethodDelete {
			// Clients take another code for a success.
			code, many = 0, fault.Many{fault.New(fault.HTTPError, "Internal Server Error")}
		}
	}
	if code != 0 {
		c.reply(int(code), refusal{false, []message{{fault.HTTPError, int(code), code.Error()}}})
		return
	}
	var messages []message
	for _, e := range many {
		messages = append(messages, asMessage(e))
	}
	c.reply(http.StatusBadRequest, refusal{false, messages})
}

// refusal is the form of every error of a whole request.
type refusal struct {
	Status bool      `json:"status"`
	Errors []message `json:"errors"`
}

type message struct {
	ID   string `json:"id"`
	Code int    `json:"code,omitempty"`
	Msg  string `json:"msg"`
}

// asMessage shows an error. One without an id is a part that did not answer.
func asMessage(err error) message {
	m := message{ID: fault.ID(err, fault.HTTPError), Msg: err.Error()}
	if m.ID == fault.HTTPError {
		m.Code = http.StatusBadRequest
	}
	return m
}

// find picks the route of a path.
func find(c *call) (func(*Server, *call) error, error) {
	path := c.URL.Path
	method := c.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	if path == "/api/status" {
		if method != http.MethodGet {
			return nil, status(http.StatusMethodNotAllowed)
		}
		return (*Server).showStatus, nil
	}
	switch {
	case strings.HasPrefix(path, "/api/v0/"):
	case strings.HasPrefix(path, "/api/v1/"):
		c.version = 1
	default:
		return nil, status(http.StatusNotFound)
	}
	path = path[len("/api/v0/"):]
	var incomplete, wrong bool
	for _, r := range routes {
		if r.since > c.version {
			continue
		}
		rest, ok := strings.CutPrefix(path, r.path)
		if !ok || rest != "" && rest[0] != '/' {
			continue
		}
		var args []string
		if rest != "" {
			args = strings.Split(rest[1:], "/")
		}
		switch {
		case slices.Contains(args, ""):
			// a trailing slash, or two in a row
		case len(args) == r.args && method == r.method:
			c.args = args
			return r.do, nil
		case len(args) == r.args:
			wrong = true
		case len(args) < r.args:
			incomplete = incomplete || method == r.method
			wrong = true
		}
	}
	switch {
	case incomplete:
		return nil, errIncomplete
	case wrong:
		return nil, status(http.StatusMethodNotAllowed)
	}
	return nil, status(http.StatusNotFound)
}

// reply sends JSON.
func (c *call) reply(code int, body any) {
	data, err := json.Marshal(body)
	if err != nil {
		slog.Error("encode an answer", "path", c.URL.Path, "err", err)
		code, data = http.StatusInternalServerError, []byte(`{"status":false,"errors":[{"id":"HTTPError","code":500,"msg":"Internal Server Error"}]}`)
	}
	c.send(code, "application/json", data)
}

func (c *call) send(code int, kind string, data []byte) {
	c.w.Header().Set("Content-Type", kind)
	c.w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	c.w.WriteHeader(code)
	_, _ = c.w.Write(data)
}

// ok answers with a body.
func (c *call) ok(body any) error {
	c.reply(http.StatusOK, body)
	return nil
}

// done is the answer to what has no data.
func (c *call) done() error {
	return c.ok(struct {
		Status bool `json:"status"`
	}{true})
}

func (c *call) toml(text string) error {
	c.send(http.StatusOK, "text/x-toml; charset=utf-8", []byte(text))
	return nil
}

var argument = regexp.MustCompile(`\A[a-zA-Z0-9_,.:+*-]+\z`)

var errPath = fault.New(fault.InvalidChars, "Invalid characters in API path")

// blueprintNames are the names of blueprints in an argument, sorted by their
// lower case.
func (c *call) blueprintNames() ([]string, error) {
	names := strings.Split(c.args[0], ",")
	for _, name := range names {
		if !blueprint.IsName(name) {
			return nil, errPath
		}
	}
	return sorted(names), nil
}

// blueprintArgs checks a blueprint's name and commits.
func (c *call) blueprintArgs() error {
	for _, arg := range c.args {
		if !blueprint.IsName(arg) {
			return errPath
		}
	}
	return nil
}

// names are those of other things in an argument.
func (c *call) names() ([]string, error) {
	if !argument.MatchString(c.args[0]) {
		return nil, errPath
	}
	names := strings.Split(c.args[0], ",")
	if slices.Contains(names, "") {
		return nil, errPath
	}
	return names, nil
}

func sorted(names []string) []string {
	slices.SortStableFunc(names, func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) })
	return names
}

// query returns a value of the query, otherwise if there is none.
func (c *call) query(key, otherwise string) (string, error) {
	values := c.URL.Query()[key]
	if len(values) == 0 {
		return otherwise, nil
	}
	if !argument.MatchString(values[0]) {
		return "", fault.New(fault.InvalidChars, "Invalid characters in %s argument", key)
	}
	return values[0], nil
}

func (c *call) branch() (string, error) { return c.query("branch", history.Master) }

func (c *call) wantsTOML() (bool, error) {
	format, err := c.query("format", "json")
	return format == "toml", err
}

// page is a part of a list.
type page struct {
	Total  int `json:"total"`
	Offset int `json:"offset"`
	Limit  int `json:"limit"`
}

func (c *call) page() (page, error) {
	p := page{Limit: 20}
	for key, to := range map[string]*int{"offset": &p.Offset, "limit": &p.Limit} {
		values := c.URL.Query()[key]
		if len(values) == 0 {
			continue
		}
		n, err := strconv.Atoi(values[0])
		if err != nil || n < 0 {
			return p, fault.New(fault.BadLimitOrOffset, "%s must be a whole number that is not negative", key)
		}
		*to = n
	}
	return p, nil
}

// cut returns a page of a list, never nil.
func cut[T any](list []T, p page) []T {
	from := min(p.Offset, len(list))
	out := list[from:]
	out = out[:min(p.Limit, len(out))]
	if out == nil {
		out = []T{}
	}
	return out
}

// body reads what a client sends, up to a bound.
func (c *call) body(most int64, id string) ([]byte, error) {
	data, err := io.ReadAll(http.MaxBytesReader(c.w, c.Request.Body, most))
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return nil, fault.New(id, "The body has more than %d bytes", most)
	}
	if err != nil {
		return nil, fault.New(id, "The body could not be read: %v", err)
	}
	return data, nil
}

// checkDistro refuses a distribution that the service does not have.
func (s *Server) checkDistro(c *call) error {
	distro, err := c.query("distro", s.Distros[0])
	if err != nil {
		return err
	}
	if !slices.Contains(s.Distros, distro) {
		return fault.New(fault.DistroError, "Invalid distro: %s", distro)
	}
	return nil
}
