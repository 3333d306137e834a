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

// standing collects how plugins and notifiers stand.
type standing Metrics

// Describe implements prometheus.Collector.
func (s *standing) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{pluginUp, restarts, behind, waiting, parked, last} {
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
