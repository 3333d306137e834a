package quay

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/iib-engine/iib/plugins/registry/internal/store"
)

// problem is an error of the API. Quay has three shapes of errors; we have the
// one that says most, and the members of the others that clients look for.
type problem struct {
	status int
	kind   string
	text   string
}

func (p *problem) Error() string { return p.text }

var (
	errNotFound = &problem{http.StatusNotFound, "not_found", "Not Found"}
	errToken    = &problem{http.StatusUnauthorized, "invalid_token", "Requires authentication"}
	errScope    = &problem{http.StatusForbidden, "insufficient_scope", "Unauthorized"}
	errMethod   = &problem{http.StatusMethodNotAllowed, "invalid_request", "The method is not allowed for the requested URL."}
	errReadOnly = &problem{http.StatusServiceUnavailable, "downstream_issue", "Repository is in read only or mirror mode: it cannot be changed"}
)

func invalid(text string) error { return &problem{http.StatusBadRequest, "invalid_request", text} }

// descriptions are what GET /api/v1/error/<kind> tells.
var descriptions = map[string]string{
	"invalid_request":          "The request is malformed or asks for what cannot be.",
	"invalid_token":            "The request needs credentials, or those that came are not valid.",
	"insufficient_scope":       "The caller may not do that in this repository.",
	"not_found":                "The repository, tag or manifest does not exist.",
	"tag_immutable":            "The tag is immutable and can be neither moved nor deleted.",
	"fresh_login_required":     "The operation needs a fresh login.",
	"external_service_timeout": "A service behind the registry did not answer in time.",
	"downstream_issue":         "A part behind the registry is not available.",
}

// problemOf translates the store's errors, or returns nil for its faults.
func problemOf(err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	switch {
	case errors.Is(err, store.ErrTagName):
		return &problem{http.StatusBadRequest, "invalid_request", "Invalid tag: " + detail(err)}
	case errors.Is(err, store.ErrRepository), errors.Is(err, store.ErrName), errors.Is(err, store.ErrTag),
		errors.Is(err, store.ErrTagExpired), errors.Is(err, store.ErrManifest), errors.Is(err, store.ErrDigest),
		errors.Is(err, store.ErrBlob):
		return errNotFound
	case errors.Is(err, store.ErrImmutable):
		return &problem{http.StatusConflict, "tag_immutable", capital(err.Error())}
	case errors.Is(err, store.ErrTime):
		return &problem{http.StatusBadRequest, "invalid_request", detail(err)}
	case errors.Is(err, store.ErrDenied):
		return &problem{http.StatusForbidden, "insufficient_scope", detail(err)}
	}
	return nil
}

// detail is the part of an error of the store that follows its kind.
func detail(err error) string {
	_, text, _ := strings.Cut(err.Error(), ": ")
	return capital(text)
}

// capital begins a text as the API's texts do.
func capital(text string) string {
	first, size := utf8.DecodeRuneInString(text)
	return string(unicode.ToUpper(first)) + text[size:]
}

// fail answers with what went wrong. Faults of the registry are logged and
// stay here.
func (c *call) fail(err error) {
	p := problemOf(err)
	if p == nil {
		if c.r.Context().Err() != nil {
			return
		}
		slog.Error("request failed", "method", c.r.Method, "path", c.r.URL.Path, "err", err)
		p = &problem{http.StatusInternalServerError, "downstream_issue", "The registry has a fault; its log tells more"}
	}
	if p.status == http.StatusUnauthorized {
		c.w.Header().Set("WWW-Authenticate", `Bearer realm="registry"`)
	}
	c.answer(p.status, map[string]any{
		"status": p.status, "error_type": p.kind, "title": p.kind, "type": c.base() + errorPrefix + p.kind,
		"detail": p.text, "error_message": p.text, "message": p.text,
	})
}

// base is the address under which the client has reached the registry.
func (c *call) base() string {
	scheme, host := "http", c.r.Host
	if c.r.TLS != nil {
		scheme = "https"
	}
	if forwarded := c.r.Header.Get("X-Forwarded-Proto"); forwarded == "http" || forwarded == "https" {
		scheme = forwarded
	}
	if forwarded := c.r.Header.Get("X-Forwarded-Host"); forwarded != "" {
		host = forwarded
	}
	return scheme + "://" + host
}

func (c *call) describeError(kind string) error {
	description, known := descriptions[kind]
	if !known {
		return errNotFound
	}
	c.answer(http.StatusOK, map[string]any{
		"type": c.base() + errorPrefix + kind, "title": kind, "description": description,
	})
	return nil
}

// answer sends a JSON body.
func (c *call) answer(status int, body any) {
	encoded, err := json.Marshal(body)
	if err != nil {
		slog.Error("encode an answer", "path", c.r.URL.Path, "err", err)
		status, encoded = http.StatusInternalServerError, []byte("{}")
	}
	c.w.Header().Set("Content-Type", "application/json")
	c.w.WriteHeader(status)
	_, _ = c.w.Write(append(encoded, '\n'))
}
