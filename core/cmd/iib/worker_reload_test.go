package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// submitEmpty submits a request of a type that needs no parameters.
func (p *process) submitEmpty(requestType string) any {
	p.t.Helper()
	status, answer := p.post("/api/v1/builds/"+requestType, "{}")
	if status != http.StatusCreated {
		p.t.Fatalf("%s: %d %v", requestType, status, answer)
	}
	return answer["id"]
}

// awaitRunning returns when so many requests of a queue run.
func (p *process) awaitRunning(queue string, want int64) {
	p.t.Helper()
	for range poll(p.t) {
		if p.queue(queue).Running == want {
			return
		}
	}
}

// A worker that reads its configuration again goes on with what it runs, under
// the plugins that this began with, and begins the rest under the new queues and
// plugins.
func TestAWorkerThatRunsRequestsReadsItsConfigurationAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	handler := actor(t, dir, "handler", "actor-gated")
	hold := actor(t, dir, "gate", "gate-wait", `requests = ["gated-wait"]`)
	removed := actor(t, dir, "gate", "removed-allow", `requests = ["gated-wait", "gated-free"]`)
	added := actor(t, dir, "gate", "added-allow", `requests = ["gated-wait", "gated-free"]`)
	changed := actor(t, dir, "gate", "changed-allow", `requests = ["gated-wait"]`)
	narrow := "queue \"narrow\" {\n  concurrency = 1\n  requests = [\"gated-wait\"]\n}\n"
	before := narrow + handler + hold + removed + changed
	c := startCluster(t, 1, before)
	first, second := c.submitEmpty("gated-wait"), c.submitEmpty("gated-wait")
	for range poll(t) {
		if _, err := os.Stat(filepath.Join(dir, "gate-wait.asked")); err == nil {
			break
		}
	}
	if q := c.queue("narrow"); q.Running != 1 || q.Waiting != 1 {
		t.Fatalf("%d requests run and %d wait in a queue that runs one", q.Running, q.Waiting)
	}

	text, err := os.ReadFile(c.config)
	if err != nil {
		t.Fatal(err)
	}
	next := strings.Replace(string(text), before, strings.Replace(narrow, "concurrency = 1", "concurrency = 2", 1)+
		"queue \"added\" {\n  concurrency = 1\n  requests = [\"gated-free\"]\n}\n"+handler+hold+
		strings.Replace(changed, `"gated-wait"`, `"gated-free"`, 1)+added, 1)
	c.workers[0].reload(next)
	c.awaitRunning("narrow", 2)
	c.process.reload(next)
	third := c.submitEmpty("gated-free")
	if build := c.wait(third); build["state"] != "complete" {
		t.Errorf("a request of the new queue: %v", build)
	}
	if q := c.queue("narrow"); q.Running != 2 {
		t.Errorf("%d requests run where two are held", q.Running)
	}
	if err := os.WriteFile(filepath.Join(dir, "gate-wait.go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, r := range []struct {
		what  string
		id    any
		gates []string
	}{
		{"the request that ran at the time", first, []string{"gate-wait", "removed-allow", "changed-allow"}},
		{"the one that waited", second, []string{"gate-wait", "added-allow"}},
		{"the one of the new queue", third, []string{"changed-allow", "added-allow"}},
	} {
		if build := c.wait(r.id); build["state"] != "complete" {
			t.Errorf("%s: %v", r.what, build)
		}
		_, log := c.get(fmt.Sprintf("/api/v1/builds/%v/logs", r.id))
		for _, gate := range []string{"gate-wait", "removed-allow", "changed-allow", "added-allow"} {
			wanted := false
			for _, g := range r.gates {
				wanted = wanted || g == gate
			}
			if strings.Contains(string(log), "gate "+gate+" allowed the request") != wanted {
				t.Errorf("%s and gate %s: asked should be %t in\n%s", r.what, gate, wanted, log)
			}
		}
		if attempt := attemptLine.FindAllStringSubmatch(string(log), -1); len(attempt) != 1 {
			t.Errorf("%s was run %d times", r.what, len(attempt))
		}
	}
}

// `iib worker --concurrency 1` runs one request at a time over all queues, and
// the queue of the higher priority goes first.
func TestAWorkerWithOneSlotRunsTheUrgentQueueFirst(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := startCluster(t, 0, `
queue "urgent" {
  priority = 9
  requests = ["gated-free"]
}
queue "patient" {
  requests = ["lines"]
}
`+actor(t, dir, "handler", "actor-gated")+actor(t, dir, "handler", "actor-scribe"))
	c.add("--concurrency", "1")
	ids := []any{c.submitLines("", 2000)}
	c.awaitRunning("patient", 1)
	var patient []any
	for range 3 {
		patient = append(patient, c.submitLines("", 10))
	}
	ids = append(append(ids, c.submitEmpty("gated-free")), patient...)
	for i, id := range ids {
		if build := c.wait(id); build["state"] != "complete" {
			t.Fatalf("%v", build)
		}
		if i == 0 {
			continue
		}
		_, end := c.ran(ids[i-1])
		if begin, _ := c.ran(id); begin.Before(end) {
			t.Errorf("request %v began at %s, before request %v had ended at %s", id, begin, ids[i-1], end)
		}
	}
}
