package alicloud

import (
	"testing"

	"github.com/kritis-node/kritis-node/test/alicloudtest"
)

// listings is how often Security Center was asked for policies, whatever it answered.
func (s *suite) listings() int {
	return s.cloud.Calls(alicloudtest.Call{Service: "sas", Action: "DescribeBinarySecurityPolicies"})
}

// testFaults lets Security Center fail in every way: what was protected stays so, and what runs goes on.
func (s *suite) testFaults(t *testing.T, signed, unsigned string) {
	before, err := s.KubectlOutput(t.Context(), "get", "pods", "--namespace", "default", "--selector", "app=is-signed", "--output", "jsonpath={.items[*].metadata.uid}{.items[*].status.containerStatuses[*].restartCount}")
	check(t, err)
	for _, kind := range []alicloudtest.FaultKind{
		alicloudtest.InternalError, alicloudtest.Throttle, alicloudtest.Empty, alicloudtest.LosePage, alicloudtest.Truncate, alicloudtest.Garbage, alicloudtest.HTML, alicloudtest.Hang,
	} {
		t.Run(string(kind), func(t *testing.T) {
			repair, err := s.cloud.Break(alicloudtest.Fault{Service: "sas", Kind: kind})
			check(t, err)
			defer repair()
			if kind == alicloudtest.Hang { // each takes 20 s
				s.awaitSyncs(t, 1)
				s.condition(t, "default", "genericattestationpolicy/"+policy, "CloudUnavailable")
			} else {
				s.awaitSyncs(t, 3) // removal takes two
			}
			if n := s.policies(t); n != 2 {
				t.Errorf("nodes have %d policies, want 2", n)
			}
			s.awaitDenied(t, "default", unsigned)
			s.awaitAdmitted(t, "default", signed)
		})
	}
	s.condition(t, "default", "genericattestationpolicy/"+policy, "InSync")
	after, err := s.KubectlOutput(t.Context(), "get", "pods", "--namespace", "default", "--selector", "app=is-signed", "--output", "jsonpath={.items[*].metadata.uid}{.items[*].status.containerStatuses[*].restartCount}")
	check(t, err)
	if before != after {
		t.Errorf("what ran was changed: %s, now %s", before, after)
	}
}
