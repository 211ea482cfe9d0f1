package main

import (
	"cmp"
	"fmt"
	"io"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/nodestate"
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
