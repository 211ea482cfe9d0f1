// Package cluster holds the hostile cases that need the whole: a real Kubernetes with the chart installed, where images come by
// every way that the API has, with the webhook and without it. What test/e2e/admission and test/e2e/operation show already is
// not here; docs/threat-model.md says which test shows what.
package cluster

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
