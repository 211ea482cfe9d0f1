package live

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/nodestate"
	"github.com/kritis-node/kritis-node/test/cluster/clustertest"
	"github.com/kritis-node/kritis-node/test/cluster/kubernetes"
	"github.com/kritis-node/kritis-node/verifier"
)

// One cluster serves all these tests, in order.
func TestLive(t *testing.T) {
	kube := clustertest.StartKubernetes(t, kubernetes.Options{})
	for _, test := range []struct {
		name string
		run  func(*testing.T, *kubernetes.Cluster)
	}{
		{"kinds come and go", testKinds},
		{"manifests", testManifests},
		{"refused", testRefused},
		{"columns", testColumns},
		{"policy follows", testFollow},
		{"the API server is away", testOutage},
		{"read only", testRights},
		{"many", testMany},
		{"events", testEvents},
		{"node reports", testReports},
		{"in a pod", testInCluster},
	} {
		if !t.Run(test.name, func(t *testing.T) { test.run(t, kube) }) {
			return
		}
	}
}

// An agent that runs before the CRDs are there, and after they are gone again.
func testKinds(t *testing.T, kube *kubernetes.Cluster) {
	a := startAgent(t, kube.Kubeconfig())
	a.await(t, "no kinds", named(""))
	first := a.policy().Generation
	_, err := kube.KubectlOutput(t.Context(), "apply", "--filename", crds)
	check(t, err)
	_, err = kube.KubectlOutput(t.Context(), "wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
	check(t, err)
	check(t, kube.Apply(t.Context(), policyManifest("default", "first")))
	t.Logf("the first policy after its kind: %s", a.await(t, "the first policy", named("default/first")))
	if a.policy().Generation <= first {
		t.Error("the generation did not grow")
	}
	_, err = kube.KubectlOutput(t.Context(), "delete", "--filename", crds)
	check(t, err)
	a.await(t, "the kinds are gone", named(""))
	_, err = kube.KubectlOutput(t.Context(), "apply", "--filename", crds)
	check(t, err)
	_, err = kube.KubectlOutput(t.Context(), "wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
	check(t, err)
}

func policyManifest(namespace, name string) string {
	return fmt.Sprintf("---\n%sGenericAttestationPolicy\nmetadata: {name: %s, namespace: %s}\nspec: {attestationAuthorityNames: [qa]}\n", head, name, namespace)
}

// clear removes what the tests before have left.
func clear(t *testing.T, kube *kubernetes.Cluster) {
	t.Helper()
	_, err := kube.KubectlOutput(t.Context(), "delete", "aa,gap,aal", "--all", "--all-namespaces")
	check(t, err)
}

func testFollow(t *testing.T, kube *kubernetes.Cluster) {
	a := startAgent(t, kube.Kubeconfig())
	a.await(t, "what is there", func(p nodestate.Policy) bool { return p.Generation > 0 })
	clear(t, kube)
	a.await(t, "nothing", named(""))
	var took []time.Duration
	for i := range 11 {
		check(t, kube.Apply(t.Context(), policyManifest("default", "p")+authorityManifest(i)))
		want := fmt.Sprintf("namespaces/%d", i)
		took = append(took, a.await(t, "the change", func(p nodestate.Policy) bool {
			return named("default/p")(p) && len(p.Document.Authorities) == 1 && p.Document.Authorities[0].NoteReference == want
		}))
	}
	slices.Sort(took)
	t.Logf("after kubectl ended, policy took %s at the median, %s at most", took[5], took[10])
	if took[5] > 2*time.Second {
		t.Error("that is too long")
	}
	if len(a.policy().Problems) == 0 {
		t.Error("the key cannot be used, and no problem says so")
	}
}

func authorityManifest(i int) string {
	return fmt.Sprintf("---\n%sAttestationAuthority\nmetadata: {name: qa, namespace: default}\nspec: {noteReference: namespaces/%d, publicKeyData: eA==}\n", head, i)
}

// Nothing changes while the API server is away, across a restart of the agent too, and what changed meanwhile arrives.
func testOutage(t *testing.T, kube *kubernetes.Cluster) {
	a := startAgent(t, kube.Kubeconfig())
	a.await(t, "what is there", named("default/p"))
	check(t, kube.StopAPIServer(t.Context()))
	before := a.policy().Generation
	time.Sleep(15 * time.Second)
	if got := a.policy(); got.Generation != before || !named("default/p")(got) {
		t.Errorf("%+v", got)
	}
	r, err := nodestate.Open(a.dir + "/state")
	check(t, err)
	if s, err := r.Status(); err != nil || !strings.Contains(s.PolicyError, "watching ") {
		t.Errorf("the status does not say so: %+v, %v", s, err)
	}
	check(t, kube.StartAPIServer(t.Context()))
	check(t, kube.Apply(t.Context(), policyManifest("default", "q")))
	t.Logf("after the outage: %s", a.await(t, "what is new", named("default/p default/q")))
}

// The agent needs no more than to read.
func testRights(t *testing.T, kube *kubernetes.Cluster) {
	kubeconfig, err := kube.KubeconfigFor("reader")
	check(t, err)
	a := startAgent(t, kubeconfig, "--node-name", "far")
	time.Sleep(2 * time.Second)
	if a.policy().Generation != 0 {
		t.Errorf("policy without rights: %+v", a.policy())
	}
	check(t, kube.Apply(t.Context(), `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: reader}
rules:
- {apiGroups: [kritis.grafeas.io], resources: [attestationauthorities, genericattestationpolicies, admissionallowlists], verbs: [list, watch]}
- {apiGroups: [""], resources: [pods], verbs: [list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: reader}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: reader}]
`))
	a.await(t, "with rights", named("default/p default/q"))
	log, err := os.ReadFile(a.LogFile())
	if err != nil || !strings.Contains(string(log), "allow the policy agent's ServiceAccount") {
		t.Errorf("the log does not say what is missing: %v\n%s", err, log)
	}
}

const farNode = "apiVersion: v1\nkind: Node\nmetadata: {name: far}\n"

var testDigest = verifier.Digest("sha256:" + strings.Repeat("a", 64))

// A thousand policies and two hundred pods.
func testMany(t *testing.T, kube *kubernetes.Cluster) {
	clear(t, kube)
	var policies, pods strings.Builder
	for i := range 1000 {
		policies.WriteString(policyManifest("default", fmt.Sprintf("p%04d", i)))
	}
	pods.WriteString(farNode)
	for i := range 200 {
		fmt.Fprintf(&pods, "---\napiVersion: v1\nkind: Pod\nmetadata: {name: far-%d}\nspec:\n  nodeName: far\n  containers: [{name: c, image: \"registry.example/app%d@%s\"}]\n", i, i, testDigest)
	}
	_, stderr, code, err := kube.KubectlInput(t.Context(), policies.String(), "create", "--filename", "-")
	check(t, err)
	if code != 0 {
		t.Fatal(stderr)
	}
	a := startAgent(t, kube.Kubeconfig(), "--node-name", "far")
	a.await(t, "a thousand policies", func(p nodestate.Policy) bool { return len(p.Document.Policies) == 1000 })
	check(t, kube.Apply(t.Context(), pods.String()))
	r, err := nodestate.Open(a.dir + "/state")
	check(t, err)
	began := time.Now()
	for i := 0; i < 200; {
		if _, err := r.Attestations(fmt.Sprintf("registry.example/app%d", i), testDigest); err == nil {
			i++
			continue
		}
		if time.Since(began) > time.Minute {
			t.Fatalf("nothing is known about the image of pod %d", i)
		}
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(3 * time.Second)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", a.PID()))
	check(t, err)
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "VmRSS") || strings.HasPrefix(line, "VmHWM") || strings.HasPrefix(line, "RssAnon") {
			t.Log(strings.Join(strings.Fields(line), " "))
		}
	}
}
