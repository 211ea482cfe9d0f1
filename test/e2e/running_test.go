package e2e

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/kritis-node/kritis-node/policyagent/nodestate"
	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/stack"
)

// TestRunning shows that containers that run already are found when policy turns against them.
func TestRunning(t *testing.T) {
	onEachVersion(t, stack.Options{}, func(t *testing.T, s *site) {
		const later = "later"
		attested, unsigned := s.pushSigned(t, "running/attested"), s.push(t, "running/unsigned")
		expectStarts(t, s.run(t, later, attested))
		expectStarts(t, s.run(t, later, unsigned))
		check(t, s.Require(t.Context(), later, s.team))
		f := s.awaitFinding(t, unsigned, nodestate.ResultViolation)
		if f.Namespace != later || f.Reason != "NotAttested" || f.Pod == "" || f.PodUID == "" || f.Missed {
			t.Errorf("%+v", f)
		}
		s.expectNoFinding(t, attested)
		s.expectMetric(t, `kritis_plugin_running_containers{result="violation"} 1`)
		stdout, _ := s.kritis(t, 0, "status", "--socket", s.PluginSocket())
		expectWords(t, stdout, "1 violate policy", "violation: later/pod, image "+unsigned+": NotAttested")
	})
}

// awaitFinding waits until the plugin has found that a container of the image runs, with a result.
func (s *site) awaitFinding(t *testing.T, image string, result nodestate.Result) (found nodestate.Finding) {
	t.Helper()
	err := cluster.Await(t.Context(), "the finding about "+image, func(ctx context.Context) error {
		status, err := s.Status(ctx)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(status.Running.Findings, func(f nodestate.Finding) bool { return f.Image == image && f.Result == result })
		if i < 0 {
			return fmt.Errorf("there is none: %+v", status.Running)
		}
		found = status.Running.Findings[i]
		return nil
	})
	check(t, err)
	return found
}

// expectNoFinding expects that nothing is held against the image.
func (s *site) expectNoFinding(t *testing.T, image string) {
	t.Helper()
	status, err := s.Status(t.Context())
	check(t, err)
	for _, f := range status.Running.Findings {
		if f.Image == image {
			t.Errorf("a finding: %+v", f)
		}
	}
}
