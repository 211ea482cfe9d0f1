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
	for kind, shows := range map[alicloudtest.FaultKind]string{
		alicloudtest.InternalError: "CloudUnavailable", alicloudtest.Throttle: "CloudUnavailable", alicloudtest.LosePage: "CloudUnavailable",
		alicloudtest.Hang: "CloudUnavailable", alicloudtest.Empty: "HeldBack",
	} {
		t.Run(string(kind), func(t *testing.T) {
			repair, err := s.cloud.Break(alicloudtest.Fault{Service: "sas", Kind: kind})
			check(t, err)
			defer repair()
			// That is shown after as long as would remove something, if anything did.
			s.condition(t, "default", "genericattestationpolicy/"+policy, shows)
			if kind == alicloudtest.Empty {
				s.awaitSyncs(t, 3)
			}
			if n := s.policies(t); n != 2 {
				t.Errorf("nodes have %d policies, want 2", n)
			}
			s.awaitDenied(t, "default", unsigned)
			s.awaitAdmitted(t, "default", signed)
			repair()
			s.condition(t, "default", "genericattestationpolicy/"+policy, "InSync")
		})
	}
	after, err := s.KubectlOutput(t.Context(), "get", "pods", "--namespace", "default", "--selector", "app=is-signed", "--output", "jsonpath={.items[*].metadata.uid}{.items[*].status.containerStatuses[*].restartCount}")
	check(t, err)
	if before != after {
		t.Errorf("what ran was changed: %s, now %s", before, after)
	}
}
