package policyagent

import (
	"fmt"
	"maps"
	"slices"

	"github.com/kritis-node/kritis-node/policyagent/nodereport"
	"github.com/kritis-node/kritis-node/policyagent/nodestate"
)

// maxFindingText bounds what people read of one finding, in bytes: the report travels in an annotation.
const maxFindingText = 300

// runningReport is what the cluster is told of what runs already on this node; nil if the plugin has said nothing.
func runningReport(r *nodestate.Running) *nodereport.Running {
	if r == nil {
		return nil
	}
	report := &nodereport.Running{
		LookedAt: r.LookedAt, Problem: clip(r.Problem, maxFindingText), OnViolation: r.OnViolation, Counts: map[string]int{}, Stopped: r.Stopped, More: r.More,
	}
	for result, n := range r.Counts {
		report.Counts[string(result)] = n
	}
	for _, f := range r.Findings {
		report.Findings = append(report.Findings, nodereport.Finding{
			Result: string(f.Result), Namespace: f.Namespace, Pod: f.Pod, PodUID: f.PodUID, Container: f.Container, Runtime: f.Runtime, ID: f.ID,
			Image: clip(f.Image, maxFindingText), Reason: string(f.Reason), Message: clip(f.Message, maxFindingText), Missed: f.Missed, Since: f.Since,
		})
	}
	return report
}

// runningState tells apart what the cluster should hear of at once.
func runningState(r *nodestate.Running) string {
	if r == nil {
		return ""
	}
	text := fmt.Sprint(" ", r.Problem != "", r.Stopped)
	for _, result := range slices.Sorted(maps.Keys(r.Counts)) {
		if result != nodestate.ResultAllowed {
			text += fmt.Sprintf(" %s %d", result, r.Counts[result])
		}
	}
	for _, f := range r.Findings {
		text += " " + string(f.Result) + f.ID
	}
	return text
}
