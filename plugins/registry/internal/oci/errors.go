package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/iib-engine/iib/plugins/registry/internal/store"
)

// problem is an error by the specification's words.
type problem struct {
	status  int
	code    string
	message string
}

func (p *problem) Error() string { return p.message }

var (
	errNotFound     = &problem{http.StatusNotFound, "UNSUPPORTED", "there is nothing at this path"}
	errUnauthorized = &problem{http.StatusUnauthorized, "UNAUTHORIZED", "authentication required"}
	errDenied       = &problem{http.StatusForbidden, "DENIED", "requested access to the resource is denied"}
	errReadOnly     = &problem{http.StatusMethodNotAllowed, "UNSUPPORTED", "the repository is read-only"}
)

// unsupportedMethod is a method that a path does not know.
type unsupportedMethod struct{ allowed []string }

func (e *unsupportedMethod) Error() string { return "the operation is unsupported" }

// table translates the store's errors. The first that fits decides.
var table = []struct {
	is     error
	status int
	code   string
}{
	{store.ErrName, http.StatusBadRequest, "NAME_INVALID"},
	{store.ErrRepository, http.StatusNotFound, "NAME_UNKNOWN"},
	{store.ErrTagName, http.StatusBadRequest, "TAG_INVALID"},
	{store.ErrDigest, http.StatusBadRequest, "DIGEST_INVALID"},
	{store.ErrMismatch, http.StatusBadRequest, "DIGEST_INVALID"},
	{store.ErrBlob, http.StatusNotFound, "BLOB_UNKNOWN"},
	{store.ErrTag, http.StatusNotFound, "MANIFEST_UNKNOWN"},
	{store.ErrTagExpired, http.StatusNotFound, "TAG_EXPIRED"},
	{store.ErrManifest, http.StatusNotFound, "MANIFEST_UNKNOWN"},
	{store.ErrUpload, http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN"},
	{store.ErrRange, http.StatusRequestedRangeNotSatisfiable, "BLOB_UPLOAD_INVALID"},
	{store.ErrTooLarge, http.StatusRequestEntityTooLarge, "SIZE_INVALID"},
	{store.ErrInvalid, http.StatusBadRequest, "MANIFEST_INVALID"},
	{store.ErrAbsent, http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN"},
	{store.ErrInUse, http.StatusMethodNotAllowed, "UNSUPPORTED"},
	{store.ErrMoved, http.StatusPreconditionFailed, "DENIED"},
	{store.ErrImmutable, http.StatusConflict, "TAG_IMMUTABLE"},
	{io.ErrUnexpectedEOF, http.StatusBadRequest, "SIZE_INVALID"},
}

func problemOf(err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	for _, row := range table {
		if errors.Is(err, row.is) {
			return &problem{row.status, row.code, err.Error()}
		}
	}
	return nil
}

// parts takes joined errors apart.
func parts(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

// fail answers with what went wrong. A requester's mistakes are explained;
// faults of the registry are logged and stay here.
func (c *call) fail(err error) {
	type entry struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	var entries []entry
	status := 0
	if method, ok := errors.AsType[*unsupportedMethod](err); ok {
		slices.Sort(method.allowed)
		c.w.Header().Set("Allow", strings.Join(method.allowed, ", "))
		err = &problem{http.StatusMethodNotAllowed, "UNSUPPORTED", method.Error()}
	}
	for _, part := range parts(err) {
		p := problemOf(part)
		if p == nil {
			continue
		}
		if status == 0 {
			status = p.status
		}
		entries = append(entries, entry{p.code, p.message})
		if p.code == "TAG_EXPIRED" {
			entries = append(entries, entry{"MANIFEST_UNKNOWN", "manifest unknown"})
		}
	}
	switch {
	case status == 0 && c.r.Context().Err() != nil:
		// The client is gone; nobody reads the answer.
		return
	case status == 0:
		slog.Error("request failed", "method", c.r.Method, "path", c.r.URL.Path, "err", err)
		status = http.StatusInternalServerError
		entries = []entry{{"UNKNOWN", "the registry has a fault; its log tells more"}}
	case status == http.StatusUnauthorized:
		c.w.Header().Set("WWW-Authenticate", c.challenge())
	}
	body, err := json.Marshal(map[string]any{"errors": entries})
	if err != nil {
		slog.Error("encode an error", "err", err)
	}
	c.w.Header().Set("Content-Type", "application/json")
	c.w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	c.w.WriteHeader(status)
	_, _ = c.w.Write(body)
}

func (c *call) challenge() string {
	if c.Challenge == nil {
		return `Basic realm="registry"`
	}
	scope := ""
	if c.repository != "" {
		actions := "pull"
		if c.r.Method != http.MethodGet && c.r.Method != http.MethodHead {
			actions = "pull,push"
		}
		scope = "repository:" + c.repository + ":" + actions
	}
	return c.Challenge(c.r, scope)
}
