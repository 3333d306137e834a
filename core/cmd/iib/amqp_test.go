package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/sdk/sdktest/rabbitmq"
)

// amqpNotifier has states sent to a broker.
func amqpNotifier(broker *rabbitmq.Broker) string {
	cert, key := broker.Authority.Issue(rabbitmq.User)
	return fmt.Sprintf(`
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
`, broker.Secure(), rabbitmq.BuildQueue, rabbitmq.BatchQueue, broker.Authority.CA, cert, key)
}

// TestABrokerThatIsDownMissesNothing runs 500 requests while the broker is down.
func TestABrokerThatIsDownMissesNothing(t *testing.T) {
	rabbitmq.Need(t)
	t.Parallel()
	broker := rabbitmq.New(t)
	p := startServer(t, echoes(t, amqpNotifier(broker)))
	broker.Kill()
	ids := p.echo(500)
	for _, id := range ids {
		if state := p.wait(id)["state"]; state != "complete" {
			t.Fatalf("request %d is %v while the broker is down", id, state)
		}
	}
	broker.Start(t)
	heard := newAudience(t, broker)
	last := heard.rest(p, ids)
	if heard.repeated > 0 {
		t.Errorf("%d messages came twice", heard.repeated)
	}

	var list struct{ Items []map[string]any }
	_, raw := p.get("/api/v1/builds?all_types=true&per_page=20")
	if err := json.Unmarshal(raw, &list); err != nil || len(list.Items) == 0 {
		t.Fatalf("%v: %s", err, raw)
	}
	for _, item := range list.Items {
		if diff := cmp.Diff(item, last[int64(item["id"].(float64))]); diff != "" {
			t.Errorf("the last message of request %v is not what the API shows (-want +got):\n%s", item["id"], diff)
		}
	}
}

// TestABrokerIsToldEverythingWhateverDies kills the notifier, the engine and
// the broker between messages.
func TestABrokerIsToldEverythingWhateverDies(t *testing.T) {
	rabbitmq.Need(t)
	t.Parallel()
	broker := rabbitmq.New(t)
	p := startServer(t, echoes(t, amqpNotifier(broker)))
	heard := newAudience(t, broker)
	submitted := make(chan []int64)
	go func() { submitted <- p.echo(100) }()
	heard.take(rabbitmq.BuildQueue, 30)
	p.killPlugin("amqp-notify")
	ids := <-submitted
	heard.take(rabbitmq.BuildQueue, 60)
	p.kill()
	p.start()
	heard.take(rabbitmq.BuildQueue, 60)
	broker.Kill()
	ids = append(ids, p.echo(20)...)
	broker.Start(t)
	for _, id := range ids {
		if state := p.wait(id)["state"]; state != "complete" {
			t.Fatalf("request %d is %v", id, state)
		}
	}
	heard.rest(p, ids)
	t.Logf("%d messages were repetitions", heard.repeated)
}

// audience is what a listener of both queues has heard.
type audience struct {
	t      *testing.T
	broker *rabbitmq.Broker
	// first are the bodies by correlation ID, which is that of the event.
	first    map[any]string
	repeated int
	// builds and batches are the states in the order in which they were heard,
	// without repetitions.
	builds  map[int64][]string
	batches map[int64][]string
	last    map[int64]map[string]any
}

func newAudience(t *testing.T, broker *rabbitmq.Broker) *audience {
	return &audience{t: t, broker: broker, first: map[any]string{}, builds: map[int64][]string{}, batches: map[int64][]string{}, last: map[int64]map[string]any{}}
}

// take hears so many messages.
func (a *audience) take(queue string, count int) {
	a.t.Helper()
	for _, m := range a.broker.Receive(a.t, queue, count) {
		text := m.Body.Value.(string)
		if before, ok := a.first[m.CorrelationID.Value]; ok {
			a.repeated++
			if diff := cmp.Diff(before, text); diff != "" {
				a.t.Errorf("event %v is another the second time:\n%s", m.CorrelationID.Value, diff)
			}
			continue
		}
		a.first[m.CorrelationID.Value] = text
		var body map[string]any
		if err := json.Unmarshal([]byte(text), &body); err != nil {
			a.t.Fatal(err)
		}
		if queue == rabbitmq.BatchQueue {
			batch := int64(m.Properties["batch"].Value.(float64))
			a.batches[batch] = append(a.batches[batch], fmt.Sprint(m.Properties["state"].Value))
			continue
		}
		id := int64(m.Properties["id"].Value.(float64))
		a.builds[id] = append(a.builds[id], fmt.Sprint(body["state"], ": ", body["state_reason"]))
		a.last[id] = body
	}
}

// rest hears what is left and compares all of it with the histories of the
// requests. It returns the last body of each.
func (a *audience) rest(p *process, ids []int64) map[int64]map[string]any {
	a.t.Helper()
	want, batches := make(map[int64][]string), make(map[int64][]string)
	states := 0
	for _, id := range ids {
		var batch int64
		want[id], batch = p.stateHistory(id)
		states += len(want[id])
		batches[batch] = []string{"in_progress", "complete"}
	}
	// What was not heard yet is in the queue, or on its way; repetitions may be
	// between.
	count := func(heard map[int64][]string) (n int) {
		for _, states := range heard {
			n += len(states)
		}
		return n
	}
	for missing := states - count(a.builds); missing > 0; missing = states - count(a.builds) {
		a.take(rabbitmq.BuildQueue, missing)
	}
	for missing := 2*len(batches) - count(a.batches); missing > 0; missing = 2*len(batches) - count(a.batches) {
		a.take(rabbitmq.BatchQueue, missing)
	}
	if diff := cmp.Diff(want, a.builds); diff != "" {
		a.t.Errorf("states that happened and were told (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(batches, a.batches); diff != "" {
		a.t.Errorf("states of batches (-want +got):\n%s", diff)
	}
	return a.last
}

// stateHistory returns the states of a request with their reasons, oldest
// first, and its batch.
func (p *process) stateHistory(id int64) (states []string, batch int64) {
	p.t.Helper()
	_, raw := p.get(fmt.Sprintf("/api/v1/builds/%d", id))
	var build struct {
		Batch   int64
		History []struct {
			State  string
			Reason string `json:"state_reason"`
		} `json:"state_history"`
	}
	if err := json.Unmarshal(raw, &build); err != nil {
		p.t.Fatal(err)
	}
	for _, h := range slices.Backward(build.History) {
		states = append(states, h.State+": "+h.Reason)
	}
	return states, build.Batch
}
