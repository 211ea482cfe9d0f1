package kube

import (
	"maps"

	"github.com/prometheus/client_golang/prometheus"
)

// eventCounts count since the start, over closed sets.
type eventCounts struct{ written, dropped map[string]uint64 }

func newEventCounts() eventCounts {
	return eventCounts{
		written: map[string]uint64{"new": 0, "repeated": 0},
		dropped: map[string]uint64{"object": 0, "rate": 0, "queue": 0, "refused": 0, "unreachable": 0},
	}
}

func (w *Events) count(counts map[string]uint64, which string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	counts[which]++
}

// Metrics returns what to collect about events.
func (w *Events) Metrics() prometheus.Collector { return eventCollector{w} }

type eventCollector struct{ events *Events }

// Describe implements prometheus.Collector.
func (c eventCollector) Describe(out chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, out) }

// Collect implements prometheus.Collector.
func (c eventCollector) Collect(out chan<- prometheus.Metric) {
	c.events.mu.Lock()
	written, dropped := maps.Clone(c.events.counts.written), maps.Clone(c.events.counts.dropped)
	c.events.mu.Unlock()
	all := func(name, help, label string, counts map[string]uint64) {
		for value, n := range counts {
			out <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, []string{label}, nil), prometheus.CounterValue, float64(n), value)
		}
	}
	all("kritis_events_written_total", "Events written to the API server, by whether they were new or raised the count of one (repeated).", "how", written)
	all("kritis_events_dropped_total", "Events that were not written, by why: too many about one object, too many altogether (rate, queue), refused by the API server, or it did not answer (unreachable).", "why", dropped)
}
