package live

import (
	"testing"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/api/v1beta1"
	"github.com/kritis-node/kritis-node/test/cluster/kubernetes"
)

const leading = "leader_election_master_status"

// Of two controllers one works; the other goes on when that one is stopped, and when it is killed.
func testLeader(t *testing.T, kube *kubernetes.Cluster) {
	works := func(name string) {
		t.Helper()
		apply(t, kube, object(v1beta1.KindPolicy, "default", name, "{attestationAuthorityNames: [nobody]}"))
		await(t, kube, "default", "gap/"+name, reason, "AuthorityMissing")
	}
	first := startController(t, kube, 9101)
	first.awaitMetric(1, leading)
	second := startController(t, kube, 9102)
	works("with-two")
	if first.metric(leading) != 1 || second.metric(leading) != 0 || second.metric("controller_runtime_reconcile_total") != 0 {
		t.Error("both work, or none")
	}
	began := time.Now()
	first.Stop()
	second.awaitMetric(1, leading)
	orderly := time.Since(began)
	works("after-stop")

	third := startController(t, kube, 9101)
	began = time.Now()
	check(t, second.Kill())
	if got := kubectl(t, kube, "get", "lease", "kritis-controller", "--namespace", namespace, "--output", "jsonpath={.spec.holderIdentity}"); got == "" {
		t.Error("a killed leader has given up its Lease: then this shows nothing")
	}
	third.awaitMetric(1, leading)
	killed := time.Since(began)
	t.Logf("another leads %s after an orderly end, %s after a kill", orderly, killed)
	if orderly > killed {
		t.Error("a leader that ends does not give up its Lease")
	}
	works("after-kill")
	kubectl(t, kube, "delete", "gap", "--all")
}
