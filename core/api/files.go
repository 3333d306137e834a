package api

import (
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// logs is GET /builds/{id}/logs. With ?follow=true it answers also while the
// request runs, and goes on until it has ended.
func (s *server) logs(w http.ResponseWriter, r *http.Request) error {
	settings := s.Settings()
	if !settings.KeepLogs {
		return &statusError{status: http.StatusNotFound, message: "This server keeps no logs."}
	}
	id, err := requestID(r)
	if err != nil {
		return err
	}
	request, err := s.Store.Request(r.Context(), id)
	if err != nil {
		return err
	}
	follow := r.URL.Query().Get("follow") == "true"
	if !request.Final() && !follow {
		return sdk.Errorf(sdk.Invalid, "request %d has not ended yet; add ?follow=true to read its log as it grows", id)
	}
	file, err := s.Logs.Open(r.Context(), id)
	if sdk.CodeOf(err) == sdk.NotFound && follow && !request.Final() {
		if file, err = s.awaitLog(r, id); file == nil && err == nil {
			return nil
		}
	}
	if err != nil {
		return s.missing(err, request, "log")
	}
	defer file.Close()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if !follow {
		send(w, r, file)
		return nil
	}
	s.follow(w, r, id, file)
	return nil
}

// awaitLog waits for the first line of a request that waits for a worker. It
// returns nothing when the caller left or the request ended without a log.
func (s *server) awaitLog(r *http.Request, id int64) (io.ReadCloser, error) {
	for {
		changed := s.Engine.Changed()
		request, err := s.Store.Request(r.Context(), id)
		if err != nil {
			return nil, err
		}
		file, err := s.Logs.Open(r.Context(), id)
		if sdk.CodeOf(err) != sdk.NotFound || request.Final() {
			return file, err
		}
		if !s.pause(r, changed, nil) {
			return nil, nil
		}
	}
}

// follow copies a log until its request has ended and nothing is left to read. A
// log that cannot be read for a while is waited for.
func (s *server) follow(w http.ResponseWriter, r *http.Request, id int64, file io.Reader) {
	flush := http.NewResponseController(w).Flush
	for {
		changed := s.Engine.Changed()
		request, err := s.Store.Request(r.Context(), id)
		if err != nil {
			return
		}
		_, err = io.Copy(w, file)
		_ = flush()
		if err != nil && (request.Final() || sdk.CodeOf(err) != sdk.Unavailable) {
			abort(r, err)
		}
		if request.Final() || !s.pause(r, changed, nil) {
			return
		}
	}
}

// artifact is GET /builds/{id}/<artifact>.
func (s *server) artifact(w http.ResponseWriter, r *http.Request) error {
	id, err := requestID(r)
	if err != nil {
		return err
	}
	request, err := s.Store.Request(r.Context(), id)
	if err != nil {
		return err
	}
	lineup, release := s.Roster.Acquire()
	handler, ok := lineup.Handler(request.Type)
	release()
	doc, has := handler.Artifact(lastPart(r.URL.Path))
	if !ok || !has {
		return sdk.Errorf(sdk.Invalid, "request %d is of type %s, which has no %s", id, request.Type, lastPart(r.URL.Path))
	}
	if doc.Parameter {
		w.Header().Set("Content-Type", doc.ContentType)
		_, _ = io.WriteString(w, core.FieldText(request.Fields, doc.Name))
		return nil
	}
	if !request.Final() {
		return sdk.Errorf(sdk.Invalid, "request %d has not ended yet, so its %s is not complete", id, doc.Name)
	}
	file, err := s.Artifacts.Open(r.Context(), id, doc.Name)
	if err != nil {
		return s.missing(err, request, doc.Name)
	}
	defer file.Close()
	w.Header().Set("Content-Type", doc.ContentType)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	send(w, r, file)
	return nil
}

// send copies a file. If it cannot be read to its end the connection breaks, so
// that nobody takes a part for the whole.
func send(w http.ResponseWriter, r *http.Request, file io.Reader) {
	if _, err := io.Copy(w, file); err != nil {
		abort(r, err)
	}
}

// abort breaks the connection.
func abort(r *http.Request, err error) {
	logger(r).Warn("an answer was broken off", "err", err)
	panic(http.ErrAbortHandler)
}

// missing tells a file that was removed in time from one that should be there.
func (s *server) missing(err error, request *core.Request, what string) error {
	if sdk.CodeOf(err) != sdk.NotFound {
		return err
	}
	if time.Now().After(request.Expires(s.Settings().Keep)) {
		return &statusError{status: http.StatusGone, message: fmt.Sprintf("The %s of request %d has expired and was removed.", what, request.ID)}
	}
	text := fmt.Sprintf("The %s of request %d is missing.", what, request.ID)
	if organization := core.FieldText(request.Fields, "organization"); organization != "" {
		text += fmt.Sprintf(" Look at the customizations of organization %s: a step that writes it may not be among them.", organization)
	}
	return &statusError{status: http.StatusInternalServerError, message: text}
}
