package live

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/nodereport"
	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/cluster/kubernetes"
)

const cleanUser = "system:serviceaccount:kritis-system:kritis-clean"

// cleanRights are those of the controller's package documentation.
const cleanRights = `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: kritis-clean}
rules:
- {apiGroups: [kritis.grafeas.io], resources: [attestations], verbs: [list, delete]}
- {apiGroups: [""], resources: [nodes], verbs: [list]}
- {apiGroups: [""], resources: [nodes/status], verbs: [patch]}
- {apiGroups: [wgpolicyk8s.io], resources: [policyreports], verbs: [list, delete]}
- {apiGroups: [openreports.io], resources: [reports], verbs: [list, delete]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: kritis-clean, namespace: kritis-system}
rules:
- {apiGroups: [""], resources: [pods], verbs: [list]}
- {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [list, delete]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: kritis-clean}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: kritis-clean}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: "` + cleanUser + `"}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: kritis-clean, namespace: kritis-system}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: kritis-clean}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: "` + cleanUser + `"}]
`

// cleanPods stand for what the product runs. Nobody runs them, because node "far" is no machine.
const cleanPods = `
apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: kritis-system, labels: {app.kubernetes.io/part-of: kritis-node, app.kubernetes.io/component: %s}}
spec: {nodeName: far, tolerations: [{operator: Exists}], containers: [{name: a, image: none.example/a}]}
`

// cleaning is a run of `kritis-controller clean`.
type cleaning struct {
	out, errOut bytes.Buffer
	ended       chan error
}

func startCleaning(t *testing.T, kube *kubernetes.Cluster, user string, args ...string) *cleaning {
	t.Helper()
	program, err := cluster.Build(t.Context(), "./cmd/kritis-controller")
	check(t, err)
	kubeconfig, err := kube.KubeconfigFor(user)
	check(t, err)
	c := &cleaning{ended: make(chan error, 1)}
	cmd := exec.CommandContext(t.Context(), program, append([]string{"clean", "--kubeconfig", kubeconfig, "--namespace", namespace}, args...)...)
	cmd.Stdout, cmd.Stderr = &c.out, &c.errOut
	check(t, cmd.Start())
	go func() { c.ended <- cmd.Wait() }()
	return c
}

// expect waits for the end, and compares the exit code and what was printed; of lines on standard error the beginning.
func (c *cleaning) expect(t *testing.T, code int, out string, errLines ...string) {
	t.Helper()
	err := <-c.ended
	got := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		check(t, err)
	}
	if got != code || c.out.String() != out {
		t.Errorf("exit code %d, want %d; it said %q, want %q", got, code, c.out.String(), out)
	}
	lines := strings.Split(strings.TrimSuffix(c.errOut.String(), "\n"), "\n")
	if len(errLines) == 0 && c.errOut.Len() > 0 || len(errLines) > 0 && len(lines) != len(errLines) {
		t.Errorf("it complains: %s", &c.errOut)
		return
	}
	for i, want := range errLines {
		if !strings.HasPrefix(lines[i], "kritis-controller: "+want) {
			t.Errorf("line %d is %q, want %q", i+1, lines[i], want)
		}
	}
}

const setCondition = `{"status":{"conditions":[{"type":"KritisEnforcing","status":"True","reason":"Enforcing"}]}}`

// After an uninstallation nothing is left that speaks of the product, and everything else is as it was.
func testClean(t *testing.T, kube *kubernetes.Cluster) {
	apply(t, kube, cleanRights)
	for _, may := range [][]string{{"list", "pods", "--namespace", namespace}, {"patch", "nodes", "--subresource=status"}} {
		check(t, cluster.Await(t.Context(), "the rights of "+cleanUser, func(ctx context.Context) error {
			_, err := kube.KubectlOutput(ctx, append([]string{"auth", "can-i", "--as", cleanUser}, may...)...)
			return err
		}))
	}
	apply(t, kube, farNodes)
	kubectl(t, kube, "patch", "node", "far", "--subresource=status", "--patch", `{"status":{"conditions":[{"type":"Other","status":"True","reason":"X"}]}}`)
	// Whatever earlier tests left, two Nodes have the condition, and one has not.
	for _, node := range []string{"far", kube.NodeName()} {
		kubectl(t, kube, "patch", "node", node, "--subresource=status", "--patch", setCondition)
	}
	apply(t, kube, lease(t, "far", time.Now(), report(t, "far", nodereport.ModeEnforcing)))
	apply(t, kube, lease(t, "gone", time.Now(), "{"))
	if _, err := kube.KubectlOutput(t.Context(), "get", "lease", "kritis-controller", "--namespace", namespace); err != nil {
		t.Fatalf("earlier tests left no Lease of a leader: %v", err)
	}
	// These are others': one has the label, one the name, one the namespace.
	theirs := []string{"theirs " + namespace, "kritis-node.unlabelled " + namespace, "kritis-node.far default"}
	apply(t, kube, strings.Replace(lease(t, "x", time.Now(), ""), "kritis-node.x", "theirs", 1))
	apply(t, kube, strings.Replace(lease(t, "unlabelled", time.Now(), ""), nodereport.LabelValue, "other", 1))
	apply(t, kube, strings.Replace(lease(t, "far", time.Now(), ""), "namespace: "+namespace, "namespace: default", 1))
	// What was made by asking goes, and what somebody wrote stays, asked for or not.
	askFor(t, kube, digestOf("d"))
	askFor(t, kube, digestOf("e"))
	apply(t, kube, written(digestOf("e"), "0123456789abcdef", "theirs")+written(digestOf("f"), "0123456789abcdef", "theirs"))
	defer func() {
		kubectl(t, kube, "delete", "attestations", "--all")
		for _, l := range theirs {
			name, ns, _ := strings.Cut(l, " ")
			kubectl(t, kube, "delete", "lease", name, "--namespace", ns)
		}
		kubectl(t, kube, "delete", "pods", "--all", "--namespace", namespace, "--force", "--grace-period=0")
		kubectl(t, kube, "delete", "node", "far", "windows")
	}()
	const far = `jsonpath={.status.conditions[?(@.type=="KritisEnforcing")].status}`

	t.Run("missing rights are told", func(t *testing.T) {
		startCleaning(t, kube, cleanUser+"-not").expect(t, 2, "removed: conditions of nodes 0, leases 0, attestations 0, policy reports 0\n",
			"looking whether pods of the product still run in namespace kritis-system: pods is forbidden",
			"listing nodes: nodes is forbidden",
			`deleting lease kritis-system/kritis-controller: leases.coordination.k8s.io "kritis-controller" is forbidden`,
			"listing leases of namespace kritis-system: leases.coordination.k8s.io is forbidden",
			"listing Attestations: attestations.kritis.grafeas.io is forbidden",
			"listing policy reports: policyreports.wgpolicyk8s.io is forbidden")
		if got := kubectl(t, kube, "get", "node", "far", "--output", far); got != "True" {
			t.Errorf("the condition is %q", got)
		}
	})
	t.Run("it waits for those that write", func(t *testing.T) {
		for name, component := range map[string]string{"agent": "node", "controller": "controller", "evicted": "node", "hook": "clean", "webhook": "webhook"} {
			apply(t, kube, fmt.Sprintf(cleanPods, name, component))
		}
		kubectl(t, kube, "patch", "pod", "evicted", "--namespace", namespace, "--subresource=status", "--patch", `{"status":{"phase":"Failed"}}`)
		c := startCleaning(t, kube, cleanUser)
		for _, writer := range []string{"agent", "controller", "webhook"} {
			kubectl(t, kube, "delete", "pod", writer, "--namespace", namespace, "--wait=false") // ends, and has not ended
			for range 3 {
				if got := kubectl(t, kube, "get", "node", "far", "--output", far); got != "True" {
					t.Fatalf("pod %s still ends, and the condition is %q already", writer, got)
				}
			}
			kubectl(t, kube, "delete", "pod", writer, "--namespace", namespace, "--force", "--grace-period=0")
		}
		c.expect(t, 0, "removed: conditions of nodes 2, leases 3, attestations 1, policy reports 1\n")
	})
	all := []string{"get", "nodes/far", "nodes/windows", "--output", "yaml"}
	before := kubectl(t, kube, all...)
	t.Run("what is others' stays", func(t *testing.T) {
		if strings.Contains(before, nodereport.Condition) || !strings.Contains(before, "type: Other") {
			t.Errorf("the nodes are\n%s", before)
		}
		if got := kubectl(t, kube, "get", "node", kube.NodeName(), "--output", `jsonpath={.status.conditions[*].type}`); strings.Contains(got, nodereport.Condition) ||
			!strings.Contains(got, "Ready") {
			t.Errorf("conditions of the node: %s", got)
		}
		for _, l := range theirs {
			name, ns, _ := strings.Cut(l, " ")
			kubectl(t, kube, "get", "lease", name, "--namespace", ns)
		}
		if got := strings.Fields(kubectl(t, kube, "get", "leases", "--namespace", namespace, "--output", "name")); len(got) != 2 {
			t.Errorf("leases: %v", got)
		}
	})
	t.Run("attestations of people stay", func(t *testing.T) {
		got := kubectl(t, kube, "get", "attestations", "--output", "name")
		if strings.Contains(got, "sha256-d") || !strings.Contains(got, "sha256-e") || !strings.Contains(got, "sha256-f") {
			t.Errorf("%s", got)
		}
	})
	t.Run("a second run changes nothing", func(t *testing.T) {
		startCleaning(t, kube, cleanUser).expect(t, 0, "removed: conditions of nodes 0, leases 0, attestations 0, policy reports 0\n")
		if after := kubectl(t, kube, all...); after != before {
			t.Errorf("before\n%s\nafter\n%s", before, after)
		}
	})
	t.Run("what still runs is told, and the rest is done", func(t *testing.T) {
		kubectl(t, kube, "patch", "node", "far", "--subresource=status", "--patch", setCondition)
		apply(t, kube, fmt.Sprintf(cleanPods, "agent", "node"))
		startCleaning(t, kube, cleanUser, "--wait=1s").expect(t, 2, "removed: conditions of nodes 1, leases 0, attestations 0, policy reports 0\n",
			"pod kritis-system/agent still runs and may write anew: uninstall the product, or delete the pod, then repeat this")
	})
}
