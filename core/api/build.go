package api

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// get is GET /builds/{id}. With ?wait=SECONDS the answer comes when the
// request has ended, or the time is over.
func (s *server) get(w http.ResponseWriter, r *http.Request) error {
	id, err := requestID(r)
	if err != nil {
		return err
	}
	wait, err := waitFor(r, s.Settings().MaxWait)
	if err != nil {
		return err
	}
	deadline := time.NewTimer(wait)
	defer deadline.Stop()
	for {
		changed := s.Engine.Changed()
		request, err := s.Store.Request(r.Context(), id)
		if err != nil {
			return err
		}
		if wait > 0 && !request.Final() && s.pause(r, changed, deadline.C) {
			continue
		}
		answer, err := s.representation(r).JSON(request, true)
		if err != nil {
			return err
		}
		writeJSON(w, http.StatusOK, answer)
		return nil
	}
}

// followPoll bounds how late a change that another process made is seen.
const followPoll = 200 * time.Millisecond

// pause waits for something to change and reports whether it is worth looking
// again: not when the caller left or its time is over.
func (s *server) pause(r *http.Request, changed <-chan struct{}, over <-chan time.Time) bool {
	poll := time.NewTimer(followPoll)
	defer poll.Stop()
	select {
	case <-changed:
		return true
	case <-poll.C:
		return true
	case <-over:
		return false
	case <-r.Context().Done():
		return false
	}
}

// waitFor reads ?wait=SECONDS; longer than longest is as long as that.
func waitFor(r *http.Request, longest time.Duration) (time.Duration, error) {
	text := r.URL.Query().Get("wait")
	if text == "" {
		return 0, nil
	}
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil || !(seconds >= 0) {
		return 0, sdk.FieldErrorf("wait", "wait must be a number of seconds, not %q", text)
	}
	return time.Duration(min(seconds, longest.Seconds()) * float64(time.Second)), nil
}

// patch is PATCH /builds/{id}, for outside workers (contract, section 5).
func (s *server) patch(w http.ResponseWriter, r *http.Request) error {
	user, err := s.caller(r)
	if err != nil {
		return err
	}
	settings := s.Settings()
	if user != "" && !slices.Contains(settings.Workers, user) {
		return sdk.Errorf(sdk.Denied, "only workers may change a request, and %s is not listed as one", user)
	}
	body, err := readObject(w, r, settings.MaxBody)
	if err != nil {
		return err
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(body, &keys); err != nil || len(keys) == 0 {
		return sdk.Errorf(sdk.Invalid, "the body must be a JSON object with at least one key")
	}
	id, err := requestID(r)
	if err != nil {
		return err
	}
	request, err := s.Engine.Patch(r.Context(), id, keys)
	if err != nil {
		return err
	}
	answer, err := s.representation(r).JSON(request, true)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

// cancel is POST /builds/{id}/cancel.
func (s *server) cancel(w http.ResponseWriter, r *http.Request) error {
	user, err := s.caller(r)
	if err != nil {
		return err
	}
	id, err := requestID(r)
	if err != nil {
		return err
	}
	current, err := s.Store.Request(r.Context(), id)
	if err != nil {
		return err
	}
	if user != "" && user != current.User && !slices.Contains(s.Settings().Workers, user) {
		return sdk.Errorf(sdk.Denied, "request %d was submitted by somebody else: only its submitter or a worker may cancel it", id)
	}
	by := user
	if by == "" {
		by = "an anonymous caller"
	}
	request, err := s.Engine.Cancel(r.Context(), id, "The request was cancelled by "+by+".")
	if err != nil {
		if sdk.ReasonOf(err) == core.ReasonFinal {
			return &statusError{status: http.StatusConflict, message: err.Error()}
		}
		return err
	}
	answer, err := s.representation(r).JSON(request, true)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

func requestID(r *http.Request) (int64, error) {
	id, err := strconv.ParseInt(mux.Vars(r)["id"], 10, 64)
	if err != nil || id == 0 {
		// Digits only, so this is a number that no request has.
		return 0, errUnknown
	}
	return id, nil
}

// representation renders for the client of this request.
func (s *server) representation(r *http.Request) *core.Representation {
	settings := s.Settings()
	lineup, release := s.Roster.Acquire()
	release()
	return &core.Representation{
		BaseURL: baseURL(r, settings),
		Keep:    settings.Keep,
		Logs:    settings.KeepLogs,
		Handler: func(requestType string) (*core.HandlerType, bool) {
			h, ok := lineup.Handler(requestType)
			return &h.HandlerType, ok
		},
	}
}

// baseURL is the scheme and host by which the client reached us.
func baseURL(r *http.Request, settings *Settings) string {
	if settings.ExternalURL != "" {
		return strings.TrimSuffix(settings.ExternalURL, "/")
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + r.Host
}
