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

// undeliveredPage is how many undelivered events one answer has at most.
const undeliveredPage = 500

// notifiers is GET /notifiers: how far each has come.
func (s *server) notifiers(w http.ResponseWriter, r *http.Request) error {
	if _, err := s.caller(r); err != nil {
		return err
	}
	known, err := s.Store.Subscriptions(r.Context())
	if err != nil {
		return err
	}
	type notifier struct {
		Name string `json:"name"`
		// Enabled tells that the configuration has it.
		Enabled       bool    `json:"enabled"`
		Worker        *string `json:"worker"`
		Behind        int64   `json:"behind"`
		Waiting       int64   `json:"waiting"`
		Parked        int64   `json:"parked"`
		LastDelivered *string `json:"last_delivered"`
		LastFailed    *string `json:"last_failed"`
		LastError     *string `json:"last_error"`
	}
	enabled := s.enabledNotifiers()
	items := []notifier{}
	for _, n := range known {
		items = append(items, notifier{
			Name: n.Notifier, Enabled: slices.Contains(enabled, n.Notifier), Worker: orNull(n.Worker),
			Behind: n.Behind, Waiting: n.Waiting, Parked: n.Parked,
			LastDelivered: timeOrNull(n.Delivered), LastFailed: timeOrNull(n.Failed), LastError: orNull(n.Error),
		})
	}
	writeJSON(w, http.StatusOK, map[string]any{"items": items})
	return nil
}

func (s *server) enabledNotifiers() []string {
	lineup, release := s.Roster.Acquire()
	defer release()
	var names []string
	for _, n := range lineup.Notifiers() {
		names = append(names, n.Plugin)
	}
	return names
}

// undelivered is GET /notifiers/{name}/events: what was offered in vain, after
// the event ?after=; what is parked among it.
func (s *server) undelivered(w http.ResponseWriter, r *http.Request) error {
	if _, err := s.caller(r); err != nil {
		return err
	}
	after := int64(0)
	if text := r.URL.Query().Get("after"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 0 {
			return sdk.FieldErrorf("after", "after must be an event's number, not %q", text)
		}
		after = n
	}
	events, err := s.Store.Undelivered(r.Context(), mux.Vars(r)["name"], after, undeliveredPage)
	if err != nil {
		return err
	}
	type event struct {
		ID        string  `json:"id"`
		Kind      string  `json:"kind"`
		Request   *int64  `json:"request"`
		Batch     int64   `json:"batch"`
		State     string  `json:"state"`
		Attempts  int     `json:"attempts"`
		Parked    bool    `json:"parked"`
		NotBefore *string `json:"not_before"`
		Error     string  `json:"error"`
	}
	items := []event{}
	for _, u := range events {
		item := event{
			ID: strconv.FormatInt(u.Sequence, 10), Kind: string(u.Kind), Batch: u.Batch, State: string(u.State),
			Attempts: u.Attempts, Parked: u.Parked, NotBefore: timeOrNull(u.NotBefore), Error: u.Error,
		}
		if u.Request != 0 {
			item.Request = &u.Request
		}
		items = append(items, item)
	}
	writeJSON(w, http.StatusOK, map[string]any{"items": items})
	return nil
}

// replay is POST /notifiers/{name}/replay: what is chosen is delivered again.
func (s *server) replay(w http.ResponseWriter, r *http.Request) error {
	if err := s.mayOperate(r); err != nil {
		return err
	}
	body, err := readObject(w, r, s.Settings().MaxBody)
	if err != nil {
		return err
	}
	var choice struct {
		From    int64 `json:"from"`
		To      int64 `json:"to"`
		Request int64 `json:"request"`
		Batch   int64 `json:"batch"`
		Parked  bool  `json:"parked"`
	}
	decoder := json.NewDecoder(strings.NewReader(string(body)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&choice); err != nil {
		return sdk.Errorf(sdk.Invalid, "the body may have the numbers from, to, request and batch, and parked, which is true or false: %v", err)
	}
	for name, n := range map[string]int64{"from": choice.From, "to": choice.To, "request": choice.Request, "batch": choice.Batch} {
		if n < 0 {
			return sdk.FieldErrorf(name, "%s must not be negative", name)
		}
	}
	if choice.From == 0 && choice.To == 0 && choice.Request == 0 && choice.Batch == 0 && !choice.Parked {
		return sdk.Errorf(sdk.Invalid, "nothing is chosen: give from, to, request, batch or parked")
	}
	count, err := s.Engine.Replay(r.Context(), mux.Vars(r)["name"], core.Replay(choice))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, map[string]int64{"events": count})
	return nil
}

// forget is DELETE /notifiers/{name}.
func (s *server) forget(w http.ResponseWriter, r *http.Request) error {
	if err := s.mayOperate(r); err != nil {
		return err
	}
	if err := s.Engine.Forget(r.Context(), mux.Vars(r)["name"]); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// mayOperate refuses callers who may only submit requests.
func (s *server) mayOperate(r *http.Request) error {
	user, err := s.caller(r)
	if err != nil {
		return err
	}
	if user != "" && !slices.Contains(s.Settings().Workers, user) {
		return sdk.Errorf(sdk.Denied, "only workers may do this, and %s is not listed as one", user)
	}
	return nil
}

func orNull(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

func timeOrNull(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	return orNull(core.FormatTime(t))
}
