package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"
)

// One user has 200 requests in a queue that runs one at a time, and the single
// request of another does not wait for them.
func TestNobodyWaitsForAllRequestsOfAnother(t *testing.T) {
	t.Parallel()
	p := startWith(t, shippedWithout(t, `identity "none" {}`)+contractConfig+`
queue "narrow" {
  concurrency = 1
  requests    = ["lines"]
}
`+actor(t, t.TempDir(), "handler", "actor-scribe"), t.TempDir())
	var theirs []int64
	for range 200 {
		theirs = append(theirs, p.submitLines("ada", 20))
	}
	mine := p.submitLines("bob", 20)
	submitted := time.Now()
	for _, id := range []int64{mine, theirs[len(theirs)-1]} {
		if build := p.wait(id); build["state"] != "complete" {
			t.Fatalf("%v", build)
		}
	}
	begin, _ := p.ran(mine)
	before, after := 0, 0
	for _, id := range theirs {
		switch theirBegin, _ := p.ran(id); {
		case theirBegin.After(begin):
			after++
		case theirBegin.After(submitted):
			before++
		}
	}
	// One may have been taken before the submission was answered.
	if before > 1 || after < 10 {
		t.Errorf("%d requests of another user went first after it was submitted, and %d waited longer", before, after)
	}
}

// submitLines submits a request of a user for the example handler, which takes so
// long.
func (p *process) submitLines(user string, milliseconds int) int64 {
	p.t.Helper()
	body := fmt.Sprintf(`{"Lines": 1, "Milliseconds": %d}`, milliseconds)
	status, _, answer := p.do(http.MethodPost, "/api/v1/builds/lines", body, map[string]string{identityHeader: user})
	var build struct{ ID int64 }
	if err := json.Unmarshal(answer, &build); err != nil || status != http.StatusCreated {
		p.t.Fatalf("%d: %s", status, answer)
	}
	return build.ID
}
