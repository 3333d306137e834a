package api

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/gorilla/mux"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// Queue is a queue of the configuration.
type Queue struct {
	Name string
	// Concurrency is what runs in one process at once.
	Concurrency, Priority int
}

// queues is GET /queues: how those stand that are configured, and others that
// have something left.
func (s *server) queues(w http.ResponseWriter, r *http.Request) error {
	if _, err := s.caller(r); err != nil {
		return err
	}
	standings, err := s.Store.Queues(r.Context())
	if err != nil {
		return err
	}
	type queue struct {
		Name    string `json:"name"`
		Waiting int64  `json:"waiting"`
		// Ready are those of the waiting that could begin now.
		Ready   int64 `json:"ready"`
		Running int64 `json:"running"`
		// Concurrency and Priority are null for a queue that is not configured.
		Concurrency *int    `json:"concurrency"`
		Priority    *int    `json:"priority"`
		Paused      bool    `json:"paused"`
		PausedBy    *string `json:"paused_by"`
		PausedSince *string `json:"paused_since"`
		PauseReason *string `json:"pause_reason"`
	}
	items := []queue{}
	configured := s.Settings().Queues
	for _, q := range configured {
		items = append(items, queue{Name: q.Name, Concurrency: &q.Concurrency, Priority: &q.Priority})
	}
	for _, st := range standings {
		i := slices.IndexFunc(items, func(q queue) bool { return q.Name == st.Name })
		if i < 0 {
			i, items = len(items), append(items, queue{Name: st.Name})
		}
		items[i].Waiting, items[i].Ready, items[i].Running = st.Waiting, st.Ready, st.Running
		if p := st.Pause; p != nil {
			items[i].Paused = true
			items[i].PausedBy, items[i].PausedSince, items[i].PauseReason = orNull(p.By), timeOrNull(p.Since), orNull(p.Reason)
		}
	}
	writeJSON(w, http.StatusOK, map[string]any{"items": items})
	return nil
}

// pauseQueue is POST /queues/{name}/pause: nothing of it begins any more.
func (s *server) pauseQueue(w http.ResponseWriter, r *http.Request) error {
	name, user, err := s.operatedQueue(r)
	if err != nil {
		return err
	}
	body, err := readObject(w, r, s.Settings().MaxBody)
	if err != nil {
		return err
	}
	var choice struct {
		Reason string `json:"reason"`
	}
	decoder := json.NewDecoder(strings.NewReader(string(body)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&choice); err != nil {
		return sdk.Errorf(sdk.Invalid, "the body may have the text reason: %v", err)
	}
	if err := s.Engine.PauseQueue(r.Context(), name, user, choice.Reason); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// resumeQueue is POST /queues/{name}/resume.
func (s *server) resumeQueue(w http.ResponseWriter, r *http.Request) error {
	name, user, err := s.operatedQueue(r)
	if err != nil {
		return err
	}
	if err := s.Engine.ResumeQueue(r.Context(), name, user); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// operatedQueue returns the queue of a path, for a caller who may pause it: one
// that is configured, or has something left.
func (s *server) operatedQueue(r *http.Request) (name, user string, err error) {
	if err := s.mayOperate(r); err != nil {
		return "", "", err
	}
	if user, err = s.caller(r); err != nil {
		return "", "", err
	}
	name = mux.Vars(r)["name"]
	if slices.ContainsFunc(s.Settings().Queues, func(q Queue) bool { return q.Name == name }) {
		return name, user, nil
	}
	standings, err := s.Store.Queues(r.Context())
	if err != nil {
		return "", "", err
	}
	if !slices.ContainsFunc(standings, func(q core.QueueStanding) bool { return q.Name == name }) {
		return "", "", sdk.Errorf(sdk.NotFound, "there is no queue %q", name)
	}
	return name, user, nil
}
