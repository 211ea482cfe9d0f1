package live

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/cluster/clustertest"
	"github.com/kritis-node/kritis-node/test/cluster/kubernetes"
)

const (
	alpine   = "sha256:ddba4d27a7ffc3f86dd6c2f92041af252a1f23a8e742c90e6e1297bfa1bc0c45"
	signed   = "kritis-demo-registry.cn-hangzhou.cr.aliyuncs.com/kritis-demo/alpine@" + alpine
	unsigned = "alpine@" + alpine
)

// One cluster and one webhook serve all these tests, in order.
func TestLive(t *testing.T) {
	kube := clustertest.StartKubernetes(t, kubernetes.Options{})
	kubectl(t, kube, "apply", "--filename", crds)
	kubectl(t, kube, "wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
	h := startHook(t, kube)
	h.sign(t, signed)
	h.require(t, kube, "default", "")
	kubectl(t, kube, "create", "namespace", "free")
	// What is there before, and is not attested.
	kubectl(t, kube, "create", "deployment", "old", "--image=alpine:3.11", "--replicas=0", "--", "sleep", "10")
	check(t, kube.Apply(t.Context(), customKinds))
	kubectl(t, kube, "wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
	check(t, kube.Apply(t.Context(), h.configuration("Fail")))
	check(t, cluster.Await(t.Context(), "the API server to ask the webhook", func(ctx context.Context) error {
		_, text, code, err := kube.Kubectl(ctx, "create", "deployment", "probe", "--dry-run=server", "--image=x:1")
		if err == nil && (code == 0 || !strings.Contains(text, "is not attested")) {
			err = fmt.Errorf("%s", text)
		}
		return err
	}))
	for _, test := range []struct {
		name string
		run  func(*testing.T, *kubernetes.Cluster, *hook)
	}{
		{"the three checks", testThreeChecks},
		{"kinds", testKinds},
		{"what runs", testWhatRuns},
		{"pods", testPods},
		{"dodges", testDodges},
		{"dry run", testDryRun},
		{"the webhook is away", testAway},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, kube, h) })
	}
}

func kubectl(t *testing.T, kube *kubernetes.Cluster, args ...string) string {
	t.Helper()
	out, err := kube.KubectlOutput(t.Context(), args...)
	check(t, err)
	return out
}

// try runs kubectl and returns what it says, without its warnings, and these.
func try(t *testing.T, kube *kubernetes.Cluster, input string, args ...string) (said string, warnings []string) {
	t.Helper()
	out, text, _, err := kube.KubectlInput(t.Context(), input, args...)
	check(t, err)
	for line := range strings.Lines(text) {
		if w, ok := strings.CutPrefix(line, "Warning: "); ok {
			warnings = append(warnings, strings.TrimSuffix(w, "\n"))
			continue
		}
		out += line
	}
	return out, warnings
}

// To the letter what users of kritis see.
func testThreeChecks(t *testing.T, kube *kubernetes.Cluster, _ *hook) {
	const denied = `error: failed to create deployment: admission webhook "kritis-validation-hook-deployments.grafeas.io" denied the request: image %s is not attested` + "\n"
	for _, tc := range []struct{ name, image, want, warning string }{
		{"not-sign", "alpine:3.11", fmt.Sprintf(denied, "alpine:3.11"), "kritis: it is named by tag: "},
		{"not-sign", unsigned, fmt.Sprintf(denied, unsigned), "kritis: no attestation by authority team, which policy default/only-team requires, counts: it approves repository kritis-demo-registry"},
		{"is-signed", signed, "deployment.apps/is-signed created\n", ""},
	} {
		said, warnings := try(t, kube, "", "-n", "default", "create", "deployment", tc.name, "--image="+tc.image, "--", "sleep", "10")
		if said != tc.want {
			t.Errorf("%s: %q, want %q", tc.image, said, tc.want)
		}
		if all := strings.Join(warnings, "\n"); !strings.HasPrefix(all, tc.warning) || tc.warning == "" && all != "" {
			t.Errorf("%s: %q, want %q", tc.image, warnings, tc.warning)
		}
	}
	// By a manifest, kubectl says it in the words of the documentation.
	said, _ := try(t, kube, deployment("not-sign", "alpine:3.11"), "create", "--filename", "-")
	if want := `Error from server: error when creating "STDIN": admission webhook "kritis-validation-hook-deployments.grafeas.io" denied the request: image alpine:3.11 is not attested` + "\n"; said != want {
		t.Errorf("%q, want %q", said, want)
	}
}

func template(image string) string {
	return "{metadata: {labels: {app: x}}, spec: {restartPolicy: POLICY, containers: [{name: c, image: \"" + image + "\"}]}}"
}

func workload(group, kind, name, spec string) string {
	policy := "Always"
	if strings.Contains(group, "batch") {
		policy = "Never"
	}
	return fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata: {name: %s, namespace: default}\nspec: %s\n", group, kind, name, strings.ReplaceAll(spec, "POLICY", policy))
}

func deployment(name, image string) string {
	return workload("apps/v1", "Deployment", name, "{replicas: 0, selector: {matchLabels: {app: x}}, template: "+template(image)+"}")
}

// Every kind is asked about, and one that the webhook does not know is not answered.
func testKinds(t *testing.T, kube *kubernetes.Cluster, _ *hook) {
	for kind, manifest := range map[string]func(image string) string{
		"Deployment": func(i string) string { return deployment("k", i) },
		"DaemonSet": func(i string) string {
			return workload("apps/v1", "DaemonSet", "k", "{selector: {matchLabels: {app: x}}, template: "+template(i)+"}")
		},
		"ReplicaSet": func(i string) string {
			return workload("apps/v1", "ReplicaSet", "k", "{replicas: 0, selector: {matchLabels: {app: x}}, template: "+template(i)+"}")
		},
		"StatefulSet": func(i string) string {
			return workload("apps/v1", "StatefulSet", "k", "{replicas: 0, serviceName: x, selector: {matchLabels: {app: x}}, template: "+template(i)+"}")
		},
		"Job": func(i string) string {
			return workload("batch/v1", "Job", "k", "{suspend: true, template: "+template(i)+"}")
		},
		"CronJob": func(i string) string {
			return workload("batch/v1", "CronJob", "k", "{schedule: '0 0 1 1 *', jobTemplate: {spec: {template: "+template(i)+"}}}")
		},
		"ReplicationController": func(i string) string {
			return workload("v1", "ReplicationController", "k", "{replicas: 0, selector: {app: x}, template: "+template(i)+"}")
		},
		"CloneSet": func(i string) string {
			return workload("apps.kruise.io/v1alpha1", "CloneSet", "k", "{template: "+template(i)+"}")
		},
	} {
		if said, _ := try(t, kube, manifest("alpine:3.11"), "apply", "--server-side", "--filename", "-"); !strings.HasSuffix(said, "denied the request: image alpine:3.11 is not attested\n") {
			t.Errorf("%s: %s", kind, said)
		}
		if said, warnings := try(t, kube, manifest(signed), "apply", "--filename", "-"); !strings.HasSuffix(said, "/k created\n") || len(warnings) > 0 {
			t.Errorf("%s: %s %s", kind, said, warnings)
		}
		if kind == "Job" {
			continue // its template does not change
		}
		if said, _ := try(t, kube, manifest(unsigned), "apply", "--filename", "-"); !strings.HasSuffix(said, "denied the request: image "+unsigned+" is not attested\n") {
			t.Errorf("%s, changed: %s", kind, said)
		}
	}
	said, _ := try(t, kube, workload("example.com/v1", "Unknown", "k", "{template: "+template(signed)+"}"), "apply", "--filename", "-")
	if !strings.Contains(said, `failed calling webhook "kritis-validation-hook-deployments.grafeas.io"`) || !strings.Contains(said, "where Unknown.example.com has its pod template is not known") {
		t.Errorf("unknown kind: %s", said)
	}
}

// What was there before may be scaled, labelled, annotated and deleted, and its status is written.
func testWhatRuns(t *testing.T, kube *kubernetes.Cluster, _ *hook) {
	kubectl(t, kube, "label", "deployment", "old", "x=y")
	kubectl(t, kube, "set", "env", "deployment", "old", "A=b")
	kubectl(t, kube, "scale", "deployment", "old", "--replicas=1")
	check(t, cluster.Await(t.Context(), "the status to be written", func(ctx context.Context) error {
		// The controller's pod is denied, and it says so in the status.
		got, err := kube.KubectlOutput(ctx, "get", "deployment", "old", "--output", "jsonpath={.status.conditions[*].message}")
		if err == nil && !strings.Contains(got, "image alpine:3.11 is not attested") {
			err = fmt.Errorf("%q", got)
		}
		return err
	}))
	said, _ := try(t, kube, "", "set", "image", "deployment/old", "alpine=alpine:3.12")
	if !strings.Contains(said, "image alpine:3.12 is not attested") {
		t.Errorf("another image: %s", said)
	}
	kubectl(t, kube, "delete", "deployment", "old", "--cascade=foreground", "--timeout=60s")
}

// Pods by themselves, and containers that are added to them.
func testPods(t *testing.T, kube *kubernetes.Cluster, _ *hook) {
	said, _ := try(t, kube, "", "run", "p", "--image=alpine:3.11")
	if said != `Error from server: admission webhook "kritis-validation-hook.grafeas.io" denied the request: image alpine:3.11 is not attested`+"\n" {
		t.Error(said)
	}
	kubectl(t, kube, "run", "p", "--image="+signed)
	said, _ = try(t, kube, "", "debug", "p", "--image=alpine:3.11", "--container=d1")
	if !strings.Contains(said, "image alpine:3.11 is not attested") {
		t.Errorf("ephemeral container: %s", said)
	}
	if said, _ := try(t, kube, "", "debug", "p", "--image="+signed, "--container=d2"); strings.Contains(said, "denied") {
		t.Errorf("ephemeral container: %s", said)
	}
	kubectl(t, kube, "run", "p", "--namespace=free", "--image=alpine:3.11")
	kubectl(t, kube, "run", "p", "--namespace=kube-system", "--image=alpine:3.11")
}

// What somebody writes on a pod does not help.
func testDodges(t *testing.T, kube *kubernetes.Cluster, _ *hook) {
	uid := kubectl(t, kube, "get", "deployment", "is-signed", "--output", "jsonpath={.metadata.uid}")
	for name, meta := range map[string]string{
		"owner":      "ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: is-signed, uid: " + uid + ", controller: true}]",
		"breakglass": `annotations: {kritis.grafeas.io/breakglass: "true"}`,
		"label":      "labels: {kritis-validation: disabled}",
	} {
		pod := fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: dodge, %s}\nspec: {containers: [{name: c, image: %q}]}\n", meta, unsigned)
		if said, _ := try(t, kube, pod, "create", "--filename", "-"); !strings.Contains(said, "image "+unsigned+" is not attested") {
			t.Errorf("%s: %s", name, said)
		}
	}
	kubectl(t, kube, "label", "namespace", "default", "kritis-validation=disabled")
	if said, _ := try(t, kube, "", "run", "dodge", "--image=alpine:3.11"); !strings.Contains(said, "is not attested") {
		t.Errorf("label of the namespace: %s", said)
	}
}

// Dry run admits with warnings.
func testDryRun(t *testing.T, kube *kubernetes.Cluster, h *hook) {
	kubectl(t, kube, "create", "namespace", "trying")
	h.require(t, kube, "trying", ", dryRun: true")
	check(t, cluster.Await(t.Context(), "dry run to say something", func(ctx context.Context) error {
		_, text, code, err := kube.Kubectl(ctx, "run", "p", "--namespace=trying", "--image=alpine:3.11", "--dry-run=server")
		if err == nil && (code != 0 || !strings.Contains(text, "Warning: kritis: dry run: image alpine:3.11 is not attested; without dry run this is denied: it is named by tag")) {
			err = fmt.Errorf("%d %s", code, text)
		}
		return err
	}))
	kubectl(t, kube, "run", "p", "--namespace=trying", "--image=alpine:3.12")
	// Of the two requests one was a mere try, and leaves no event. They are told in order.
	var told string
	check(t, cluster.Await(t.Context(), "an event of the pod that was made", func(ctx context.Context) (err error) {
		told, err = kube.KubectlOutput(ctx, "--namespace=kube-system", "get", "events", "--field-selector=reason=DryRunKritisAdmission", "--output=jsonpath={.items[*].message}")
		if err == nil && !strings.Contains(told, "image alpine:3.12 is not attested") {
			err = fmt.Errorf("there are: %q", told)
		}
		return err
	}))
	if strings.Contains(told, "alpine:3.11") {
		t.Errorf("a mere try left an event: %s", told)
	}
}

// Without the webhook its configuration decides, and nothing else stops.
func testAway(t *testing.T, kube *kubernetes.Cluster, h *hook) {
	h.Stop()
	if said, _ := try(t, kube, "", "run", "away", "--image="+signed); !strings.Contains(said, "failed calling webhook") {
		t.Errorf("Fail: %s", said)
	}
	check(t, kube.Apply(t.Context(), h.configuration("Ignore")))
	check(t, cluster.Await(t.Context(), "Ignore to be in force", func(ctx context.Context) error {
		_, err := kube.KubectlOutput(ctx, "run", "away", "--image=alpine:3.11")
		return err
	}))
}

// customKinds are kinds with a pod template that Kubernetes does not know.
const customKinds = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: clonesets.apps.kruise.io}
spec:
  group: apps.kruise.io
  scope: Namespaced
  names: {plural: clonesets, kind: CloneSet}
  versions: [{name: v1alpha1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: unknowns.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: unknowns, kind: Unknown}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
`
