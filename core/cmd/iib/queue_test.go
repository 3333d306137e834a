package main

import (
	"encoding/json"
	"net/http"
	"testing"
)

// queueItem is what the API tells of a queue.
type queueItem struct {
	Name                    string
	Waiting, Ready, Running int64
	Concurrency, Priority   int
	Paused                  bool
	PausedBy                string `json:"paused_by"`
	PauseReason             string `json:"pause_reason"`
}

// queue is how a queue stands.
func (p *process) queue(name string) queueItem {
	p.t.Helper()
	status, _, body := p.do(http.MethodGet, "/api/v1/queues", "", map[string]string{identityHeader: worker})
	var answer struct{ Items []queueItem }
	if err := json.Unmarshal(body, &answer); err != nil || status != http.StatusOK {
		p.t.Fatalf("%d %s", status, body)
	}
	for _, q := range answer.Items {
		if q.Name == name {
			return q
		}
	}
	p.t.Fatalf("there is no queue %s in %s", name, body)
	return queueItem{}
}

// operate pauses or resumes a queue.
func (p *process) operate(name, verb, body, user string, want int) {
	p.t.Helper()
	status, _, answer := p.do(http.MethodPost, "/api/v1/queues/"+name+"/"+verb, body, map[string]string{identityHeader: user})
	if status != want {
		p.t.Errorf("%s of %s by %q: %d %s, want %d", verb, name, user, status, answer, want)
	}
}

func TestAPausedQueueAcceptsAndStartsNothing(t *testing.T) {
	t.Parallel()
	p := startWith(t, shippedWithout(t, `identity "none" {}`)+contractConfig+`
queue "narrow" {
  concurrency = 2
  priority    = 3
  requests    = ["lines"]
}
`+actor(t, t.TempDir(), "handler", "actor-scribe"), t.TempDir())
	running := p.submitLines(jane, 1000)
	for range poll(t) {
		if p.queue("narrow").Running == 1 {
			break
		}
	}
	p.operate("narrow", "pause", `{"reason": "the registry moves"}`, jane, http.StatusForbidden)
	p.operate("narrow", "pause", `{"why": "x"}`, worker, http.StatusBadRequest)
	p.operate("nowhere", "pause", `{}`, worker, http.StatusNotFound)
	p.operate("narrow", "pause", `{"reason": "the registry moves"}`, worker, http.StatusNoContent)
	waiting := p.submitLines(jane, 1)
	if build := p.wait(running); build["state"] != "complete" {
		t.Fatalf("what ran when the queue was paused: %v", build)
	}
	want := queueItem{Name: "narrow", Waiting: 1, Concurrency: 2, Priority: 3, Paused: true, PausedBy: worker, PauseReason: "the registry moves"}
	if got := p.queue("narrow"); got != want {
		t.Errorf("%+v", got)
	}
	p.stop()
	p.start()
	if got := p.queue("narrow"); got != want {
		t.Errorf("after a restart: %+v", got)
	}
	p.operate("narrow", "resume", "", jane, http.StatusForbidden)
	p.operate("narrow", "resume", "", worker, http.StatusNoContent)
	if build := p.wait(waiting); build["state"] != "complete" {
		t.Fatalf("what waited: %v", build)
	}
	if got := p.queue("narrow"); got.Paused || got.Waiting != 0 {
		t.Errorf("at the end: %+v", got)
	}
}

func TestQueuesOnTheCommandLine(t *testing.T) {
	t.Parallel()
	p := startServer(t, "")
	p.want(exitOK, []string{"queue default is paused"}, "queue", "pause", "default", "--reason", "moving house", "--server", p.url)
	p.want(exitOK, []string{"default", "moving house", "CONCURRENCY"}, "queue", "list", "--server", p.url)
	p.want(exitOK, []string{`"paused": true`}, "queue", "list", "--output", "json", "--server", p.url)
	p.want(exitOK, []string{"queue default is resumed"}, "queue", "resume", "default", "--server", p.url)
	p.want(exitFault, []string{"not found"}, "queue", "pause", "nowhere", "--server", p.url)
}
