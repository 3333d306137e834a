package main

import (
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The queue allows one attempt, and three workers die over the request.
func TestAKilledWorkerCostsARequestNoAttempt(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, "queue \"once\" {\n  attempts = 1\n  requests = [\"add\"]\n}\n")
	specs, list := c.bundles(1, 1)
	index := c.emptyIndex("killers:v4.14", fileBased, false)
	id, open := c.addHeld(index, specs[0])
	log := c.followed(id)
	for death := 1; death <= 3; death++ {
		holder, attempt := c.holder(log, death)
		if attempt != strconv.Itoa(death) {
			t.Errorf("run %d is attempt %s", death, attempt)
		}
		c.add()
		c.workers[holder].kill()
	}
	c.holder(log, 4)
	open()
	if build := c.wait(id); build["state"] != "complete" {
		t.Fatalf("%v\n%s", build["state_reason"], strings.TrimSpace(log.String()))
	}
	if diff := cmp.Diff(names(list), c.contents(index)); diff != "" {
		t.Error(diff)
	}
}
