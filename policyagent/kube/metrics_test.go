package kube

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/rest"
)

// An agent in a cluster has both, and one registry.
func TestMetricsOfPoliciesAndPodsGoTogether(t *testing.T) {
	server, err := NewServer(&rest.Config{Host: "http://127.0.0.1:1"}, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	pods, err := NewPods(server, "node-1")
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	for _, c := range []prometheus.Collector{NewPolicies(server).Metrics(), pods.Metrics()} {
		if err := registry.Register(c); err != nil {
			t.Fatal(err)
		}
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]bool{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			kinds[m.GetLabel()[0].GetValue()] = true
		}
	}
	if len(kinds) != 4 {
		t.Errorf("kinds: %v, want three of policies and pods", kinds)
	}
}
