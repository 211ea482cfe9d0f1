package controller

import (
	"crypto/x509"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kritis-node/kritis-node/policyagent/nodereport"
	"github.com/kritis-node/kritis-node/verifier"
)

// metrics are what the leader knows; a replica that does not lead knows of nothing.
type metrics struct {
	mu       sync.Mutex
	problems map[string]map[problemLabels]int // by what was looked at together
	nodes    map[string]string                // the mode of each
	expiry   map[string]float64               // by certificate

	problemsDesc, nodesDesc, expiryDesc *prometheus.Desc
}

// problemLabels are the labels of a problem. Kinds and codes are words of this module, so there are few.
type problemLabels struct{ kind, code string }

func newMetrics() *metrics {
	return &metrics{
		problems: map[string]map[problemLabels]int{}, nodes: map[string]string{}, expiry: map[string]float64{},
		problemsDesc: prometheus.NewDesc("kritis_controller_problems", "Things in policies that cannot be used as written, by kind of object and code.", []string{"kind", "code"}, nil),
		nodesDesc:    prometheus.NewDesc("kritis_controller_nodes", "Nodes by mode of enforcement.", []string{"mode"}, nil),
		expiryDesc:   prometheus.NewDesc("kritis_controller_certificate_expiry_timestamp_seconds", "When the webhook's certificate, and that of its authority, end.", []string{"certificate"}, nil),
	}
}

// setProblems replaces what is known of objects that are looked at together.
func (m *metrics) setProblems(of string, problems []verifier.Problem) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(problems) == 0 {
		delete(m.problems, of)
		return
	}
	counts := map[problemLabels]int{}
	for _, p := range problems {
		kind, _, _ := strings.Cut(p.Object, " ")
		counts[problemLabels{kind, p.Code}]++
	}
	m.problems[of] = counts
}

// setNode notes a node's mode; empty: there is no such node.
func (m *metrics) setNode(node, mode string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if mode == "" {
		delete(m.nodes, node)
		return
	}
	m.nodes[node] = mode
}

func (m *metrics) setExpiry(authority, server *x509.Certificate) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expiry["ca"], m.expiry["server"] = float64(authority.NotAfter.Unix()), float64(server.NotAfter.Unix())
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- m.problemsDesc
	ch <- m.nodesDesc
	ch <- m.expiryDesc
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	m.mu.Lock()
	defer m.mu.Unlock()
	problems := map[problemLabels]int{}
	for _, counts := range m.problems {
		for labels, n := range counts {
			problems[labels] += n
		}
	}
	for labels, n := range problems {
		ch <- prometheus.MustNewConstMetric(m.problemsDesc, prometheus.GaugeValue, float64(n), labels.kind, labels.code)
	}
	modes := map[string]int{
		nodereport.ModeEnforcing: 0, nodereport.ModeBestEffort: 0, nodereport.ModeWaiting: 0, nodereport.ModeAbsent: 0,
		nodereport.ModeSilent: 0, modeUnreadable: 0,
	}
	for _, mode := range m.nodes {
		modes[mode]++
	}
	for mode, n := range modes {
		ch <- prometheus.MustNewConstMetric(m.nodesDesc, prometheus.GaugeValue, float64(n), strings.ReplaceAll(mode, " ", "-")) // as in the nodes' own metrics
	}
	for certificate, at := range m.expiry {
		ch <- prometheus.MustNewConstMetric(m.expiryDesc, prometheus.GaugeValue, at, certificate)
	}
}
