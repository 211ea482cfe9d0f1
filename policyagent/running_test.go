package policyagent

import (
	"strings"
	"testing"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/nodereport"
	"github.com/kritis-node/kritis-node/policyagent/nodestate"
	"github.com/kritis-node/kritis-node/verifier"
)

func TestEventsOfWhatRuns(t *testing.T) {
	pod := nodestate.Incident{Place: "running", Namespace: "prod", Pod: "web", PodUID: "u", Container: "main", Image: "image", Reason: verifier.NotAttested, Message: "image image is not attested"}
	stop, dry := pod, pod
	stop.Place, dry.Admitted = "stop", true
	for name, tc := range map[string]struct {
		incident     nodestate.Incident
		reason, text string
		objects      []string
	}{
		"runs":    {pod, EventRunning, "container main: it runs, and would be denied if it were started now: image image is not attested", []string{"Pod web", "Pod web"}},
		"stopped": {stop, EventStopped, "container main: it was stopped, because it would be denied if it were started now: image image is not attested", []string{"Pod web", "Pod web"}},
		"dry run": {dry, EventDryRun, "container main: dry run let it run: image image is not attested", []string{"Pod web", "Pod web"}},
		"unmanaged": {nodestate.Incident{Place: "running", Container: "moby/x", Message: "why"}, EventUnmanaged,
			"task moby/x of image unknown runs on node n1 outside of Kubernetes: why", []string{"Node n1"}},
	} {
		got := events(tc.incident, "n1")
		if len(got) != len(tc.objects) {
			t.Fatalf("%s: %+v", name, got)
		}
		for i, e := range got {
			if e.Reason != tc.reason || e.Object.Kind+" "+e.Object.Name != tc.objects[i] {
				t.Errorf("%s: %+v", name, e)
			}
		}
		if got[0].Message != tc.text {
			t.Errorf("%s: %q", name, got[0].Message)
		}
	}
}

// What is found is told at once, what only goes on is not; and nothing that runs is a denial.
func TestRunningIsTold(t *testing.T) {
	now := time.Now()
	e := newEnforcement(now)
	signalled := func() bool {
		select {
		case <-e.changed:
			return true
		default:
			return false
		}
	}
	report := func(allowed int, findings ...nodestate.Finding) nodestate.Report {
		return nodestate.Report{Mode: nodereport.ModeEnforcing, Running: &nodestate.Running{
			Counts: map[nodestate.Result]int{nodestate.ResultAllowed: allowed, nodestate.ResultViolation: len(findings)}, Findings: findings}}
	}
	a, b := nodestate.Finding{Result: nodestate.ResultViolation, ID: "a"}, nodestate.Finding{Result: nodestate.ResultViolation, ID: "b"}
	for _, step := range []struct {
		name   string
		report nodestate.Report
		want   bool
	}{
		{"first", report(1), true}, {"more that are allowed", report(9), false}, {"found", report(9, a), true}, {"the same", report(3, a), false},
		{"another", report(3, b), true}, {"gone", report(3), true},
	} {
		step.report.Incidents = []nodestate.Incident{{Place: "running", Namespace: "prod", Pod: "web"}}
		e.heard(step.report, now)
		if got := signalled(); got != step.want {
			t.Errorf("%s: told at once: %t", step.name, got)
		}
	}
	if e.denial != nil {
		t.Errorf("a denial: %+v", e.denial)
	}
}

// The most that a plugin can say fits into the node's report.
func TestFindingsFit(t *testing.T) {
	long := strings.Repeat("x", nodestate.MaxImage)
	r := &nodestate.Running{More: 7}
	for range nodestate.MaxFindings {
		r.Findings = append(r.Findings, nodestate.Finding{Result: nodestate.ResultViolation, Namespace: long[:63], Pod: long[:253], PodUID: long[:36], Container: long[:63],
			ID: long[:64], Image: long, Reason: verifier.NotAttested, Message: long})
	}
	value, err := (nodereport.Report{Node: "n", Mode: "m", Running: runningReport(r)}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := nodereport.Parse(value)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(got.Running.Findings); n < 10 || n+got.Running.More != nodestate.MaxFindings+7 {
		t.Errorf("%d findings and %d more of %d", n, got.Running.More, nodestate.MaxFindings+7)
	}
}
