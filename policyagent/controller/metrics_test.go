package controller

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/kritis-node/kritis-node/verifier"
)

func TestMetrics(t *testing.T) {
	m := newMetrics()
	problem := verifier.Problem{Object: "GenericAttestationPolicy default/p", Code: "AuthorityMissing"}
	m.setProblems("a", []verifier.Problem{problem, problem})
	m.setProblems("b", []verifier.Problem{problem, {Object: "AdmissionAllowlist x", Code: "PatternInvalid"}})
	m.setProblems("c", []verifier.Problem{problem})
	m.setProblems("c", nil)
	m.setNode("n1", "enforcing")
	m.setNode("n1", "waiting")
	m.setNode("n2", "waiting")
	m.setNode("n3", "silent")
	m.setNode("n3", "")
	const want = `
# HELP kritis_controller_nodes Nodes by mode of enforcement.
# TYPE kritis_controller_nodes gauge
kritis_controller_nodes{mode="absent"} 0
kritis_controller_nodes{mode="best-effort"} 0
kritis_controller_nodes{mode="enforcing"} 0
kritis_controller_nodes{mode="silent"} 0
kritis_controller_nodes{mode="unreadable"} 0
kritis_controller_nodes{mode="waiting"} 2
# HELP kritis_controller_problems Things in policies that cannot be used as written, by kind of object and code.
# TYPE kritis_controller_problems gauge
kritis_controller_problems{code="AuthorityMissing",kind="GenericAttestationPolicy"} 3
kritis_controller_problems{code="PatternInvalid",kind="AdmissionAllowlist"} 1
`
	registry := prometheus.NewPedanticRegistry()
	check(t, registry.Register(m))
	answer := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if diff := cmp.Diff(strings.TrimSpace(want), strings.TrimSpace(answer.Body.String())); diff != "" {
		t.Error(diff)
	}
}
