package webhook

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Values of labels. None comes from outside but the kinds, which the configuration lists.
const (
	kindOther = "other"
	// outcomeNone is the outcome of a review that was not answered; the reason says why.
	outcomeNone       = "not answered"
	reasonMalformed   = "Malformed"
	reasonTooLarge    = "TooLarge"
	reasonUnknownKind = "UnknownKind"
	reasonBusy        = "Busy"
	reasonPanic       = "Internal"

	cacheAttestations = "attestations"
	cacheReferences   = "references"
)

// metrics are the webhook's. No image, object or namespace names among the labels.
type metrics struct {
	registry *prometheus.Registry
	kinds    kinds
	reviews  *prometheus.CounterVec
	latency  prometheus.Histogram
	left     prometheus.Histogram
	caches   *prometheus.CounterVec
	dropped  *prometheus.CounterVec
	unsafe   prometheus.Gauge
}

func newMetrics(all kinds, expires func() time.Time) *metrics {
	buckets := []float64{.0005, .001, .0025, .005, .01, .02, .05, .1, .25, .5, 1, 2.5, 5, 10}
	m := &metrics{
		registry: prometheus.NewRegistry(),
		kinds:    all,
		reviews: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kritis_webhook_reviews_total",
			Help: "Reviews by kind, operation, outcome and reason."}, []string{"kind", "operation", "outcome", "reason"}),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "kritis_webhook_review_seconds",
			Help: "Time from the beginning of a review to its answer, in seconds.", Buckets: buckets}),
		left: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "kritis_webhook_deadline_left_seconds",
			Help: "Time that was left of a review's deadline when it was answered, in seconds.", Buckets: []float64{0, .1, .25, .5, 1, 2, 3, 4, 4.5, 5, 10}}),
		caches: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kritis_webhook_lookups_total",
			Help: "What was needed to know about images, by cache and whether it was there (hit), asked for (miss) or being asked for (joined)."}, []string{"cache", "result"}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kritis_webhook_events_dropped_total",
			Help: "Events that were not told, by why."}, []string{"why"}),
		unsafe: prometheus.NewGauge(prometheus.GaugeOpts{Name: "kritis_webhook_unsafe_settings", Help: "Settings in force that loosen security; the log names them at start."}),
	}
	m.registry.MustRegister(m.reviews, m.latency, m.left, m.caches, m.dropped, m.unsafe,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "kritis_webhook_certificate_expires_timestamp_seconds",
			Help: "When the certificate in use expires, in seconds since 1970."}, func() float64 { return float64(expires().Unix()) }))
	return m
}

func (m *metrics) cache(cache, result string) { m.caches.WithLabelValues(cache, result).Inc() }

// review counts one review.
func (m *metrics) review(r review, outcome, reason string, took, left time.Duration) {
	kind := kindOther
	if _, known := m.kinds[r.kind]; known {
		kind = r.kind.String()
	}
	operation := kindOther
	switch r.operation {
	case opCreate, opUpdate, opDelete, opConnect:
		operation = r.operation
	}
	m.reviews.WithLabelValues(kind, operation, outcome, reason).Inc()
	m.latency.Observe(took.Seconds())
	if outcome != outcomeNone {
		m.left.Observe(max(0, left).Seconds())
	}
}
