// Package e2e holds what the product promises, each promise as a test by its name, on real containerd of every version
// that is supported, with real registries and real signers. A file is a group of promises; each test of a group shares
// one node per version.
//
//	signing_test.go      what is attested starts, what is not does not
//	identity_test.go     what runs counts, not what somebody says
//	index_test.go, retag_test.go, volume_test.go, handler_test.go   the same, for indexes, names, image volumes, handlers
//	failclosed_test.go   nothing starts unchecked while the plugin is gone, stalled or dying
//	failopen_test.go     why it is built the way it is
//	outage_test.go, state_test.go, bootstrap_test.go   registry, agent or files gone
//	burst_test.go        many unknown images do not hold up a known one
//	isolation_test.go    the plugin has no network and no capabilities
//	floor_test.go        the node's minimum, whatever the cluster says
//	audit_test.go        every decision leaves its evidence
//	commands_test.go     sign, verify, explain, status, lint
//
// site_test.go starts nodes and containers, attest_test.go signs beside the product, faults_test.go brings faults about,
// expect_test.go says what is expected.
package e2e

import (
	"os"
	"testing"

	"github.com/kritis-node/kritis-node/test/stack"
)

const faultyPlugin = "./test/e2e/faultyplugin"

func TestMain(m *testing.M) {
	stack.Isolate(faultyPlugin)
	os.Exit(m.Run())
}
