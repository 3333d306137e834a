// Package cnr speaks the application registry's protocol: its server, over
// packages in an image registry, and its client (push service contract,
// sections 13 and 14).
package cnr

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/blang/semver/v4"

	"github.com/iib-engine/iib/plugins/omps/internal/store"
)

// Prefix is where the server's paths begin.
const Prefix = "/cnr/"

// Version is the protocol's, as its last server called it.
const Version = "0.2.7"

// Server answers the protocol. Its fields are set once.
type Server struct {
	Store *store.Store
	// MaxBody bounds the JSON of a push, MaxContent an archive's content.
	MaxBody, MaxContent int64
	// Login judges a user's name and password.
	Login func(r *http.Request, authorization string) error
	Now   func() time.Time
}

// problem is an error of the protocol.
type problem struct {
	status  int
	Code    string         `json:"code"`
	Message string         `json:"message"`
	Details map[string]any `json:"details"`
}

func (p *problem) Error() string { return p.Message }

func invalid(format string, args ...any) error {
	return &problem{http.StatusBadRequest, "invalid-usage", fmt.Sprintf(format, args...), map[string]any{}}
}

func absent(p store.Package, release, mediaType string) error {
	return &problem{http.StatusNotFound, "package-not-found", fmt.Sprintf("Package %s %s doesn't exist.", p, strings.TrimSpace(release+" "+mediaType)),
		map[string]any{"package": p.String(), "release": release, "media_type": mediaType}}
}

// packageName is what a package may be called.
var packageName = regexp.MustCompile(`\A[a-z0-9][.a-z0-9_-]{0,254}\z`)

// call is one request.
type call struct {
	*Server
	w    http.ResponseWriter
	r    *http.Request
	auth string
	pkg  store.Package
}

// ServeHTTP implements http.Handler for paths that begin with Prefix.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{Server: s, w: w, r: r, auth: r.Header.Get("Authorization")}
	if err := c.route(strings.Split(strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, Prefix), "/"), "/")); err != nil {
		c.fail(err)
	}
}

func (c *call) fail(err error) {
	if errors.Is(err, store.ErrImage) {
		// This one error is a mere text, in the protocol as it was served.
		_ = c.json(http.StatusMethodNotAllowed, map[string]string{"error": fmt.Sprintf("%s is a repository of images; packages cannot be pushed to it.", c.pkg)})
		return
	}
	p := new(problem)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &p):
	case errors.Is(err, store.ErrNotFound):
		p = absent(c.pkg, "", "").(*problem)
	case errors.Is(err, store.ErrForbidden):
		scopes := []string{"pull"}
		if c.r.Method != http.MethodGet && c.r.Method != http.MethodHead {
			scopes = []string{"pull", "push"}
		}
		p = &problem{http.StatusForbidden, "forbidden", "Unauthorized access for: " + c.pkg.String(), map[string]any{"package": c.pkg.String(), "scopes": scopes}}
	case errors.Is(err, store.ErrExists):
		p = &problem{http.StatusConflict, "package-exists", fmt.Sprintf("The release of package %s exists already.", c.pkg), map[string]any{"package": c.pkg.String()}}
	case errors.Is(err, store.ErrName):
		p = invalid("The package name %q %v.", c.pkg, err).(*problem)
	case errors.Is(err, store.ErrBlob):
		p = invalid("The package cannot be taken: %v.", err).(*problem)
	case errors.As(err, &tooLarge):
		p = &problem{http.StatusRequestEntityTooLarge, "payload-too-large", fmt.Sprintf("The body is larger than %d bytes.", tooLarge.Limit), map[string]any{}}
	default:
		slog.Error("application registry", "path", c.r.URL.Path, "err", err)
		p = &problem{http.StatusInternalServerError, "internal-error", "The registry that keeps the packages did not answer as it should: " + err.Error(), map[string]any{}}
	}
	c.json(p.status, map[string]any{"error": p})
}

func (c *call) json(status int, body any) error {
	encoded, err := json.Marshal(body)
	if err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", "application/json")
	c.w.WriteHeader(status)
	_, err = c.w.Write(encoded)
	return err
}

// methods picks by the method.
func (c *call) methods(handlers map[string]func() error) error {
	method := c.r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	if handle := handlers[method]; handle != nil {
		return handle()
	}
	return &problem{http.StatusMethodNotAllowed, "method-not-allowed", "The method " + c.r.Method + " is not allowed here.", map[string]any{}}
}

func (c *call) get(handle func() error) error {
	return c.methods(map[string]func() error{http.MethodGet: handle})
}

var errNoPath = &problem{http.StatusNotFound, "not-found", "There is nothing at this path.", map[string]any{}}

func (c *call) route(path []string) error {
	if len(path) == 1 && path[0] == "version" {
		return c.get(func() error { return c.json(http.StatusOK, map[string]string{"cnr-api": Version}) })
	}
	if len(path) < 3 || path[0] != "api" || path[1] != "v1" {
		return errNoPath
	}
	kind, path := path[2], path[3:]
	if kind == "users" && len(path) == 1 && path[0] == "login" {
		return c.methods(map[string]func() error{http.MethodPost: c.login})
	}
	if kind != "packages" {
		return errNoPath
	}
	switch {
	case len(path) == 0:
		return c.get(c.list)
	case len(path) == 1 && path[0] == "search":
		return c.get(c.search)
	case len(path) == 1:
		return errNoPath
	}
	c.pkg = store.Package{Namespace: path[0], Name: path[1]}
	switch rest := path[2:]; {
	case len(rest) == 0:
		return c.methods(map[string]func() error{http.MethodGet: c.views, http.MethodPost: c.push})
	case len(rest) == 3 && rest[0] == "blobs" && rest[1] == "sha256":
		return c.get(func() error { return c.blob(rest[2]) })
	case len(rest) == 1 && rest[0] == "channels":
		return c.get(func() error { return c.show(func(*store.Release) bool { return false }) })
	case rest[0] == "channels":
		return &problem{http.StatusNotFound, "channel-not-found", "This registry keeps no channels.", map[string]any{}}
	case len(rest) == 1:
		return c.get(func() error { return c.release(rest[0]) })
	case len(rest) == 2:
		return c.methods(map[string]func() error{
			http.MethodGet:    func() error { return c.view(rest[0], shortType(rest[1])) },
			http.MethodDelete: func() error { return c.delete(rest[0], shortType(rest[1])) },
		})
	case len(rest) == 3 && rest[2] == "pull":
		return c.get(func() error { return c.pull(rest[0], shortType(rest[1])) })
	}
	return errNoPath
}

// shortType is the short form of a media type.
func shortType(mediaType string) string {
	short := strings.TrimPrefix(mediaType, "application/vnd.cnr.package-manifest.")
	return strings.TrimSuffix(short, ".v0.json")
}

func (c *call) decode(into any) error {
	body, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, c.MaxBody))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return invalid("The body is not the JSON that is wanted here.")
	}
	return nil
}

func (c *call) login() error {
	var body struct {
		User struct{ Username, Password string } `json:"user"`
	}
	if err := c.decode(&body); err != nil {
		return err
	}
	if body.User.Username == "" || body.User.Password == "" {
		return invalid("A user name and a password are needed.")
	}
	token := "basic " + base64.StdEncoding.EncodeToString([]byte(body.User.Username+":"+body.User.Password))
	if err := c.Login(c.r, token); err != nil {
		if errors.Is(err, store.ErrForbidden) {
			return &problem{http.StatusUnauthorized, "unauthorized-access", "The user name or the password is wrong.", map[string]any{}}
		}
		return err
	}
	return c.json(http.StatusOK, map[string]string{"token": token})
}

// push stores a release.
func (c *call) push() error {
	var body struct {
		Release    any    `json:"release"`
		MediaType  string `json:"media_type"`
		Blob       string `json:"blob"`
		Visibility string `json:"visibility"`
	}
	if !packageName.MatchString(c.pkg.Name) {
		return invalid("The package name %.300q is not one that is allowed: lower-case letters, digits, dots, hyphens and underscores.", c.pkg.Name)
	}
	err := c.decode(&body)
	release := fmt.Sprint(body.Release)
	if n, ok := body.Release.(float64); ok {
		release = strings.TrimSuffix(fmt.Sprintf("%f", n), "000000")
	}
	var blob []byte
	switch {
	case err != nil:
	case body.Release == nil || release == "" || body.MediaType == "" || body.Blob == "":
		err = invalid("The members release, media_type and blob are needed.")
	default:
		if _, fault := semver.Parse(release); fault != nil {
			err = &problem{http.StatusUnprocessableEntity, "invalid-release", fmt.Sprintf("%.200q is no semantic version: %v.", release, fault), map[string]any{"release": release}}
		} else if blob, fault = base64.StdEncoding.DecodeString(body.Blob); fault != nil {
			err = invalid("The blob is not base64.")
		}
	}
	if err != nil {
		// Who may not push learns that first, and nothing else.
		if permit := c.Store.Permit(c.r.Context(), c.auth, c.pkg); permit != nil {
			return permit
		}
		return err
	}
	_, err = c.Store.Put(c.r.Context(), c.auth, c.pkg, &store.Put{
		Version: release, MediaType: shortType(body.MediaType), Blob: blob,
		Force: c.r.URL.Query().Get("force") == "true", Public: body.Visibility == "public",
		MaxContent: c.MaxContent, Now: c.Now(),
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, map[string]string{"status": "ok"})
}

func (c *call) delete(release, mediaType string) error {
	err := c.Store.Delete(c.r.Context(), c.auth, c.pkg, release, mediaType)
	if errors.Is(err, store.ErrNotFound) {
		return absent(c.pkg, release, mediaType)
	}
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, map[string]string{"status": "deleted", "package": c.pkg.String(), "release": release})
}
