package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/nodereport"
	"github.com/kritis-node/kritis-node/policyagent/nodestate"
	"github.com/kritis-node/kritis-node/policyagent/workstation"
	"github.com/kritis-node/kritis-node/verifier"
)

// resultsShown are the results in the order in which they are told, with what they are called.
var resultsShown = [...]struct {
	result nodestate.Result
	text   string
}{
	{nodestate.ResultAllowed, "allowed"}, {nodestate.ResultViolation, "violate policy"}, {nodestate.ResultDryRun, "let run by dry run"},
	{nodestate.ResultUnknown, "could not tell"}, {nodestate.ResultUnmanaged, "not of Kubernetes"},
}

// runningRows show what is known of the containers that run already.
func runningRows(w io.Writer, r nodestate.Running, now time.Time) {
	looked := "not looked at yet"
	if !r.LookedAt.IsZero() {
		looked = "looked at " + age(r.LookedAt, now)
	}
	fmt.Fprintf(w, "RUNNING\t%s, %s\n", countsLine(r.Counts), looked)
	if r.OnViolation != "" && r.OnViolation != "Report" {
		fmt.Fprintf(w, "\ton violation: %s, stopped so far: %d\n", clean(r.OnViolation), r.Stopped)
	}
	if r.Problem != "" {
		fmt.Fprintf(w, "\tproblem: %s\n", clean(r.Problem))
	}
	for _, f := range r.Findings {
		missed := ""
		if f.Missed {
			missed = ", created without a decision of the plugin's"
		}
		name := f.Namespace + "/" + f.Pod
		if f.Runtime != "" {
			name = "task " + f.Runtime + "/" + f.ID
		}
		fmt.Fprintf(w, "\t%s: %s, image %s: %s, since %s%s\n", clean(string(f.Result)), clean(name), clean(cmp.Or(f.Image, "unknown")), clean(string(f.Reason)), age(f.Since, now), missed)
	}
	if r.More > 0 {
		fmt.Fprintf(w, "\tand %d more\n", r.More)
	}
}

func countsLine(counts map[nodestate.Result]int) string {
	line := ""
	for i, s := range resultsShown {
		if i > 0 {
			line += ", "
		}
		line += fmt.Sprintf("%d %s", counts[s.result], s.text)
	}
	return line
}

// nodeRunning is what a node's report says, as the plugin says it.
func nodeRunning(r *nodereport.Running) nodestate.Running {
	all := nodestate.Running{LookedAt: r.LookedAt, Problem: r.Problem, OnViolation: r.OnViolation, Stopped: r.Stopped, More: r.More, Counts: map[nodestate.Result]int{}}
	for result, n := range r.Counts {
		all.Counts[nodestate.Result(result)] = n
	}
	for _, f := range r.Findings {
		all.Findings = append(all.Findings, nodestate.Finding{
			Result: nodestate.Result(f.Result), Namespace: f.Namespace, Pod: f.Pod, Container: f.Container, Runtime: f.Runtime, ID: f.ID, Image: f.Image,
			Reason: verifier.Reason(f.Reason), Message: f.Message, Missed: f.Missed, Since: f.Since,
		})
	}
	return all
}

// maxNodesFound is how many nodes are named of those that run what they should not.
const maxNodesFound = 20

// fleetRunning says on which nodes something runs that should not.
func fleetRunning(w io.Writer, f workstation.Fleet) {
	shown, more := 0, 0
	for _, n := range f.Nodes {
		if n.Report == nil || n.Report.Running == nil {
			continue
		}
		var parts []string
		for _, s := range resultsShown[1:] {
			if count := n.Report.Running.Counts[string(s.result)]; count > 0 {
				parts = append(parts, fmt.Sprintf("%d %s", count, s.text))
			}
		}
		switch {
		case len(parts) == 0:
		case shown == maxNodesFound:
			more++
		default:
			shown++
			fmt.Fprintf(w, "running on %s: %s; see --node %s\n", clean(n.Name), strings.Join(parts, ", "), clean(n.Name))
		}
	}
	if more > 0 {
		fmt.Fprintf(w, "and so on %d more nodes\n", more)
	}
}
