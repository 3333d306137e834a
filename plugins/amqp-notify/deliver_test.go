package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/sdktest"
	"github.com/iib-engine/iib/sdk/sdktest/rabbitmq"
)

// sending returns a notifier that sends to a broker over TLS, by certificate.
func sending(r *rabbitmq.Broker) *notifier {
	n := newNotifier()
	n.URLs, n.Build, n.Batch, n.CA = []string{r.Secure()}, rabbitmq.BuildQueue, rabbitmq.BatchQueue, r.Authority.CA
	n.Cert, n.Key = r.Authority.Issue(rabbitmq.User)
	return n
}

// buildEvent is that of a request, as the engine makes it.
func buildEvent(sequence, request int64, state, user string) *sdk.Event {
	body := fmt.Sprintf(`{"id": %d, "batch": 7, "state": %q, "state_reason": "Käse & <tags>", "arches": ["amd64"], "request_type": "add"}`, request, state)
	return &sdk.Event{
		ID: fmt.Sprint(sequence), Kind: sdk.RequestState, Time: time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC), Delivery: 1,
		Request: request, Batch: 7, State: state, User: user, Body: json.RawMessage(body),
	}
}

func batchEvent(sequence int64, state, user string) *sdk.Event {
	e := buildEvent(sequence, 0, state, user)
	e.Kind = sdk.BatchState
	e.Body = json.RawMessage(fmt.Sprintf(`{"batch": 7, "annotations": null, "state": %q, "user": null, "requests": [{"id": 3, "organization": null, "request_type": "add"}]}`, state))
	return e
}

var uuid = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

func str(s string) *rabbitmq.Value { return &rabbitmq.Value{Type: "str", Value: s} }
func long(n int64) *rabbitmq.Value { return &rabbitmq.Value{Type: "int", Value: float64(n)} }

// want is section 7.1 of the contract, field by field.
func want(e *sdk.Event, durable bool) rabbitmq.Message {
	properties := map[string]*rabbitmq.Value{"batch": long(e.Batch), "state": str(e.State), "user": nil}
	if e.User != "" {
		properties["user"] = str(e.User)
	}
	if e.Kind == sdk.RequestState {
		properties["id"] = long(e.Request)
	}
	return rabbitmq.Message{
		Body: str(string(e.Body)), Durable: durable, Priority: 4,
		ContentType: &rabbitmq.Value{Type: "symbol", Value: "application/json"}, CorrelationID: str(correlationID(e)), Properties: properties,
	}
}

func TestMessagesAreAsTheContractHasThem(t *testing.T) {
	r := theRabbit(t)
	for _, durable := range []bool{true, false} {
		t.Run(fmt.Sprintf("durable %v", durable), func(t *testing.T) {
			n := sending(r)
			n.Durable = durable
			served := sdktest.Notifier(t, n)
			events := []*sdk.Event{
				buildEvent(1, 3, "in_progress", "releng@EXAMPLE.COM"), buildEvent(2, 4, "failed", ""), buildEvent(3, 1<<40, "complete", "Jörg"),
				batchEvent(4, "in_progress", "releng@EXAMPLE.COM"), batchEvent(5, "complete", ""),
			}
			for _, e := range events {
				if err := served.Notify(t.Context(), e); err != nil {
					t.Fatal(err)
				}
			}
			got := append(r.Receive(t, rabbitmq.BuildQueue, 3), r.Receive(t, rabbitmq.BatchQueue, 2)...)
			ids := make(map[string]bool)
			for i, e := range events {
				if diff := gocmp.Diff(want(e, durable), got[i]); diff != "" {
					t.Errorf("event %s (-want +got):\n%s", e.ID, diff)
				}
				id, _ := got[i].CorrelationID.Value.(string)
				if !uuid.MatchString(id) || ids[id] {
					t.Errorf("the correlation ID is %q", id)
				}
				ids[id] = true
			}
		})
	}
}

// plainly returns a notifier that sends over a network without TLS, with a
// password.
func plainly(urls ...string) *notifier {
	n := newNotifier()
	n.URLs, n.Build, n.Batch = urls, rabbitmq.BuildQueue, rabbitmq.BatchQueue
	n.Username, n.Password = rabbitmq.User, rabbitmq.Password
	return n
}

func wantError(t *testing.T, err error, code sdk.Code, words ...string) {
	t.Helper()
	if sdk.CodeOf(err) != code {
		t.Fatalf("got %v (%s), want code %s", err, sdk.CodeOf(err), code)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q does not say %q", err, word)
		}
	}
	if strings.Contains(err.Error(), rabbitmq.Password) || strings.Contains(err.Error(), "goroutine") {
		t.Errorf("it says too much: %v", err)
	}
}

func TestOneConnectionServesAllEvents(t *testing.T) {
	r := theRabbit(t)
	network := through(t, r.Address())
	served := sdktest.Notifier(t, plainly(network.url()))
	const batches, each = 8, 25
	var all sync.WaitGroup
	for b := range int64(batches) {
		all.Go(func() {
			for i := range int64(each) {
				e := buildEvent(1000*b+i, 1000*b+i, "in_progress", "")
				e.Batch = b
				if err := served.Notify(t.Context(), e); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if n := network.connections(); n != 1 {
		t.Errorf("%d connections were made", n)
	}
	next := make(map[int64]int64)
	for _, m := range r.Receive(t, rabbitmq.BuildQueue, batches*each) {
		batch, id := int64(m.Properties["batch"].Value.(float64)), int64(m.Properties["id"].Value.(float64))
		if id != 1000*batch+next[batch] {
			t.Errorf("batch %d: got %d, want %d", batch, id, 1000*batch+next[batch])
		}
		next[batch]++
	}
}

func TestARefusedDestinationDoesNotHinderTheOther(t *testing.T) {
	r := theRabbit(t)
	for _, c := range []struct{ name, destination, says string }{
		{"an exchange that does not exist", missing, "amqp:not-found"},
		{"a queue that may not be made", forbidden, "amqp:unauthorized-access"},
	} {
		t.Run(c.name, func(t *testing.T) {
			network := through(t, r.Address())
			n := plainly(network.url())
			n.Build = c.destination
			served := sdktest.Notifier(t, n)
			if err := served.Notify(t.Context(), batchEvent(1, "in_progress", "")); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				wantError(t, served.Notify(t.Context(), buildEvent(2, 2, "failed", "")), sdk.Unavailable, "open "+c.destination, network.url(), c.says)
			}
			if err := served.Notify(t.Context(), batchEvent(3, "failed", "")); err != nil {
				t.Fatal(err)
			}
			if n := network.connections(); n != 1 {
				t.Errorf("%d connections were made", n)
			}
			r.Receive(t, rabbitmq.BatchQueue, 2)
		})
	}
}

func TestAnUnwantedKindIsNotSent(t *testing.T) {
	n := plainly("amqp://127.0.0.1:1")
	n.Batch = ""
	served := sdktest.Notifier(t, n)
	if err := served.Notify(t.Context(), batchEvent(1, "failed", "")); err != nil {
		t.Error(err)
	}
	e := batchEvent(1, "failed", "")
	e.Kind = "other"
	wantError(t, newNotifier().Notify(t.Context(), e), sdk.Invalid, "other")
}

func TestARepetitionHasTheSameCorrelationID(t *testing.T) {
	e := buildEvent(1, 3, "failed", "")
	id := correlationID(e)
	e.Delivery, e.Time = 5, e.Time.In(time.FixedZone("east", 3600))
	if got := correlationID(e); got != id {
		t.Errorf("got %s and %s", id, got)
	}
	for name, change := range map[string]func(*sdk.Event){
		"another event":        func(e *sdk.Event) { e.ID = "2" },
		"another engine's":     func(e *sdk.Event) { e.Time = e.Time.Add(time.Microsecond) },
		"another engine's too": func(e *sdk.Event) { e.Body = json.RawMessage(`{}`) },
	} {
		t.Run(name, func(t *testing.T) {
			other := *e
			change(&other)
			if correlationID(&other) == id {
				t.Error("they have one correlation ID")
			}
		})
	}
}
