package metrics

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

func scrape(t *testing.T, m *Metrics) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return w.Code, w.Body.String()
}

func TestMetricsTellWhatHappened(t *testing.T) {
	m := New(Options{
		Version: "v1",
		Plugins: func() []core.PluginStatus {
			return []core.PluginStatus{{Name: "index-add", Kind: "handler", State: "running", Restarts: 2}, {Name: "hook", Kind: "notifier", State: "failed"}}
		},
		Queues: func(context.Context) ([]core.QueueStanding, error) {
			return []core.QueueStanding{{Name: "default", Waiting: 7, Running: 4}, {Name: "night", Waiting: 2, Pause: &core.Pause{}}}, nil
		},
		Subscriptions: func(context.Context) ([]core.Subscription, error) {
			return []core.Subscription{{Notifier: "hook", Behind: 5, Waiting: 3, Parked: 1, Delivered: time.Unix(1700000000, 0)}}, nil
		},
	})
	m.Answered("/api/v1/builds/{type}", http.MethodPost, 201, 3*time.Millisecond)
	m.Ended(&core.Request{
		Request: sdk.Request{Type: "add"},
		History: []core.StateEntry{{Time: time.Now()}, {Time: time.Now().Add(-2 * time.Second)}},
	}, core.Failed)
	status, text := scrape(t, m)
	if status != http.StatusOK {
		t.Fatal(status)
	}
	for _, line := range []string{
		`iib_http_requests_total{code="201",method="POST",route="/api/v1/builds/{type}"} 1`,
		`iib_http_request_duration_seconds_bucket{route="/api/v1/builds/{type}",le="0.005"} 1`,
		`iib_requests_ended_total{state="failed",type="add"} 1`,
		`iib_request_duration_seconds_bucket{type="add",le="1"} 0`,
		`iib_request_duration_seconds_bucket{type="add",le="2.5"} 1`,
		`iib_plugin_up{kind="handler",plugin="index-add",state="running"} 1`,
		`iib_plugin_up{kind="notifier",plugin="hook",state="failed"} 0`,
		`iib_plugin_restarts_total{plugin="index-add"} 2`,
		`iib_notifier_behind_events{notifier="hook"} 5`,
		`iib_notifier_waiting_events{notifier="hook"} 3`,
		`iib_notifier_parked_events{notifier="hook"} 1`,
		`iib_notifier_last_delivery_timestamp_seconds{notifier="hook"} 1.7e+09`,
		`iib_queue_waiting_requests{queue="default"} 7`,
		`iib_queue_running_requests{queue="default"} 4`,
		`iib_queue_paused{queue="default"} 0`,
		`iib_queue_paused{queue="night"} 1`,
		`iib_build_info{version="v1"} 1`,
		`go_goroutines `,
	} {
		if !strings.Contains(text, "\n"+line) {
			t.Errorf("there is no %s", line)
		}
	}
}

func TestADatabaseThatIsAwayDoesNotHideTheRest(t *testing.T) {
	m := New(Options{
		Plugins:       func() []core.PluginStatus { return nil },
		Subscriptions: func(context.Context) ([]core.Subscription, error) { return nil, errors.New("away") },
		Queues:        func(context.Context) ([]core.QueueStanding, error) { return nil, errors.New("away") },
	})
	status, text := scrape(t, m)
	if status != http.StatusOK || !strings.Contains(text, "iib_build_info") {
		t.Errorf("%d %s", status, text)
	}
}
