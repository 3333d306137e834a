package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/iib-engine/iib/sdk/image/imagetest"
)

// decisions is a Greenwave: by the name, version and release of a build it
// knows which test case failed. It may be down.
type decisions struct {
	url string

	mu     sync.Mutex
	failed map[string]string
	down   bool
	asked  map[string]int
}

func newDecisions(t *testing.T) *decisions {
	t.Helper()
	d := &decisions{failed: make(map[string]string), asked: make(map[string]int)}
	server := httptest.NewServer(http.HandlerFunc(d.decide))
	t.Cleanup(server.Close)
	d.url = server.URL
	return d
}

func (d *decisions) decide(w http.ResponseWriter, r *http.Request) {
	var question struct {
		Context string `json:"decision_context"`
		Subject string `json:"subject_identifier"`
	}
	if err := json.NewDecoder(r.Body).Decode(&question); err != nil || question.Context != "operator_index_prod" {
		http.Error(w, `{"message": "Missing required decision context"}`, http.StatusBadRequest)
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked[question.Subject]++
	if d.down {
		http.Error(w, "the database is away", http.StatusServiceUnavailable)
		return
	}
	unsatisfied := []any{}
	if testcase := d.failed[question.Subject]; testcase != "" {
		unsatisfied = append(unsatisfied, map[string]string{"type": "test-result-failed", "testcase": testcase})
	}
	_ = json.NewEncoder(w).Encode(map[string]any{
		"policies_satisfied": len(unsatisfied) == 0, "unsatisfied_requirements": unsatisfied,
	})
}

func (d *decisions) set(down bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.down = down
}

// fail makes a build fail a test case; an empty one makes it pass.
func (d *decisions) fail(subject, testcase string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failed[subject] = testcase
}

func (d *decisions) times(subject string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked[subject]
}

func TestGreenwaveGatesAdd(t *testing.T) {
	d := newDecisions(t)
	shipped, err := os.ReadFile("../../../iib.hcl")
	if err != nil {
		t.Fatal(err)
	}
	// One run of a request, so that its end is not waited for through the
	// pauses between several: within it, the gate is asked again all the same.
	config := strings.Replace(string(shipped), `timeout     = "2h"`, "attempts = 1", 1)
	r := newReleases(t, startWith(t, config+fmt.Sprintf(`
plugin "greenwave" {
  kind     = "gate"
  requests = ["add"]
  config {
    url      = %q
    attempts = 2
    query "default" {
      decision_context = "operator_index_prod"
      product_version  = "operators-1"
    }
  }
}
`, d.url), t.TempDir()))
	_, list := r.bundles(1, 2)
	var specs []string
	for i, b := range list {
		labels := b.Labels()
		labels["com.redhat.component"], labels["version"], labels["release"] = "operator-container", "v"+b.Version, fmt.Sprint(i)
		specs = append(specs, r.push(fmt.Sprintf("gated:v%d", i), imagetest.Image{Labels: labels, Files: b.Files()}))
	}
	unlabelled := r.push("unlabelled:v1", imagetest.Image{Labels: list[0].Labels(), Files: list[0].Files()})
	subject := func(i int) string { return fmt.Sprintf("operator-container-v%s-%d", list[i].Version, i) }
	index := r.emptyIndex("gated-index:v4.14", fileBased, false)
	refused := func(bundles []string, says ...string) string {
		t.Helper()
		build := r.attempt("add", map[string]any{"bundles": bundles, "from_index": index})
		reason, _ := build["state_reason"].(string)
		if build["state"] != "failed" || build["index_image"] != nil {
			t.Errorf("the request is %v and made %v: %s", build["state"], build["index_image"], reason)
		}
		for _, word := range says {
			if !strings.Contains(reason, word) {
				t.Errorf("%q does not tell %q", reason, word)
			}
		}
		return reason
	}

	t.Run("a denial fails the request with its reason", func(t *testing.T) {
		d.fail(subject(1), "dist.abi")
		reason := refused(specs, "Gate greenwave denied the request", "1 of 2 bundles", subject(1)+" (", "dist.abi failed", "submit the request again")
		if strings.Contains(reason, subject(0)) {
			t.Errorf("it blames a bundle that passed: %q", reason)
		}
		d.fail(subject(1), "")
	})
	t.Run("a bundle without the labels is named", func(t *testing.T) {
		reason := refused([]string{unlabelled}, "lacks the labels com.redhat.component, version and release", "unlabelled")
		if strings.Contains(reason, "denied") {
			t.Errorf("it is told as a denial: %q", reason)
		}
	})
	t.Run("an outage is retried and then told as such", func(t *testing.T) {
		before := d.times(subject(0))
		d.set(true)
		reason := refused(specs[:1], "Gate greenwave could not decide", "503 Service Unavailable: the database is away")
		if strings.Contains(reason, "denied") {
			t.Errorf("it is told as a denial: %q", reason)
		}
		if n := d.times(subject(0)) - before; n < 2*2 {
			t.Errorf("it was asked %d times", n)
		}
		d.set(false)
	})
	t.Run("satisfied policies let the request pass", func(t *testing.T) {
		build := r.submit("add", map[string]any{"bundles": specs, "from_index": index})
		if got := r.contents(build["index_image"].(string)); len(got[list[0].Package]) != 2 {
			t.Errorf("the index has %v", got)
		}
	})
	t.Run("requests of other types are not asked about", func(t *testing.T) {
		before := d.times(subject(0))
		d.set(true)
		r.submit("create-empty-index", map[string]any{"from_index": index, "output_fbc": true})
		if n := d.times(subject(0)) - before; n != 0 {
			t.Errorf("it was asked %d times", n)
		}
	})
}
