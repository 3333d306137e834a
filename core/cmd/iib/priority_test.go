package main

import (
	"strings"
	"testing"
	"time"

	"github.com/iib-engine/iib/core"
)

// A process with one slot runs what waits in the queue of a higher priority first.
func TestQueuesShareTheSlotsOfAWorkerByPriority(t *testing.T) {
	t.Parallel()
	config := `
queue "urgent" {
  priority = 9
}
queue "patient" {}
user "ada@DOMAIN.LOCAL" { queue = "urgent" }
user "bob@DOMAIN.LOCAL" { queue = "patient" }
` + actor(t, t.TempDir(), "handler", "actor-scribe")
	shipped := strings.Replace(shippedWithout(t, `identity "none" {}`), "server {", "server {\n  concurrency = 1", 1)
	p := startWith(t, shipped+contractConfig+config, t.TempDir())
	held := p.submitLines("bob@DOMAIN.LOCAL", 2000)
	for range poll(t) {
		if p.queue("patient").Running == 1 {
			break
		}
	}
	var patient []int64
	for range 3 {
		patient = append(patient, p.submitLines("bob@DOMAIN.LOCAL", 10))
	}
	urgent := p.submitLines("ada@DOMAIN.LOCAL", 10)
	var begun time.Time
	for i, id := range append([]int64{held, urgent}, patient...) {
		if build := p.wait(id); build["state"] != string(core.Complete) {
			t.Fatalf("%v", build)
		}
		begin, end := p.ran(id)
		if i < 3 && begin.Before(begun) {
			t.Errorf("request %v began at %s, before %s", id, begin, begun)
		}
		if i < 2 {
			begun = end
		}
	}
}
