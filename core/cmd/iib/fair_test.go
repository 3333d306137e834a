package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// One user has 200 requests in a queue that runs one at a time, and the single
// request of another does not wait for them.
func TestNobodyWaitsForAllRequestsOfAnother(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "actor-scribe")
	if err := os.Symlink(example(t, "actor"), path); err != nil {
		t.Fatal(err)
	}
	p := startWith(t, shippedWithout(t, `identity "none" {}`)+contractConfig+fmt.Sprintf(`
queue "narrow" {
  concurrency = 1
  requests    = ["lines"]
}
plugin "scribe" {
  kind = "handler"
  path = %q
}
`, path), t.TempDir())
	submit := func(user string) (id int64, submitted time.Time) {
		t.Helper()
		status, _, body := p.do(http.MethodPost, "/api/v1/builds/lines", `{"Lines": 1, "Milliseconds": 20}`, map[string]string{identityHeader: user})
		var answer struct{ ID int64 }
		if err := json.Unmarshal(body, &answer); err != nil || status != http.StatusCreated {
			t.Fatalf("%d: %s", status, body)
		}
		return answer.ID, time.Now()
	}
	var theirs []int64
	for range 200 {
		id, _ := submit("ada")
		theirs = append(theirs, id)
	}
	mine, submitted := submit("bob")
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
