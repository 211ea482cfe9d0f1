// Package admission shows, on a real cluster with the chart installed, what becomes of everything that can bring an image:
// every kind, debugging containers, image volumes, injected sidecars; and that nothing excuses an image but policy.
package admission

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
