package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// statuses is the only place where an error's code becomes an HTTP status.
var statuses = map[sdk.Code]int{
	sdk.Invalid:     http.StatusBadRequest,
	sdk.Denied:      http.StatusForbidden,
	sdk.NotFound:    http.StatusNotFound,
	sdk.Conflict:    http.StatusConflict,
	sdk.Unavailable: http.StatusServiceUnavailable,
	sdk.Internal:    http.StatusInternalServerError,
}

// statusError is an error whose status the six codes do not have.
type statusError struct {
	status  int
	message string
	// challenges are the WWW-Authenticate values of a 401.
	challenges []string
}

func (e *statusError) Error() string { return e.message }

var (
	errNoPath  = &statusError{status: http.StatusNotFound, message: "There is nothing at this address."}
	errUnknown = &statusError{status: http.StatusNotFound, message: "The requested resource was not found."}
)

// writeError answers with an error's status and the contract's error body.
// What is internal is logged, and the client gets a bland sentence, unless the
// error was written for it.
func writeError(w http.ResponseWriter, r *http.Request, err error) {
	body := map[string]any{"error": err.Error()}
	status := 0
	var own *statusError
	var coded *sdk.Error
	switch {
	case errors.As(err, &own):
		status = own.status
		for _, challenge := range own.challenges {
			w.Header().Add("WWW-Authenticate", challenge)
		}
	case sdk.CodeOf(err) == sdk.NotFound:
		status, body["error"] = errUnknown.status, errUnknown.message
	case sdk.CodeOf(err) == sdk.Conflict && sdk.ReasonOf(err) == core.ReasonFinal:
		// The contract answers a forbidden transition with 400; the extra key
		// spares workers from comparing texts.
		status, body["reason"] = http.StatusBadRequest, core.ReasonFinal
	default:
		status = statuses[sdk.CodeOf(err)]
	}
	if errors.As(err, &coded) && coded.Field != "" {
		body["field"] = coded.Field
	}
	if status == http.StatusInternalServerError {
		logger(r).Error("internal error", "method", r.Method, "path", r.URL.Path, "err", err)
		if own == nil {
			body["error"] = "The server made a mistake. It is in the server's log under the request ID " + w.Header().Get(RequestIDHeader) + "."
		}
	}
	if status == http.StatusServiceUnavailable {
		logger(r).Warn("unavailable", "method", r.Method, "path", r.URL.Path, "err", err)
		w.Header().Set("Retry-After", "1")
	}
	writeJSON(w, status, body)
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	var data bytes.Buffer
	encoder := json.NewEncoder(&data)
	// Clients read addresses in this JSON with tools that expect a plain "&".
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(body); err != nil {
		status = http.StatusInternalServerError
		data.Reset()
		data.WriteString(`{"error":"The server could not encode its answer."}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = data.WriteTo(w)
}
