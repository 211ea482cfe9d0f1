package live

import (
	"testing"

	"github.com/kritis-node/kritis-node/test/cluster/clustertest"
	"github.com/kritis-node/kritis-node/test/cluster/kubernetes"
)

// One cluster serves all these tests, in order.
func TestLive(t *testing.T) {
	kube := clustertest.StartKubernetes(t, kubernetes.Options{})
	apply(t, kube, rights)
	kubectl(t, kube, "apply", "--filename", crds)
	kubectl(t, kube, "wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
	for _, test := range []struct {
		name string
		run  func(*testing.T, *kubernetes.Cluster)
	}{
		{"reasons", testReasons},
		{"policies follow authorities", testFollow},
		{"patterns expire", testExpiry},
		{"settled", testSettled},
		{"one leads", testLeader},
		{"nodes", testNodes},
		{"a silent node", testSilent},
		{"certificates", testCertificates},
		{"webhook", testWebhook},
		{"attestations", testAttestations},
		{"policy reports", testPolicyReports},
		{"what an uninstallation leaves", testClean},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, kube) })
	}
}
