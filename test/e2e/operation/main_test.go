// Package operation runs the whole product, installed by its chart, through what happens to it in years: it is installed beside
// what already runs, policies come and go, keys are rotated, the API server is away, versions change, and it is uninstalled.
package operation

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
