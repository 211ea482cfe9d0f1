package securitycenter

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kritis-node/kritis-node/policyagent/alicloud"
)

// metrics are what the leader knows; a replica that does not lead says 0 everywhere.
type metrics struct {
	last     prometheus.Gauge
	syncs    *prometheus.CounterVec
	failures *prometheus.CounterVec
	objects  *prometheus.GaugeVec
	held     prometheus.Gauge
	clashes  prometheus.Counter
	repairs  prometheus.Counter
}

func newMetrics() *metrics {
	return &metrics{
		last:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "kritis_controller_securitycenter_last_sync_timestamp_seconds", Help: "When Security Center was last listed completely."}),
		syncs:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kritis_controller_securitycenter_syncs_total", Help: "Listings of Security Center, by result."}, []string{"result"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kritis_controller_securitycenter_failures_total", Help: "Questions to Alibaba Cloud that failed, by service and kind."}, []string{"service", "kind"}),
		objects:  prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "kritis_controller_securitycenter_objects", Help: "Objects that Security Center's witnesses and policies stand for, by kind."}, []string{"kind"}),
		held:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "kritis_controller_securitycenter_held_back", Help: "Objects with a change that is held back because it could loosen."}),
		clashes:  prometheus.NewCounter(prometheus.CounterOpts{Name: "kritis_controller_securitycenter_name_clashes_total", Help: "Objects that had to have another name, because a user's object has theirs."}),
		repairs:  prometheus.NewCounter(prometheus.CounterOpts{Name: "kritis_controller_securitycenter_repairs_total", Help: "Objects that somebody had changed and that were put right."}),
	}
}

func (m *metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.last, m.syncs, m.failures, m.objects, m.held, m.clashes, m.repairs}
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.collectors() {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.collectors() {
		c.Collect(ch)
	}
}

func (m *metrics) synced(flawless bool) {
	m.last.Set(float64(time.Now().Unix()))
	if flawless {
		m.syncs.WithLabelValues("complete").Inc()
	} else {
		m.syncs.WithLabelValues("inconsistent").Inc()
	}
}

// failed counts a failure. Services and kinds are words of alicloud, so there are few.
func (m *metrics) failed(err error) {
	service, kind := "none", "inconsistent"
	var e *alicloud.Error
	if errors.As(err, &e) {
		service, kind = e.Service, kindName(e.Kind)
	}
	m.failures.WithLabelValues(service, kind).Inc()
}

func kindName(k alicloud.Kind) string {
	switch k {
	case alicloud.Denied:
		return "denied"
	case alicloud.Unauthenticated:
		return "unauthenticated"
	case alicloud.NotFound:
		return "not-found"
	case alicloud.Disabled:
		return "disabled"
	case alicloud.Unfit:
		return "unfit"
	default:
		return "unavailable"
	}
}

func (m *metrics) count(s state) {
	authorities, policies, held := 0, 0, 0
	for _, sp := range s {
		authorities += len(sp.authorities)
		policies += len(sp.policies)
		for _, a := range sp.authorities {
			if a.condition.reason == ReasonHeldBack {
				held++
			}
		}
		for _, p := range sp.policies {
			if p.condition.reason == ReasonHeldBack {
				held++
			}
		}
	}
	m.objects.WithLabelValues(kindAuthority).Set(float64(authorities))
	m.objects.WithLabelValues(kindPolicy).Set(float64(policies))
	m.held.Set(float64(held))
}
