package nodestate

import (
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
