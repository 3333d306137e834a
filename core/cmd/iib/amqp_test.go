package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/sdk/sdktest/rabbitmq"
)

// TestABrokerThatIsDownMissesNothing runs requests while the broker is down:
// IIB_AMQP_REQUESTS of them, or a few.
func TestABrokerThatIsDownMissesNothing(t *testing.T) {
	rabbitmq.Need(t)
	requests := 30
	if n, err := strconv.Atoi(os.Getenv("IIB_AMQP_REQUESTS")); err == nil {
		requests = n
	}
	broker := rabbitmq.New(t)
	cert, key := broker.Authority.Issue(rabbitmq.User)
	p := startServer(t, fmt.Sprintf(`
plugin "amqp-notify" {
  kind = "notifier"
  config {
    urls              = [%q]
    build_destination = %q
    batch_destination = %q
    ca_file           = %q
    cert_file         = %q
    key_file          = %q
  }
}
`, broker.Secure(), rabbitmq.BuildQueue, rabbitmq.BatchQueue, broker.Authority.CA, cert, key))
	r := newReleases(t, p)
	broker.Kill()

	none := r.registry() + "/release/none:v4.14"
	var all sync.WaitGroup
	work := make(chan struct{}, requests)
	for range requests {
		work <- struct{}{}
	}
	close(work)
	for range 4 {
		all.Go(func() {
			for range work {
				r.attempt("create-empty-index", map[string]any{"from_index": none, "output_fbc": true})
			}
		})
	}
	all.Wait()
	broker.Start(t)

	stored := make(map[int][]string)
	states := 0
	for id := 1; id <= requests; id++ {
		stored[id] = r.stateHistory(id)
		states += len(stored[id])
	}
	told := make(map[int][]string)
	last := make(map[int]map[string]any)
	seen := make(map[any]bool)
	for _, m := range broker.Receive(t, rabbitmq.BuildQueue, states) {
		if seen[m.CorrelationID.Value] {
			t.Errorf("a message came twice: %v", m.Body.Value)
		}
		seen[m.CorrelationID.Value] = true
		var body map[string]any
		if err := json.Unmarshal([]byte(m.Body.Value.(string)), &body); err != nil {
			t.Fatal(err)
		}
		id := int(m.Properties["id"].Value.(float64))
		told[id] = append(told[id], fmt.Sprint(body["state"], ": ", body["state_reason"]))
		last[id] = body
	}
	if diff := cmp.Diff(stored, told); diff != "" {
		t.Errorf("states that happened and were told (-want +got):\n%s", diff)
	}
	batches := make(map[any][]any)
	for _, m := range broker.Receive(t, rabbitmq.BatchQueue, 2*requests) {
		batch := m.Properties["batch"].Value
		batches[batch] = append(batches[batch], m.Properties["state"].Value)
	}
	for batch, states := range batches {
		if diff := cmp.Diff([]any{"in_progress", "failed"}, states); diff != "" || len(batches) != requests {
			t.Errorf("batch %v of %d (-want +got):\n%s", batch, len(batches), diff)
		}
	}

	var list struct{ Items []map[string]any }
	_, raw := r.get("/api/v1/builds?per_page=20")
	if err := json.Unmarshal(raw, &list); err != nil || len(list.Items) == 0 {
		t.Fatalf("%v: %s", err, raw)
	}
	for _, item := range list.Items {
		if diff := cmp.Diff(item, last[int(item["id"].(float64))]); diff != "" {
			t.Errorf("the last message of request %v is not what the API shows (-want +got):\n%s", item["id"], diff)
		}
	}
}

// stateHistory returns the states of a request with their reasons, oldest first.
func (r *releases) stateHistory(id int) []string {
	r.t.Helper()
	_, raw := r.get(fmt.Sprintf("/api/v1/builds/%d", id))
	var build struct {
		History []struct {
			State  string
			Reason string `json:"state_reason"`
		} `json:"state_history"`
	}
	if err := json.Unmarshal(raw, &build); err != nil {
		r.t.Fatal(err)
	}
	var states []string
	for _, h := range slices.Backward(build.History) {
		states = append(states, h.State+": "+h.Reason)
	}
	return states
}
