package live

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"go.uber.org/goleak"

	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/cluster/clustertest"
	"github.com/kritis-node/kritis-node/test/cluster/kubernetes"
)

func TestMain(m *testing.M) {
	cluster.Isolate(kubernetes.Tool, "./cmd/kritis", "./cmd/kritis-controller")
	goleak.VerifyTestMain(m)
}

const (
	crds      = "../../../daemonset/chart/crds"
	namespace = "kritis-system"
	user      = "system:serviceaccount:kritis-system:kritis-controller"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func kubectl(t *testing.T, kube *kubernetes.Cluster, args ...string) string {
	t.Helper()
	out, err := kube.KubectlOutput(t.Context(), args...)
	check(t, err)
	return out
}

func apply(t *testing.T, kube *kubernetes.Cluster, manifest string) {
	t.Helper()
	check(t, kube.Apply(t.Context(), manifest))
}

// get reads an object into a value.
func get(t *testing.T, kube *kubernetes.Cluster, into any, args ...string) {
	t.Helper()
	check(t, json.Unmarshal([]byte(kubectl(t, kube, append([]string{"get", "--output", "json"}, args...)...)), into))
}

// await waits until a text of an object, by its JSON path, is there.
func await(t *testing.T, kube *kubernetes.Cluster, ns, object, path, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := kube.AwaitObject(ctx, ns, object, "jsonpath="+path+"="+want); err != nil {
		t.Fatalf("%v\n%s", err, kubectl(t, kube, "get", object, "--namespace", ns, "--output", "yaml"))
	}
}

// controller is a `kritis-controller` of its own.
type controller struct {
	*clustertest.Program
	address string
	t       *testing.T
}

// startController starts one that may do what doc.go says, and nothing else.
func startController(t *testing.T, kube *kubernetes.Cluster, port int, args ...string) *controller {
	t.Helper()
	program, err := cluster.Build(t.Context(), "./cmd/kritis-controller")
	check(t, err)
	kubeconfig, err := kube.KubeconfigFor(user)
	check(t, err)
	c := &controller{address: fmt.Sprintf("127.0.0.1:%d", port), t: t}
	c.Program = clustertest.StartProgram(t, cluster.Command{
		Path: program,
		Args: append([]string{"--kubeconfig", kubeconfig, "--namespace", namespace, "--listen", c.address}, args...),
	}, func(ctx context.Context) error {
		_, err := c.ask(ctx, "/readyz")
		return err
	})
	t.Cleanup(func() {
		c.Stop()
		if c.Err() != nil && c.Err().Error() != "signal: killed" {
			t.Errorf("it ended with %v", c.Err())
		}
		text, err := os.ReadFile(c.LogFile())
		if err != nil {
			t.Error(err)
		}
		// Whatever right is missing shows here, and nowhere else.
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, "forbidden") {
				t.Errorf("a right is missing: %s", line)
			}
		}
	})
	return c
}

func (c *controller) ask(ctx context.Context, path string) (map[string]*dto.MetricFamily, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.address+path, nil)
	if err != nil {
		return nil, err
	}
	defer http.DefaultClient.CloseIdleConnections()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", path, resp.Status)
	}
	if path != "/metrics" {
		return nil, nil
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(resp.Body)
}

// metric adds up the samples of a metric whose labels are as wanted ("kind=…").
func (c *controller) metric(name string, labels ...string) float64 {
	c.t.Helper()
	families, err := c.ask(c.t.Context(), "/metrics")
	check(c.t, err)
	sum := 0.0
	for _, m := range families[name].GetMetric() {
		fits := 0
		for _, l := range m.GetLabel() {
			for _, want := range labels {
				if l.GetName()+"="+l.GetValue() == want {
					fits++
				}
			}
		}
		if fits == len(labels) {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sum
}

// awaitMetric waits for a value.
func (c *controller) awaitMetric(want float64, name string, labels ...string) {
	c.t.Helper()
	check(c.t, cluster.Await(c.t.Context(), fmt.Sprintf("%s%v to be %v", name, labels, want), func(context.Context) error {
		if got := c.metric(name, labels...); got != want {
			return fmt.Errorf("%v", got)
		}
		return nil
	}))
}

// rights are those of the controller's package documentation.
const rights = `
apiVersion: v1
kind: Namespace
metadata: {name: kritis-system}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: kritis-controller}
rules:
- {apiGroups: [kritis.grafeas.io], resources: [attestationauthorities, genericattestationpolicies, admissionallowlists], verbs: [list, watch]}
- {apiGroups: [kritis.grafeas.io], resources: [attestationauthorities/status, genericattestationpolicies/status, admissionallowlists/status], verbs: [patch]}
- {apiGroups: [kritis.grafeas.io], resources: [attestations], verbs: [get, list, watch, patch, delete]}
- {apiGroups: [kritis.grafeas.io], resources: [attestations/status], verbs: [patch]}
- {apiGroups: [""], resources: [nodes], verbs: [list, watch]}
- {apiGroups: [""], resources: [nodes/status], verbs: [patch]}
- {apiGroups: [wgpolicyk8s.io], resources: [policyreports], verbs: [list, create, patch, delete]}
- {apiGroups: [openreports.io], resources: [reports], verbs: [list, create, patch, delete]}
- {apiGroups: [admissionregistration.k8s.io], resources: [validatingwebhookconfigurations], resourceNames: [kritis-validation-hook], verbs: [list, watch, patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: kritis-controller, namespace: kritis-system}
rules:
- {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [list, watch, create]}
- {apiGroups: [coordination.k8s.io], resources: [leases], resourceNames: [kritis-controller], verbs: [get, update]}
- {apiGroups: [""], resources: [events], verbs: [create, patch]}
- {apiGroups: [""], resources: [secrets], resourceNames: [kritis-webhook-certificate], verbs: [get, list, watch, create, patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: kritis-controller, namespace: default}
rules:
- {apiGroups: [events.k8s.io], resources: [events], verbs: [create, patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: kritis-controller}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: kritis-controller}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: "` + user + `"}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: kritis-controller, namespace: kritis-system}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: kritis-controller}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: "` + user + `"}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: kritis-controller, namespace: default}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: kritis-controller}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: "` + user + `"}]
`
