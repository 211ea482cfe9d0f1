package nodestate

import (
	"fmt"
	"slices"
	"time"

	"github.com/kritis-node/kritis-node/verifier"
)

// Policy is the policy snapshot: what the plugin compiles and decides by.
type Policy struct {
	// Generation grows with every change, across restarts too: verdicts are cached by it.
	Generation uint64    `json:"generation"`
	WrittenAt  time.Time `json:"writtenAt"`
	// Source says where the policy came from, for people: "folder /etc/kritis/policies", say.
	Source   string            `json:"source,omitempty"`
	Document verifier.Document `json:"document"`
	// Problems are what compiling the document found, for people; a reader compiles again.
	Problems []verifier.Problem `json:"problems,omitempty"`
}

// MaxProblems is the number of problems that are kept of a policy.
const MaxProblems = 1000

// BoundProblems returns the first problems, and how many more there are. Those of ten thousand objects would not leave room for
// the policy itself.
func BoundProblems(all []verifier.Problem) []verifier.Problem {
	n := len(all) - MaxProblems
	if n <= 0 {
		return all
	}
	return append(slices.Clone(all[:MaxProblems]), verifier.Problem{
		Object: "policy", Code: verifier.CodeMoreProblems, Text: fmt.Sprintf("and %d more problems: correct those above", n),
	})
}
