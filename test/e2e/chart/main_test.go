// Package chart installs the chart in a real Kubernetes, as users do: what they see at kubectl, what nodes do, and what is
// left when it is gone.
package chart

import (
	"os"
	"testing"

	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/site"
)

func TestMain(m *testing.M) {
	cluster.Isolate(site.Needs()...)
	os.Exit(m.Run())
}
