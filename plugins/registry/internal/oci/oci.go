// Package oci serves a store by the OCI distribution specification 1.1, below
// /v2/.
package oci

import (
	"net/http"
	"regexp"
	"strings"

	"github.com/iib-engine/iib/plugins/registry/internal/access"
	"github.com/iib-engine/iib/plugins/registry/internal/store"
	"github.com/iib-engine/iib/sdk"
)

// Handler answers below /v2/. Its fields are set before it is used.
type Handler struct {
	Store  *store.Store
	Policy access.Policy
	// Challenge is the WWW-Authenticate header for a caller who has to say who
	// it is; scope is what it wanted, empty for nothing in particular. Nil
	// means basic authentication.
	Challenge func(r *http.Request, scope string) string
	// ReadOnly tells that nothing may be changed in a repository. Nil means
	// that everything may.
	ReadOnly func(repository string) bool
	// MaxNames is how many names one answer has at most, and MaxReferrers about
	// how many bytes a list of referrers; the rest is linked. Zero means 10,000,
	// and 3 MiB: clients expect such a list to be no larger than a manifest.
	MaxNames, MaxReferrers int
}

var _ http.Handler = (*Handler)(nil)

// call is a request on its way through the handler.
type call struct {
	*Handler
	w http.ResponseWriter
	r *http.Request
	// repository is the one that the path names.
	repository string
	// reference is the last part of the path: a tag, a digest, or an upload.
	reference string
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
	c := &call{Handler: h, w: w, r: r}
	if err := c.route(); err != nil {
		c.fail(err)
	}
}

// route finds out what is asked for. A repository's name may have any number
// of segments, also such as "blobs": only the end of the path tells.
func (c *call) route() error {
	rest, ok := strings.CutPrefix(c.r.URL.Path, "/v2")
	if !ok {
		return errNotFound
	}
	switch rest {
	case "", "/":
		return c.methods(map[string]action{http.MethodGet: {access.None, c.base}})
	case "/_catalog":
		return c.methods(map[string]action{http.MethodGet: {access.None, c.catalog}})
	}
	parts := strings.Split(strings.TrimPrefix(rest, "/"), "/")
	n := len(parts)
	if n < 3 {
		return errNotFound
	}
	c.reference = parts[n-1]
	if n >= 4 && parts[n-3] == "blobs" && parts[n-2] == "uploads" {
		c.repository = strings.Join(parts[:n-3], "/")
		if c.reference == "" {
			return c.methods(map[string]action{http.MethodPost: {access.Write, c.startUpload}})
		}
		return c.methods(map[string]action{
			http.MethodGet:    {access.Write, c.uploadStatus},
			http.MethodPatch:  {access.Write, c.appendUpload},
			http.MethodPut:    {access.Write, c.finishUpload},
			http.MethodDelete: {access.Write, c.cancelUpload},
		})
	}
	c.repository = strings.Join(parts[:n-2], "/")
	switch kind := parts[n-2]; {
	case kind == "blobs" && c.reference == "uploads":
		return c.methods(map[string]action{http.MethodPost: {access.Write, c.startUpload}})
	case kind == "blobs":
		return c.methods(map[string]action{
			http.MethodGet:    {access.Read, c.blob},
			http.MethodDelete: {access.Write, c.deleteBlob},
		})
	case kind == "manifests":
		return c.methods(map[string]action{
			http.MethodGet:    {access.Read, c.manifest},
			http.MethodPut:    {access.Write, c.putManifest},
			http.MethodDelete: {access.Write, c.deleteManifest},
		})
	case kind == "tags" && c.reference == "list":
		return c.methods(map[string]action{http.MethodGet: {access.Read, c.tags}})
	case kind == "referrers":
		return c.methods(map[string]action{http.MethodGet: {access.Read, c.referrers}})
	}
	return errNotFound
}

// action is what a method does, and the right that it takes.
type action struct {
	needs access.Right
	do    func() error
}

// methods runs the action of the request's method. HEAD is GET, without the
// body that the server holds back.
func (c *call) methods(actions map[string]action) error {
	method := c.r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	action, ok := actions[method]
	if !ok {
		var allowed []string
		for name := range actions {
			allowed = append(allowed, name)
		}
		return &unsupportedMethod{allowed}
	}
	if action.needs != access.None {
		if err := store.CheckRepository(c.repository); err != nil {
			return err
		}
		if err := c.permit(action.needs); err != nil {
			return err
		}
	}
	return action.do()
}

// permit returns an error unless the caller may do something. Who might get
// further with other credentials is asked for them.
func (c *call) permit(needs access.Right) error {
	right, scoped := c.Policy.For(c.r, c.repository)
	if right < needs {
		if scoped || sdk.UserFrom(c.r) == "" {
			return errUnauthorized
		}
		return errDenied
	}
	if needs >= access.Write && c.ReadOnly != nil && c.ReadOnly(c.repository) {
		return errReadOnly
	}
	return nil
}

// mayRead tells whether the caller may pull from another repository.
func (c *call) mayRead(repository string) bool {
	right, _ := c.Policy.For(c.r, repository)
	return right >= access.Read
}

// base answers the question whether this is a registry. Who would not get in
// anywhere learns here how to say who it is. So does everybody without a token
// where there are tokens: clients such as skopeo ask for one only after a
// challenge at this very address, and would push without it.
func (c *call) base() error {
	if sdk.UserFrom(c.r) == "" {
		tokens := c.Challenge != nil && len(c.Policy) > 0 && !access.Scoped(c.r)
		if tokens || !c.anonymous() {
			return errUnauthorized
		}
	}
	c.w.Header().Set("Content-Type", "application/json")
	_, err := c.w.Write([]byte("{}"))
	return err
}

// anonymous tells whether there is anything that an anonymous caller may do.
func (c *call) anonymous() bool {
	if len(c.Policy) == 0 {
		return true
	}
	for _, rule := range c.Policy {
		for _, list := range [][]string{rule.Readers, rule.Writers, rule.Admins} {
			for _, who := range list {
				if who == access.Anyone {
					return true
				}
			}
		}
	}
	return false
}

var integer = regexp.MustCompile(`\A[0-9]{1,9}\z`)
