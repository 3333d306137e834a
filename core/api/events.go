package api

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// eventBatch bounds how many events are read at once, keepAlive how long a
// quiet stream stays silent.
const (
	eventBatch = 500
	keepAlive  = 15 * time.Second
)

// events is GET /events: every event of the engine as server-sent events,
// from now on or after Last-Event-ID.
func (s *server) events(w http.ResponseWriter, r *http.Request) error {
	last, err := s.Store.LastEvent(r.Context())
	if err != nil {
		return err
	}
	return s.stream(w, r, last, s.Store.EventsAfter, false, nil)
}

// requestEvents is GET /builds/{id}/events: the events of one request from
// its beginning, until it has ended.
func (s *server) requestEvents(w http.ResponseWriter, r *http.Request) error {
	id, err := requestID(r)
	if err != nil {
		return err
	}
	request, err := s.Store.Request(r.Context(), id)
	if err != nil {
		return err
	}
	read := func(ctx context.Context, after int64, limit int) ([]core.Event, error) {
		return s.Store.RequestEventsAfter(ctx, id, after, limit)
	}
	return s.stream(w, r, 0, read, request.Final(), func(e *core.Event) bool { return e.State.Final() })
}

// stream sends events as they come, until the caller leaves, or nothing follows
// an event that ends says is the last. Ended tells that this was so from the
// beginning.
func (s *server) stream(w http.ResponseWriter, r *http.Request, after int64,
	read func(context.Context, int64, int) ([]core.Event, error), ended bool, ends func(*core.Event) bool) error {
	if text := r.Header.Get("Last-Event-ID"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 0 {
			return sdk.FieldErrorf("Last-Event-ID", "Last-Event-ID %q is not an event's number", text)
		}
		after = n
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-cache")
	w.WriteHeader(http.StatusOK)
	flush := http.NewResponseController(w).Flush
	_ = flush()
	representation := s.representation(r)
	spoken := time.Now()
	for {
		changed := s.Engine.Changed()
		events, err := read(r.Context(), after, eventBatch)
		if err != nil {
			return nil
		}
		for i := range events {
			e := &events[i]
			body, err := representation.EventBody(e)
			if err != nil {
				return nil
			}
			if _, err := fmt.Fprintf(w, "id: %d\nevent: %s\ndata: %s\n\n", e.Sequence, e.Kind, body); err != nil {
				return nil
			}
			after, spoken = e.Sequence, time.Now()
			ended = ends != nil && ends(e)
		}
		if len(events) == 0 {
			if ended {
				return nil
			}
			if time.Since(spoken) > keepAlive {
				_, _ = fmt.Fprint(w, ": still here\n\n")
				spoken = time.Now()
			}
		}
		_ = flush()
		if len(events) == 0 && !s.pause(r, changed, nil) {
			return nil
		}
	}
}
