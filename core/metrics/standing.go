package metrics

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
)

// What is looked up when somebody asks.
var (
	pluginUp = prometheus.NewDesc("iib_plugin_up", "1 for a plugin that runs, 0 for one that does not.", []string{"plugin", "kind", "state"}, nil)
	restarts = prometheus.NewDesc("iib_plugin_restarts_total", "How often a plugin was started again.", []string{"plugin"}, nil)
	behind   = prometheus.NewDesc("iib_notifier_behind_events", "Events that a notifier has not been looked at for, at most.", []string{"notifier"}, nil)
	waiting  = prometheus.NewDesc("iib_notifier_waiting_events", "Events that wait for a notifier to take them.", []string{"notifier"}, nil)
	parked   = prometheus.NewDesc("iib_notifier_parked_events", "Events that were given up for a notifier, until they are replayed.", []string{"notifier"}, nil)
	last     = prometheus.NewDesc("iib_notifier_last_delivery_timestamp_seconds", "When a notifier last took an event.", []string{"notifier"}, nil)
)

var (
	queued  = prometheus.NewDesc("iib_queue_waiting_requests", "Requests that wait in a queue.", []string{"queue"}, nil)
	claimed = prometheus.NewDesc("iib_queue_running_requests", "Requests of a queue that run, in all processes.", []string{"queue"}, nil)
	paused  = prometheus.NewDesc("iib_queue_paused", "1 while a queue is paused.", []string{"queue"}, nil)
)

// standing collects how plugins, notifiers and queues stand.
type standing Metrics

// Describe implements prometheus.Collector.
func (s *standing) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{pluginUp, restarts, behind, waiting, parked, last, queued, claimed, paused} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (s *standing) Collect(out chan<- prometheus.Metric) {
	for _, p := range s.options.Plugins() {
		up := 0.0
		if p.State == "running" {
			up = 1
		}
		out <- prometheus.MustNewConstMetric(pluginUp, prometheus.GaugeValue, up, p.Name, p.Kind, p.State)
		out <- prometheus.MustNewConstMetric(restarts, prometheus.CounterValue, float64(p.Restarts), p.Name)
	}
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	s.collectNotifiers(ctx, out)
	s.collectQueues(ctx, out)
}

func (s *standing) collectQueues(ctx context.Context, out chan<- prometheus.Metric) {
	queues, err := s.options.Queues(ctx)
	if err != nil {
		out <- prometheus.NewInvalidMetric(queued, err)
		return
	}
	for _, q := range queues {
		out <- prometheus.MustNewConstMetric(queued, prometheus.GaugeValue, float64(q.Waiting), q.Name)
		out <- prometheus.MustNewConstMetric(claimed, prometheus.GaugeValue, float64(q.Running), q.Name)
		held := 0.0
		if q.Pause != nil {
			held = 1
		}
		out <- prometheus.MustNewConstMetric(paused, prometheus.GaugeValue, held, q.Name)
	}
}

func (s *standing) collectNotifiers(ctx context.Context, out chan<- prometheus.Metric) {
	subscriptions, err := s.options.Subscriptions(ctx)
	if err != nil {
		out <- prometheus.NewInvalidMetric(behind, err)
		return
	}
	for _, n := range subscriptions {
		for desc, value := range map[*prometheus.Desc]int64{behind: n.Behind, waiting: n.Waiting, parked: n.Parked} {
			out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(value), n.Notifier)
		}
		if !n.Delivered.IsZero() {
			out <- prometheus.MustNewConstMetric(last, prometheus.GaugeValue, float64(n.Delivered.UnixMilli())/1000, n.Notifier)
		}
	}
}
