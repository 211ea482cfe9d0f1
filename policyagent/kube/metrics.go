package kube

import "github.com/prometheus/client_golang/prometheus"

// Describe implements prometheus.Collector. It describes nothing: the watches of policies and of pods have the same metrics,
// with other labels, and a registry takes no two collectors that describe the same.
func (w *watcher) Describe(chan<- *prometheus.Desc) {}

// Collect tells, for each kind that is watched, how it goes. The kinds are the only label.
func (w *watcher) Collect(out chan<- prometheus.Metric) {
	for _, r := range w.resources {
		s := r.store.state()
		gauge := func(name, help string, value float64) {
			out <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, []string{"resource"}, nil), prometheus.GaugeValue, value, r.name)
		}
		gauge("kritis_policyagent_watch_objects", "Objects known, by kind.", float64(s.objects))
		gauge("kritis_policyagent_watch_synced", "1 if all objects of the kind have been seen since the start.", flag(s.synced))
		gauge("kritis_policyagent_watch_failing", "1 while the API server cannot be asked about the kind.", flag(s.failure != nil))
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc("kritis_policyagent_watch_failures_total", "Lists and watches that failed, by kind.", []string{"resource"}, nil),
			prometheus.CounterValue, float64(s.failures), r.name)
	}
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// Metrics returns what to collect about the watches of policies.
func (p *Policies) Metrics() prometheus.Collector { return p.watcher }

// Metrics returns what to collect about the watch of pods.
func (p *Pods) Metrics() prometheus.Collector { return p.watcher }
