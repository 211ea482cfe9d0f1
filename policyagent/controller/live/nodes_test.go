package live

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	core "k8s.io/api/core/v1"

	"github.com/kritis-node/kritis-node/policyagent/nodereport"
	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/cluster/kubernetes"
)

const (
	nodeReason = `{.status.conditions[?(@.type=="KritisEnforcing")].reason}`
	farNodes   = `
apiVersion: v1
kind: Node
metadata: {name: far, labels: {kubernetes.io/os: linux}}
---
apiVersion: v1
kind: Node
metadata: {name: windows, labels: {kubernetes.io/os: windows}}
`
)

func lease(t *testing.T, node string, renewed time.Time, annotation string) string {
	t.Helper()
	name, err := nodereport.LeaseName(node)
	check(t, err)
	value, err := json.Marshal(annotation)
	check(t, err)
	return fmt.Sprintf(`
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata:
  name: %s
  namespace: %s
  labels: {%s: %s}
  annotations: {%s: %s}
spec: {holderIdentity: %s, renewTime: %q}
`, name, namespace, nodereport.Label, nodereport.LabelValue, nodereport.Annotation, value, node, renewed.UTC().Format("2006-01-02T15:04:05.000000Z"))
}

func report(t *testing.T, node, mode string, gaps ...string) string {
	t.Helper()
	r := nodereport.Report{Node: node, Mode: mode, At: time.Now()}
	for _, g := range gaps {
		r.Gaps = append(r.Gaps, nodereport.Gap{Code: "code", Text: g})
	}
	value, err := r.Encode()
	check(t, err)
	return value
}

func nodeCondition(t *testing.T, kube *kubernetes.Cluster, name string) core.NodeCondition {
	t.Helper()
	var node core.Node
	get(t, kube, &node, "node", name)
	var found []core.NodeCondition
	for _, c := range node.Status.Conditions {
		if c.Type == nodereport.Condition {
			found = append(found, c)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d conditions: %+v", len(found), node.Status.Conditions)
	}
	return found[0]
}

// A Node's condition says what its report says, and events say when that changes.
func testNodes(t *testing.T, kube *kubernetes.Cluster) {
	c := startController(t, kube, 9101)
	apply(t, kube, farNodes)
	kubectl(t, kube, "patch", "node", "far", "--subresource=status", "--patch", `{"status":{"conditions":[{"type":"Other","status":"True","reason":"X"}]}}`)
	await(t, kube, "", "node/far", nodeReason, "Silent")
	if got := nodeCondition(t, kube, "far"); got.Status != core.ConditionUnknown || !strings.HasPrefix(got.Message, "no report has come") {
		t.Errorf("%+v", got)
	}
	for _, tc := range []struct {
		annotation, reason, mode string
		status                   core.ConditionStatus
		message                  string
	}{
		{report(t, "far", nodereport.ModeEnforcing), "Enforcing", "enforcing", core.ConditionTrue, "no container starts unchecked"},
		{report(t, "far", nodereport.ModeBestEffort, "not required", "no\nvalidator"), "BestEffort", "best effort", core.ConditionFalse,
			"containers start unchecked while the plugin is stalled or absent: not required; no validator"},
		{report(t, "far", nodereport.ModeWaiting), "Waiting", "waiting", core.ConditionFalse, "the plugin works and is not registered"},
		{report(t, "far", nodereport.ModeAbsent), "PluginAbsent", "absent", core.ConditionFalse, "the policy agent has not heard of a plugin"},
		{report(t, "far", "better than ever"), "ReportUnreadable", "unreadable", core.ConditionUnknown, `the report of this node cannot be read: mode "better than ever" is not known`},
		{report(t, "near", nodereport.ModeEnforcing), "ReportUnreadable", "unreadable", core.ConditionUnknown, `the report of this node cannot be read: it is of node "near"`},
		{report(t, "far", nodereport.ModeEnforcing), "Enforcing", "enforcing", core.ConditionTrue, "no container starts unchecked"},
		{"{", "ReportUnreadable", "unreadable", core.ConditionUnknown, "the report of this node cannot be read: "},
	} {
		apply(t, kube, lease(t, "far", time.Now(), tc.annotation))
		check(t, cluster.Await(t.Context(), "the condition "+tc.message, func(context.Context) error {
			got := nodeCondition(t, kube, "far")
			if got.Reason != tc.reason || got.Status != tc.status || !strings.HasPrefix(got.Message, tc.message) {
				return fmt.Errorf("%+v", got)
			}
			return nil
		}))
		c.awaitMetric(1, "kritis_controller_nodes", "mode="+strings.ReplaceAll(tc.mode, " ", "-"))
	}
	// What is not ours is as before.
	if got := kubectl(t, kube, "get", "node", "far", "--output", `jsonpath={.status.conditions[?(@.type=="Other")].reason}`); got != "X" {
		t.Errorf("another's condition is %q", got)
	}
	apply(t, kube, lease(t, "far", time.Now(), report(t, "far", nodereport.ModeEnforcing)))
	await(t, kube, "", "node/far", nodeReason, "Enforcing")
	name, err := nodereport.LeaseName("far")
	check(t, err)
	kubectl(t, kube, "delete", "lease", name, "--namespace", namespace)
	await(t, kube, "", "node/far", nodeReason, "Silent")
	for reason, least := range map[string]int{"KritisNotEnforcing": 3, "KritisEnforcing": 2} {
		check(t, cluster.Await(t.Context(), "events", func(ctx context.Context) error {
			got, err := kube.KubectlOutput(ctx, "get", "events", "--namespace", "default", "--field-selector", "involvedObject.name=far,reason="+reason,
				"--output", `jsonpath={range .items[*]}{.series.count} {.message}{"\n"}{end}`)
			if n := strings.Count(got, "\n"); err == nil && n == 0 {
				err = fmt.Errorf("%d events %s, want about %d", n, reason, least)
			}
			return err
		}))
	}
	if got := kubectl(t, kube, "describe", "node", "far"); !strings.Contains(got, "KritisNotEnforcing") || !strings.Contains(got, "containers start unchecked") {
		t.Errorf("kubectl does not tell of it:\n%s", got)
	}
	// A node of which nobody reports has no condition.
	if got := kubectl(t, kube, "get", "node", "windows", "--output", "jsonpath="+nodeReason); got != "" {
		t.Errorf("the Windows node is %s", got)
	}
	kubectl(t, kube, "delete", "node", "windows", "far")
	c.awaitMetric(1, "kritis_controller_nodes")
}

// A node that stops reporting is silent when its report is too old, though nothing else happens.
func testSilent(t *testing.T, kube *kubernetes.Cluster) {
	apply(t, kube, farNodes)
	startController(t, kube, 9101)
	await(t, kube, "", "node/far", nodeReason, "Silent")
	apply(t, kube, lease(t, "far", time.Now().Add(15*time.Second-nodereport.StaleAfter), report(t, "far", nodereport.ModeEnforcing)))
	await(t, kube, "", "node/far", nodeReason, "Enforcing")
	await(t, kube, "", "node/far", nodeReason, "Silent")
	if got := nodeCondition(t, kube, "far"); got.Status != core.ConditionUnknown || !strings.HasPrefix(got.Message, "the last report of this node is from 20") {
		t.Errorf("%+v", got)
	}
	// It talks again, with a clock that is a day late.
	apply(t, kube, lease(t, "far", time.Now().Add(-24*time.Hour), report(t, "far", nodereport.ModeBestEffort)))
	await(t, kube, "", "node/far", nodeReason, "BestEffort")
	kubectl(t, kube, "delete", "node", "windows", "far")
	kubectl(t, kube, "delete", "lease", "kritis-node.far", "--namespace", namespace)
}
