package versions

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/kritis-node/kritis-node/test/stack"
)

func TestMain(m *testing.M) {
	var tools []string
	for _, r := range Runtimes() {
		tools = append(tools, "containerd-"+r.Line)
	}
	stack.Isolate(tools...)
	goleak.VerifyTestMain(m)
}
