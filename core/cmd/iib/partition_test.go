package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A worker that cannot reach the database loses its request to another one. It
// does not know that until its own clock tells it, and whatever it still does
// when the database is back has no effect.
func TestAWorkerThatIsCutOffFromTheDatabase(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 0, "")
	i := slices.IndexFunc(c.env, func(v string) bool { return strings.HasPrefix(v, "IIB_DATABASE_URL=") })
	direct := slices.Clone(c.env)
	cable, through := newCable(t, strings.TrimPrefix(c.env[i], "IIB_DATABASE_URL="))
	c.env[i] = "IIB_DATABASE_URL=" + through
	cutOff := c.add()
	c.env = direct

	specs, list := c.bundles(1, 1)
	index := c.emptyIndex("partition:v4.14", fileBased, false)
	id, open := c.addHeld(index, specs[0])
	log := c.followed(id)
	if first, attempt := c.holder(log, 1); c.workers[first] != cutOff || attempt != "1" {
		t.Fatalf("attempt %s on worker %d", attempt, first)
	}
	before := len(c.tagHistory(index))
	cable.set(true)
	began := time.Now()
	c.add()
	if second, attempt := c.holder(log, 2); c.workers[second] == cutOff || attempt != "2" {
		t.Errorf("attempt %s on worker %d", attempt, second)
	}
	// The other worker had to start first, and to see the claim stand still.
	if waited := time.Since(began); waited > 2*takeover {
		t.Errorf("the request waited %s for another worker", waited)
	}
	// Both go on at the same moment: the one that has lost the request and the
	// other one.
	open()
	build := c.wait(id)
	if build["state"] != "complete" {
		t.Fatalf("%v", build["state_reason"])
	}
	cable.set(false)
	for range poll(t) {
		if strings.Contains(log.String(), "another worker took the request over") {
			break
		}
	}
	if diff := cmp.Diff(names(list), c.contents(index)); diff != "" {
		t.Error(diff)
	}
	if moves := len(c.tagHistory(index)) - before; moves != 1 {
		t.Errorf("the tag was moved %d times", moves)
	}
	after := c.wait(id)
	if diff := cmp.Diff(build["state_history"], after["state_history"]); diff != "" {
		t.Errorf("after the end: %s", diff)
	}

	// It works on with the database back.
	for _, w := range c.workers {
		if w != cutOff {
			w.stop()
		}
	}
	more, list2 := c.bundles(2, 1)
	c.submit("add", map[string]any{"bundles": more, "from_index": index, "overwrite_from_index": true})
	if diff := cmp.Diff(names(list, list2), c.contents(index)); diff != "" {
		t.Error(diff)
	}
}
