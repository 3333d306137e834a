// Package quay serves the history of a store's tags by the API that Quay has
// for it, below /api/v1/repository/.
package quay

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/iib-engine/iib/plugins/registry/internal/access"
	"github.com/iib-engine/iib/plugins/registry/internal/store"
	"github.com/iib-engine/iib/sdk"
)

// Handler answers below /api/v1/. Its fields are set before it is used.
type Handler struct {
	Store  *store.Store
	Policy access.Policy
	// ReadOnly tells that nothing may be changed in a repository. Nil means
	// that everything may.
	ReadOnly func(repository string) bool
	// PermanentRemoval lets rows be taken out of the history for good.
	PermanentRemoval bool
	// Removed is called when something may have become garbage. It may be nil.
	Removed func()
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

var _ http.Handler = (*Handler)(nil)

const (
	repositoryPrefix = "/api/v1/repository/"
	errorPrefix      = "/api/v1/error/"
)

// call is a request on its way through the handler.
type call struct {
	*Handler
	w http.ResponseWriter
	r *http.Request
	// repository is the one that the path names.
	repository string
	// object is the tag or the manifest that the path names, if any.
	object string
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	c := &call{Handler: h, w: w, r: r}
	if err := c.route(); err != nil {
		c.fail(err)
	}
}

// route finds out what is asked for. A repository's name may have any number
// of segments, also such as "tag": the last fixed segment of the path ends it,
// and the method tells whether that is followed by a tag or by a tag and what
// to do with it.
func (c *call) route() error {
	if kind, ok := strings.CutPrefix(c.r.URL.Path, errorPrefix); ok {
		return c.describeError(kind)
	}
	path, ok := strings.CutPrefix(c.r.URL.Path, repositoryPrefix)
	if !ok {
		return errNotFound
	}
	parts := strings.Split(path, "/")
	switch c.r.Method {
	case http.MethodGet, http.MethodHead:
		switch {
		case c.fits(parts, "tag", ""), c.fits(parts, "tag"):
			return c.permit(access.Read, c.list)
		case c.fits(parts, "logs"):
			return c.permit(access.Admin, c.logs)
		case c.fits(parts, "tag", "*", "images"):
			return c.permit(access.Read, c.images)
		case c.fits(parts, "manifest", "*"):
			return c.permit(access.Read, c.manifest)
		}
	case http.MethodPut:
		if c.fits(parts, "tag", "*") {
			return c.permit(access.Write, c.change)
		}
	case http.MethodDelete:
		if c.fits(parts, "tag", "*") {
			return c.permit(access.Write, c.delete)
		}
	case http.MethodPost:
		switch {
		case c.fits(parts, "tag", "*", "restore"):
			return c.permit(access.Write, c.restore)
		case c.fits(parts, "tag", "*", "expire") && c.PermanentRemoval:
			return c.permit(access.Write, c.forget)
		}
	}
	if slices.Contains(parts[1:], "tag") && !slices.Contains([]string{"GET", "HEAD", "PUT", "DELETE", "POST"}, c.r.Method) {
		return errMethod
	}
	return errNotFound
}

// fits tells whether the path ends as given, where "*" is the object, and
// names a repository before.
func (c *call) fits(parts []string, tail ...string) bool {
	n := len(parts) - len(tail)
	if n < 1 {
		return false
	}
	for i, want := range tail {
		if want == "*" {
			c.object = parts[n+i]
		} else if parts[n+i] != want {
			return false
		}
	}
	c.repository = strings.Join(parts[:n], "/")
	return true
}

// permit runs what a request asks for if the caller has the right to it. What
// does not exist is told only to who might read it.
func (c *call) permit(needs access.Right, do func() error) error {
	if c.right() < needs {
		if sdk.UserFrom(c.r) == "" {
			return errToken
		}
		return errScope
	}
	if needs == access.Write && c.ReadOnly != nil && c.ReadOnly(c.repository) {
		return errReadOnly
	}
	return do()
}

func (c *call) right() access.Right {
	right, _ := c.Policy.For(c.r, c.repository)
	return right
}

func (c *call) now() time.Time {
	if c.Now == nil {
		return time.Now()
	}
	return c.Now()
}
