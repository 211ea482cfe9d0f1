// Package hostile holds what has beaten products of this kind, each case as a test by its name, on a real containerd with real
// registries and keys: what is not attested does not run, and its honest twin does in the same situation. Cases that are
// shown on every version of containerd are in test/e2e; docs/threat-model.md says which test shows what.
//
//	verifier_test.go, registry_test.go       the verifier is made to fail
//	content_test.go                          something else runs than what was checked
//	policy_test.go, pattern_test.go          the policy is dodged
//	forged_test.go, bundle_test.go, key_test.go, credentials_test.go   the attestation is forged
//	operator_test.go                         the operator is surprised
//
// site_test.go starts nodes and containers, attest_test.go makes attestations of any kind, proxy_test.go is a registry that lies,
// expect_test.go says what is expected. Each group has a node of its own; the groups run at the same time.
package hostile

import (
	"os"
	"testing"

	"github.com/kritis-node/kritis-node/test/stack"
)

func TestMain(m *testing.M) {
	stack.Isolate()
	os.Exit(m.Run())
}
