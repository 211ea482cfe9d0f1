package live

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/nodereport"
	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/cluster/kubernetes"
)

// reportCRD has the fields and rules of the published CRD of wgpolicyk8s.io/v1alpha2 as far as they concern what is written here;
// that of openreports.io/v1alpha1 calls them the same.
const reportCRD = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: %[2]s.%[1]s}
spec:
  group: %[1]s
  scope: Namespaced
  names: {kind: %[3]s, listKind: %[3]sList, plural: %[2]s, singular: %[4]s}
  versions:
  - name: %[5]s
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          apiVersion: {type: string}
          kind: {type: string}
          metadata: {type: object}
          summary:
            type: object
            properties: {pass: {type: integer}, fail: {type: integer}, warn: {type: integer}, error: {type: integer}, skip: {type: integer}}
          results:
            type: array
            items:
              type: object
              required: [policy]
              properties:
                source: {type: string}
                policy: {type: string}
                rule: {type: string}
                category: {type: string}
                severity: {type: string, enum: [critical, high, low, medium, info]}
                result: {type: string, enum: [pass, fail, warn, error, skip]}
                message: {type: string}
                scored: {type: boolean}
                timestamp:
                  type: object
                  required: [nanos, seconds]
                  properties: {nanos: {type: integer, format: int32}, seconds: {type: integer, format: int64}}
                resources:
                  type: array
                  items:
                    type: object
                    properties: {apiVersion: {type: string}, kind: {type: string}, namespace: {type: string}, name: {type: string}, uid: {type: string}}
                properties: {type: object, additionalProperties: {type: string}}
`

type policyReport struct {
	Metadata struct {
		Labels map[string]string `json:"labels"`
	} `json:"metadata"`
	Summary map[string]int `json:"summary"`
	Results []struct {
		Source, Policy, Rule, Result, Message string
		Resources                             []struct{ Kind, Namespace, Name, UID string }
		Properties                            map[string]string
	} `json:"results"`
}

// testPolicyReports shows that findings of nodes become policy reports, whenever the kind is installed, and that those go.
func testPolicyReports(t *testing.T, kube *kubernetes.Cluster) {
	startController(t, kube, 9120)
	apply(t, kube, farNodes+"---\napiVersion: v1\nkind: Namespace\nmetadata: {name: team}\n")
	at := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	tell := func(findings ...nodereport.Finding) {
		r := nodereport.Report{Node: "far", Mode: nodereport.ModeEnforcing, At: time.Now(), Running: &nodereport.Running{Findings: findings}}
		value, err := r.Encode()
		check(t, err)
		apply(t, kube, lease(t, "far", time.Now(), value))
	}
	violation := nodereport.Finding{Result: nodereport.ResultViolation, Namespace: "team", Pod: "web", PodUID: "u1", Container: "main", ID: "c1", Image: "i", Reason: "NotAttested", Message: "why", Since: at}
	dry, unknown, unmanaged, nowhere := violation, violation, nodereport.Finding{Result: nodereport.ResultUnmanaged, Runtime: "moby", ID: "c4", Reason: "UnmanagedTask", Message: "why", Since: at}, violation
	dry.Result, dry.ID = nodereport.ResultDryRun, "c2"
	unknown.Result, unknown.ID = nodereport.ResultUnknown, "c3"
	nowhere.Namespace = "not-there" // a client of the runtime may say so
	tell(dry, unknown, violation, unmanaged, nowhere)

	apply(t, kube, fmt.Sprintf(reportCRD, "wgpolicyk8s.io", "policyreports", "PolicyReport", "policyreport", "v1alpha2"))
	kubectl(t, kube, "wait", "--for=condition=Established", "crd/policyreports.wgpolicyk8s.io", "--timeout=60s")
	r := awaitReport(t, kube, "team", "policyreports", 3)
	if r.Summary["fail"] != 1 || r.Summary["warn"] != 1 || r.Summary["error"] != 1 || r.Summary["pass"] != 0 || r.Metadata.Labels["app.kubernetes.io/managed-by"] != "kritis-controller" {
		t.Errorf("%+v", r)
	}
	if first := r.Results[0]; first.Source != "kritis-node" || first.Policy == "" || first.Rule != "NotAttested" || first.Result != "fail" || first.Message != "why" ||
		first.Resources[0].Kind != "Pod" || first.Resources[0].Namespace != "team" || first.Resources[0].Name != "web" || first.Resources[0].UID != "u1" ||
		first.Properties["node"] != "far" || first.Properties["image"] != "i" {
		t.Errorf("%+v", first)
	}
	r = awaitReport(t, kube, namespace, "policyreports", 1)
	if first := r.Results[0]; first.Resources[0].Kind != "Node" || first.Resources[0].Name != "far" || first.Properties["containerdNamespace"] != "moby" {
		t.Errorf("%+v", first)
	}
	// What is not found any more goes, and with the last the report.
	tell(violation)
	awaitReport(t, kube, "team", "policyreports", 1)
	awaitNoReport(t, kube, namespace)
	kubectl(t, kube, "delete", "node", "far")
	awaitNoReport(t, kube, "team")
	apply(t, kube, farNodes)
	awaitReport(t, kube, "team", "policyreports", 1)
}

func awaitReport(t *testing.T, kube *kubernetes.Cluster, ns, kind string, results int) (r policyReport) {
	t.Helper()
	check(t, cluster.Await(t.Context(), "a policy report in namespace "+ns, func(ctx context.Context) error {
		r = policyReport{}
		out, err := kube.KubectlOutput(ctx, "get", kind, "kritis-node", "--namespace", ns, "--output", "json")
		if err == nil {
			err = json.Unmarshal([]byte(out), &r)
		}
		if err == nil && len(r.Results) != results {
			err = fmt.Errorf("it has %d results, want %d", len(r.Results), results)
		}
		return err
	}))
	return r
}

func awaitNoReport(t *testing.T, kube *kubernetes.Cluster, ns string) {
	t.Helper()
	check(t, cluster.Await(t.Context(), "the policy report of namespace "+ns+" to go", func(ctx context.Context) error {
		out, err := kube.KubectlOutput(ctx, "get", "policyreports", "--namespace", ns, "--output", "name")
		if err == nil && out != "" {
			err = errors.New(out)
		}
		return err
	}))
}
