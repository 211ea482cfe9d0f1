package plugin

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/kritis-node/kritis-node/policyagent/nodestate"
)

var results = [...]nodestate.Result{
	nodestate.ResultAllowed, nodestate.ResultViolation, nodestate.ResultDryRun, nodestate.ResultUnknown, nodestate.ResultUnmanaged,
}

// runningMetrics are those of containers that run already.
type runningMetrics struct {
	containers    *prometheus.GaugeVec
	passes, stops *prometheus.CounterVec
	asks          prometheus.Counter
	last          prometheus.Gauge
}

func newRunningMetrics(registry *prometheus.Registry, stops bool) *runningMetrics {
	m := &runningMetrics{
		containers: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "kritis_plugin_running_containers", Help: "Containers and tasks that run, by what the last look at them found: allowed, violation, dry-run, unknown, unmanaged."}, []string{"result"}),
		passes:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kritis_plugin_rechecks_total", Help: "Looks at all that runs: complete, interrupted by a change of the rules, or failed."}, []string{"result"}),
		stops:      prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kritis_plugin_stops_total", Help: "Running containers that were to be stopped because they violate policy: stopped, or failed."}, []string{"result"}),
		asks:       prometheus.NewCounter(prometheus.CounterOpts{Name: "kritis_plugin_recheck_fetches_total", Help: "Times the policy agent was asked for attestations of what runs already."}),
		last:       prometheus.NewGauge(prometheus.GaugeOpts{Name: "kritis_plugin_recheck_timestamp_seconds", Help: "When the last complete look at all that runs ended, in seconds since 1970; 0 if there was none."}),
	}
	stop := prometheus.NewGauge(prometheus.GaugeOpts{Name: "kritis_plugin_stop_on_violation", Help: "1 if running containers that violate policy are stopped, 0 if they are only reported."})
	if stops {
		stop.Set(1)
	}
	for _, result := range results {
		m.containers.WithLabelValues(string(result))
	}
	for _, result := range []string{"complete", "interrupted", "failed"} {
		m.passes.WithLabelValues(result)
	}
	for _, result := range []string{"stopped", "failed"} {
		m.stops.WithLabelValues(result)
	}
	registry.MustRegister(m.containers, m.passes, m.stops, m.asks, m.last, stop)
	return m
}
