package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// ran is when a request's log begins and ends.
func (p *process) ran(id any) (begin, end time.Time) {
	p.t.Helper()
	_, log := p.get(fmt.Sprintf("/api/v1/builds/%v/logs", id))
	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	for i, at := range map[int]*time.Time{0: &begin, len(lines) - 1: &end} {
		stamp, _, _ := strings.Cut(lines[i], " ")
		var err error
		if *at, err = time.Parse("2006-01-02T15:04:05.000000Z", stamp); err != nil {
			p.t.Fatalf("request %v logged %q", id, lines[i])
		}
	}
	return begin, end
}

func TestASerialQueueRunsItsRequestsOneAfterAnother(t *testing.T) {
	t.Parallel()
	p := startServer(t, `
queue "one-by-one" {
  concurrency = 4
  serial      = "queue"
  requests    = ["lines"]
}
`+actor(t, t.TempDir(), "handler", "actor-scribe"))
	var ids []any
	for range 5 {
		status, build := p.post("/api/v1/builds/lines", `{"Lines": 10, "Milliseconds": 10}`)
		if status != http.StatusCreated {
			t.Fatalf("%d: %v", status, build)
		}
		ids = append(ids, build["id"])
	}
	var last time.Time
	for _, id := range ids {
		if build := p.wait(id); build["state"] != "complete" {
			t.Fatalf("%v", build)
		}
		begin, end := p.ran(id)
		if begin.Before(last) {
			t.Errorf("request %v began at %s, and the one before it ended at %s", id, begin, last)
		}
		if pause := begin.Sub(last); !last.IsZero() && pause > 5*time.Second {
			t.Errorf("request %v began %s after the one before it had ended", id, pause)
		}
		last = end
	}
}
