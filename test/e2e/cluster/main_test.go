// Package cluster runs the product in a real Kubernetes: what users see at kubectl, and what nodes do when nobody asks
// the API server.
package cluster

import (
	"os"
	"testing"

	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/cluster/kubernetes"
)

func TestMain(m *testing.M) {
	cluster.Isolate(kubernetes.Tool, "./cmd/kritis")
	os.Exit(m.Run())
}
