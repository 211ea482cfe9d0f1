package live

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kritis-node/kritis-node/policyagent/api/v1beta1"
	"github.com/kritis-node/kritis-node/policyagent/securitycenter"
	"github.com/kritis-node/kritis-node/test/alicloudtest"
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
	clusterID = "c-live"
	// interval is the sync interval, grace what the promise adds to it, with room for a busy machine.
	interval = 5 * time.Second
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// site is a cluster and a cloud.
type site struct {
	t     *testing.T
	kube  *kubernetes.Cluster
	cloud *alicloudtest.Emulator
	key   alicloudtest.Key
	env   []string
}

func (s *site) kubectl(args ...string) string {
	s.t.Helper()
	out, err := s.kube.KubectlOutput(s.t.Context(), args...)
	check(s.t, err)
	return out
}

// object reads an authority or policy; nil if it is not there.
func (s *site) object(kind, ns, name string) *object {
	s.t.Helper()
	out, err := s.kube.KubectlOutput(s.t.Context(), "get", kind, "--namespace", ns, "--output", "json", "--field-selector", "metadata.name="+name)
	check(s.t, err)
	var l struct{ Items []object }
	check(s.t, json.Unmarshal([]byte(out), &l))
	if len(l.Items) == 0 {
		return nil
	}
	return &l.Items[0]
}

// object is either kind.
type object struct {
	v1beta1.AttestationAuthority
	Spec struct {
		v1beta1.AuthoritySpec
		v1beta1.PolicySpec
	} `json:"spec"`
}

func (o *object) reason(of string) string {
	for _, c := range o.Status.Conditions {
		if c.Type == of {
			return c.Reason
		}
	}
	return ""
}

func (o *object) message() string {
	for _, c := range o.Status.Conditions {
		if c.Type == securitycenter.ConditionInSync {
			return c.Message
		}
	}
	return ""
}

// eventually is [cluster.Await] for what needs several syncs that fail.
func (s *site) eventually(what string, ready func(context.Context) error) error {
	var err error
	for range 4 {
		if err = cluster.Await(s.t.Context(), what, ready); err == nil || s.t.Context().Err() != nil {
			return err
		}
	}
	return err
}

// await waits until an object is as wanted.
func (s *site) await(kind, ns, name, what string, fits func(*object) bool) *object {
	s.t.Helper()
	var o *object
	err := s.eventually(kind+" "+ns+"/"+name+": "+what, func(context.Context) error {
		if o = s.object(kind, ns, name); o == nil || !fits(o) {
			return fmt.Errorf("it is %+v", o)
		}
		return nil
	})
	check(s.t, err)
	return o
}

func (s *site) awaitReason(kind, ns, name, reason string) *object {
	s.t.Helper()
	return s.await(kind, ns, name, reason, func(o *object) bool { return o.reason(securitycenter.ConditionInSync) == reason })
}

func (s *site) awaitGone(kind, ns, name string) {
	s.t.Helper()
	check(s.t, s.eventually(kind+" "+ns+"/"+name+" to go", func(context.Context) error {
		if s.object(kind, ns, name) != nil {
			return fmt.Errorf("it is there")
		}
		return nil
	}))
}

// awaitEvent waits for an event about an object.
func (s *site) awaitEvent(ns, name, reason string) {
	s.t.Helper()
	check(s.t, s.eventually("event "+reason+" about "+ns+"/"+name, func(ctx context.Context) error {
		out, err := s.kube.KubectlOutput(ctx, "get", "events", "--namespace", ns, "--field-selector", "reason="+reason+",involvedObject.name="+name, "--output", "name")
		if err == nil && out == "" {
			return fmt.Errorf("none")
		}
		return err
	}))
}

// awaitSyncs waits until Security Center was asked n more times, and what came of it is done.
func (s *site) awaitSyncs(n int) {
	s.t.Helper()
	calls := alicloudtest.Call{Service: "sas", Action: "DescribeBinarySecurityPolicies"}
	// The one after the last begins when all that the last one led to has been decided.
	want := s.cloud.Calls(calls) + n + 1
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*time.Minute)
	defer cancel()
	for s.cloud.Calls(calls) < want {
		select {
		case <-ctx.Done():
			s.t.Fatal("no sync")
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (s *site) policy(name string, on bool, namespaces ...string) {
	s.cloud.PutPolicy(alicloudtest.Policy{
		Name: name, Enabled: on, Required: []string{"qa"}, Scopes: []alicloudtest.Scope{{ClusterID: clusterID, Namespaces: namespaces}},
	})
}

// start starts a controller that may do what the two packages say, and nothing else.
func (s *site) start(args ...string) *clustertest.Program {
	s.t.Helper()
	t := s.t
	program, err := cluster.Build(t.Context(), "./cmd/kritis-controller")
	check(t, err)
	kubeconfig, err := s.kube.KubeconfigFor(user)
	check(t, err)
	config := filepath.Join(t.TempDir(), "alicloud.yaml")
	check(t, os.WriteFile(config, []byte(s.cloud.ClientConfig("AccessKey")), 0o600))
	p := clustertest.StartProgram(t, cluster.Command{
		Path: program,
		Args: append([]string{
			"--kubeconfig", kubeconfig, "--namespace", namespace, "--listen", "127.0.0.1:9101", "--webhook-certificates=false",
			"--alicloud-config", config, "--cluster-id", clusterID, "--sync-interval", interval.String(),
		}, args...),
		Env: s.env,
	}, nil)
	t.Cleanup(func() {
		p.Stop()
		text, err := os.ReadFile(p.LogFile())
		check(t, err)
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, "forbidden") {
				t.Errorf("a right is missing: %s", line)
			}
		}
	})
	return p
}

// rights are those of the controller's and this package's documentation.
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
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: kritis-controller-security-center}
rules:
- {apiGroups: [kritis.grafeas.io], resources: [attestationauthorities, genericattestationpolicies], verbs: [get, create, patch, delete]}
- {apiGroups: [""], resources: [namespaces], verbs: [list, watch]}
- {apiGroups: [events.k8s.io], resources: [events], verbs: [create, patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: kritis-controller, namespace: kritis-system}
rules:
- {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [list, watch, create]}
- {apiGroups: [coordination.k8s.io], resources: [leases], resourceNames: [kritis-controller], verbs: [get, update]}
- {apiGroups: [""], resources: [events], verbs: [create, patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: kritis-controller}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: kritis-controller}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: "` + user + `"}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: kritis-controller-security-center}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: kritis-controller-security-center}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: "` + user + `"}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: kritis-controller, namespace: kritis-system}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: kritis-controller}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: "` + user + `"}]
`
