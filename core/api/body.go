package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/iib-engine/iib/sdk"
)

// readJSON reads a body as the contract's section 2.1 orders: media type,
// well-formed JSON, nothing behind it.
func readJSON(w http.ResponseWriter, r *http.Request, limit int64) (json.RawMessage, error) {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/json" && !(strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json")) {
		return nil, &statusError{status: http.StatusUnsupportedMediaType, message: "The body must be sent as application/json."}
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return nil, &statusError{status: http.StatusRequestEntityTooLarge, message: "The body is larger than this server accepts."}
	}
	if err != nil {
		return nil, sdk.Errorf(sdk.Invalid, "the body could not be read: %v", err)
	}
	if !utf8.Valid(data) {
		return nil, sdk.Errorf(sdk.Invalid, "the body is not UTF-8")
	}
	var raw json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil {
		return nil, sdk.Errorf(sdk.Invalid, "the body is not well-formed JSON: %v", err)
	}
	return bytes.TrimSpace(raw), nil
}

// readObject reads a body that must be a JSON object.
func readObject(w http.ResponseWriter, r *http.Request, limit int64) (json.RawMessage, error) {
	raw, err := readJSON(w, r, limit)
	if err != nil {
		return nil, err
	}
	if !isObject(raw) {
		return nil, sdk.Errorf(sdk.Invalid, "the body must be a JSON object")
	}
	return raw, nil
}

func isObject(raw json.RawMessage) bool { return bytes.HasPrefix(bytes.TrimSpace(raw), []byte("{")) }
