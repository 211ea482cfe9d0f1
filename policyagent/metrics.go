package policyagent

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// collector tells the status as metrics. Labels are the sources of attestations, of which there are at most maxSources,
// and closed sets.
type collector struct{ agent *Agent }

// Describe implements prometheus.Collector.
func (c collector) Describe(out chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, out) }

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	s := c.agent.Status()
	metric := func(kind prometheus.ValueType, name, help string, value float64, labels ...string) {
		var names, values []string
		for i := 0; i+1 < len(labels); i += 2 {
			names, values = append(names, labels[i]), append(values, labels[i+1])
		}
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc("kritis_policyagent_"+name, help, names, nil), kind, value, values...)
	}
	gauge := func(name, help string, value float64, labels ...string) {
		metric(prometheus.GaugeValue, name, help, value, labels...)
	}
	count := func(name, help string, value uint64, labels ...string) {
		metric(prometheus.CounterValue, name, help, float64(value), labels...)
	}
	gauge("policy_generation", "Generation of the policy snapshot in force; 0 if there never was one.", float64(s.PolicyGeneration))
	gauge("policy_timestamp_seconds", "When the policy snapshot in force was written, in seconds since 1970; 0 if there never was one.", float64(max(0, s.PolicyWrittenAt.Unix())))
	gauge("policy_age_seconds", "Age of the policy snapshot in force, in seconds. It grows while policy does not change.", age(s.PolicyWrittenAt, s.WrittenAt))
	gauge("policy_failing", "1 while the policies as they are now cannot be loaded, and the last good ones stay in force.", flag(s.PolicyError != ""))
	gauge("policy_problems", "Things in the policies in force that cannot be used as written.", float64(s.PolicyProblems))
	now := time.Now()
	confirmed := c.agent.confirmedAt(now)
	if confirmed.IsZero() {
		confirmed = s.StartedAt // never yet: count from the start
	}
	gauge("policy_unconfirmed_seconds", "Time since the source of policies was last known to agree with the snapshot in force, or since the start, in seconds.", max(0, now.Sub(confirmed).Seconds()))
	if mode, why := c.agent.enforcement.labels(now); mode != "" {
		if len(why) == 0 {
			why = []string{""}
		}
		for _, code := range why {
			out <- prometheus.MustNewConstMetric(prometheus.NewDesc("kritis_node_enforcing", "1 in the series of what applies to this node: mode enforcing, best-effort, waiting or absent, and why.", []string{"mode", "why"}, nil),
				prometheus.GaugeValue, 1, mode, code)
		}
	}
	count("plugin_reports_unreadable_total", "Reports of the plugin that could not be read: plugin and agent are of different versions.", c.agent.enforcement.unreadableCount())
	unsafeSettings := len(unsafe(c.agent.config.Policies))
	for i, source := range s.Sources {
		unsafeSettings += len(source.Unsafe)
		// Numbered, because names need not differ.
		label := []string{"source", fmt.Sprintf("%d %s", i, source.Name)}
		count("source_requests_total", "Requests to a source of attestations.", source.Asked, label...)
		count("source_failures_total", "Requests to a source of attestations that failed.", source.Failed, label...)
	}
	if s.UnsafeDryRun {
		unsafeSettings++
	}
	gauge("unsafe_settings", "Settings of the agent that loosen security. They are in its log.", float64(unsafeSettings))
	for _, f := range []struct {
		result string
		n      uint64
	}{
		{"fresh", s.Fetches.Fresh}, {"joined", s.Fetches.Joined}, {"complete", s.Fetches.Complete},
		{"incomplete", s.Fetches.Incomplete}, {"dropped", s.Fetches.Dropped}, {"unwritten", s.Fetches.Unwritten},
	} {
		count("fetches_total", "Fetches of attestations of one digest, by what became of them.", f.n, "result", f.result)
	}
	count("fetch_requests_total", "Digests whose attestations were asked for.", s.Fetches.Requested)
	gauge("fetches_running", "Fetches that run.", float64(s.Fetches.Running))
	gauge("fetches_queued", "Fetches that wait.", float64(s.Fetches.Queued))
	ahead, waiting := c.agent.prefetch.load()
	count("prefetches_total", "Images of this node's pods whose attestations were looked up before the plugin asked.", ahead.begun)
	count("prefetch_failures_total", "Those of them that failed.", ahead.failed)
	count("prefetches_skipped_total", "Images of this node's pods beyond the number that is looked up in advance.", ahead.skipped)
	gauge("prefetches_queued", "Images of this node's pods that wait to be looked up.", float64(waiting))
}

// age is that of the policy in seconds, and 0 without one.
func age(written, now time.Time) float64 {
	if written.IsZero() {
		return 0
	}
	return max(0, now.Sub(written).Seconds())
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
