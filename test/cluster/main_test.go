package cluster

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	Isolate("containerd-2.3")
	goleak.VerifyTestMain(m)
}
