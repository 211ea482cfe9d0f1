package plugin

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/kritis-node/kritis-node/verifier"
)

// place is where in a container's life a decision was made.
type place string

const (
	placeCreate place = "create"
	placeStart  place = "start"
	// placeRunning and placeStop are for what runs already: it was looked at, or stopped.
	placeRunning place = "running"
	placeStop    place = "stop"
)

// reasons is the closed set of reasons, so that the number of metric series is known.
var reasons = [...]verifier.Reason{
	verifier.NoPolicy, verifier.AllowListed, verifier.Attested, verifier.Bootstrapping,
	verifier.NotAttested, verifier.TagReference, verifier.DigestMismatch, verifier.InvalidReference, verifier.NoPolicyDenied,
	verifier.RuntimeHandler, verifier.Checkpoint,
	verifier.NoSnapshot, verifier.SourceFailed, verifier.RuntimeFailed, verifier.Internal,
}

var outcomes = [...]verifier.Outcome{verifier.Allowed, verifier.Denied, verifier.CouldNotTell}

type countKey struct {
	at       place
	outcome  verifier.Outcome
	reason   verifier.Reason
	admitted bool
}

// counters are the plugin's metrics. No image, pod or namespace names among the labels.
type counters struct {
	registry     *prometheus.Registry
	decisions    map[countKey]prometheus.Counter
	latency      map[place]prometheus.Observer
	fetches      prometheus.Counter
	budgetEmpty  prometheus.Counter
	auditDropped prometheus.Counter
	auditFailed  prometheus.Counter
	connections  prometheus.Counter
	enforcing    *prometheus.GaugeVec
	waited       prometheus.Histogram
	// hits and misses count creates.
	hits, misses prometheus.Counter

	reportFailures, incidentsDropped prometheus.Counter
}

func newCounters(rules *ruleStore, budget *waitBudget) *counters {
	c := &counters{
		registry:     prometheus.NewRegistry(),
		decisions:    map[countKey]prometheus.Counter{},
		latency:      map[place]prometheus.Observer{},
		fetches:      prometheus.NewCounter(prometheus.CounterOpts{Name: "kritis_plugin_fetches_total", Help: "Times the create path waited for the policy agent to fetch attestations."}),
		budgetEmpty:  prometheus.NewCounter(prometheus.CounterOpts{Name: "kritis_plugin_budget_exhausted_total", Help: "Decisions that did not wait for the policy agent because the waiting budget was empty."}),
		auditDropped: prometheus.NewCounter(prometheus.CounterOpts{Name: "kritis_plugin_audit_dropped_total", Help: "Audit lines lost because the disk was too slow."}),
		auditFailed:  prometheus.NewCounter(prometheus.CounterOpts{Name: "kritis_plugin_audit_failed_total", Help: "Audit lines that could not be written."}),
		connections:  prometheus.NewCounter(prometheus.CounterOpts{Name: "kritis_plugin_connections_total", Help: "Registrations with the runtime."}),
		enforcing:    prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "kritis_plugin_enforcing", Help: "1 in the series of the state that applies: mode enforcing, best effort or waiting, and why."}, []string{"mode", "why"}),
		waited: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "kritis_plugin_fetch_wait_seconds", Help: "Time that the create path waited for the policy agent, in seconds.",
			Buckets: []float64{.01, .05, .1, .2, .4, .6, .8, 1}}),
		reportFailures:   prometheus.NewCounter(prometheus.CounterOpts{Name: "kritis_plugin_report_failures_total", Help: "Reports that the policy agent did not take. It may be down."}),
		incidentsDropped: prometheus.NewCounter(prometheus.CounterOpts{Name: "kritis_plugin_incidents_dropped_total", Help: "Refusals and other incidents that no event tells of, because there were too many. The audit log has them."}),
	}
	memory := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kritis_plugin_memory_total", Help: "Decisions at create, by whether they were answered from memory (hit) or not (miss)."}, []string{"result"})
	c.hits, c.misses = memory.WithLabelValues("hit"), memory.WithLabelValues("miss")
	decisions := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kritis_plugin_decisions_total", Help: "Decisions by place, outcome, reason, and whether the container was let through (dry run)."},
		[]string{"place", "outcome", "reason", "admitted"})
	latency := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "kritis_plugin_decision_seconds", Help: "Time that a decision took, in seconds.",
		Buckets: []float64{.00001, .0001, .001, .005, .025, .1, .5, 1, 2}}, []string{"place"})
	for _, at := range []place{placeCreate, placeStart} {
		c.latency[at] = latency.WithLabelValues(string(at))
		for _, o := range outcomes {
			for _, r := range reasons {
				// Made once, so that counting a decision neither allocates nor hashes labels.
				c.decisions[countKey{at, o, r, true}] = decisions.WithLabelValues(string(at), o.String(), string(r), "true")
				c.decisions[countKey{at, o, r, false}] = decisions.WithLabelValues(string(at), o.String(), string(r), "false")
			}
		}
	}
	c.registry.MustRegister(decisions, latency, c.fetches, c.budgetEmpty, c.auditDropped, c.auditFailed, c.connections, c.enforcing,
		c.waited, memory, c.reportFailures, c.incidentsDropped,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "kritis_plugin_budget_left_seconds", Help: "Time that the create path may wait for the policy agent before the waiting budget is empty, in seconds."},
			func() float64 { return budget.remaining(time.Now()).Seconds() }),
		policyGauge(rules, "kritis_plugin_dry_run", "1 while the policy snapshot in force lets everything that fails through.", func(i policyInfo) float64 {
			if i.DryRun {
				return 1
			}
			return 0
		}),
		policyGauge(rules, "kritis_plugin_policy_generation", "Generation of the policy snapshot in force; 0 if none ever arrived.",
			func(i policyInfo) float64 { return float64(i.Generation) }),
		policyGauge(rules, "kritis_plugin_policy_timestamp_seconds", "When the policy snapshot in force was written, in seconds since 1970; 0 if none ever arrived.",
			func(i policyInfo) float64 { return float64(max(0, i.WrittenAt.Unix())) }))
	return c
}

// policyGauge reads the policy in force whenever somebody asks.
func policyGauge(rules *ruleStore, name, help string, value func(policyInfo) float64) prometheus.GaugeFunc {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return value(rules.load().policy) })
}

func (c *counters) count(at place, v *verifier.Verdict, took time.Duration) {
	if n := c.decisions[countKey{at, v.Outcome, v.Reason, v.Admits()}]; n != nil {
		n.Inc()
	}
	c.latency[at].Observe(took.Seconds())
}

// recalled counts whether a create was answered from memory.
func (c *counters) recalled(e entry) {
	switch {
	case e.at != placeCreate:
	case e.remembered:
		c.hits.Inc()
	default:
		c.misses.Inc()
	}
}

// decided returns the number of decisions since start.
func (c *counters) decided() uint64 {
	var all uint64
	for _, n := range c.totals() {
		all += n
	}
	return all
}

// totals returns the number of decisions by outcome.
func (c *counters) totals() map[string]uint64 {
	totals := map[string]uint64{}
	for key, counter := range c.decisions {
		var m dto.Metric
		if err := counter.Write(&m); err == nil && m.GetCounter().GetValue() > 0 {
			totals[key.outcome.String()] += uint64(m.GetCounter().GetValue())
		}
	}
	return totals
}
