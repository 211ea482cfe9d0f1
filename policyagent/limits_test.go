package policyagent

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kritis-node/kritis-node/policyagent/nodestate"
	"github.com/kritis-node/kritis-node/verifier"
)

// Ten thousand policies with thirty mistakes each still arrive: what is told about mistakes must not keep the policies of others
// from being written.
func TestTenThousandBrokenPolicies(t *testing.T) {
	f := start(t, t.TempDir())
	doc := verifier.Document{}
	for i := range 10_000 {
		p := verifier.PolicySpec{Namespace: fmt.Sprintf("team-%05d", i), Name: strings.Repeat("x", 100)}
		for j := range 30 {
			p.AuthorityNames = append(p.AuthorityNames, fmt.Sprintf("nobody-%02d", j))
		}
		doc.Policies = append(doc.Policies, p)
	}
	f.policies.say(doc, nil)
	p, err := f.state.Policy()
	if err != nil || len(p.Document.Policies) != 10_000 {
		t.Fatalf("%d policies, %v; the agent says: %s", len(p.Document.Policies), err, f.Status().PolicyError)
	}
	end := p.Problems[len(p.Problems)-1]
	if len(p.Problems) != nodestate.MaxProblems+1 || end.Code != verifier.CodeMoreProblems || !strings.Contains(end.Text, "and 209000 more problems") {
		t.Errorf("%d problems, the last is %+v", len(p.Problems), end)
	}
	if n := strings.Count(f.logs.String(), "\n"); n > 100 {
		t.Errorf("%d lines were logged", n)
	}
}

func TestProblemsAtTheLimit(t *testing.T) {
	for n, want := range map[int]int{0: 0, nodestate.MaxProblems: nodestate.MaxProblems, nodestate.MaxProblems + 1: nodestate.MaxProblems + 1, 1 << 20: nodestate.MaxProblems + 1} {
		bound := nodestate.BoundProblems(make([]verifier.Problem, n))
		more := n > nodestate.MaxProblems
		if len(bound) != want || more != (n > 0 && bound[len(bound)-1].Text == fmt.Sprintf("and %d more problems: correct those above", n-nodestate.MaxProblems)) {
			t.Errorf("%d: %d", n, len(bound))
		}
	}
}
