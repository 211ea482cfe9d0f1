package nodestate

import (
	"strings"
	"testing"
)

func TestRunningIsBounded(t *testing.T) {
	r := Running{More: 1, Problem: "a\nb", Counts: map[Result]int{ResultViolation: 3, ResultUnknown: -1, "other": 9}}
	for range MaxFindings + 5 {
		r.Findings = append(r.Findings, Finding{Image: strings.Repeat("x", 2*MaxImage), Message: "\x1b[2J", Pod: strings.Repeat("p", 2*MaxName)})
	}
	b := Report{Mode: "m", Running: &r}.Bound().Running
	if len(b.Findings) != MaxFindings || b.More != 6 || b.Problem != "a b" || b.Counts[ResultUnknown] != 0 || b.Counts[ResultViolation] != 3 || b.Counts["other"] != 0 {
		t.Errorf("%d findings, %d more, %q, %v", len(b.Findings), b.More, b.Problem, b.Counts)
	}
	if f := b.Findings[0]; len(f.Image) > MaxImage || len(f.Pod) > MaxName || strings.Contains(f.Message, "\x1b") {
		t.Errorf("%+v", f)
	}
	if (Report{}).Bound().Running != nil {
		t.Error("nothing became something")
	}
}
