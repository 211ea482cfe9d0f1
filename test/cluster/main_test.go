package cluster_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/kritis-node/kritis-node/test/cluster"
)

func TestMain(m *testing.M) {
	cluster.Isolate("containerd-2.3")
	if mode := os.Getenv(innerVariable); mode != "" {
		os.Exit(inner(mode))
	}
	goleak.VerifyTestMain(m)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
