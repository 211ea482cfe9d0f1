package kubernetes_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/cluster/kubernetes"
)

func TestMain(m *testing.M) {
	cluster.Isolate(kubernetes.Tool)
	goleak.VerifyTestMain(m)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
