package cluster

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/kritis-node/kritis-node/test/cluster"
)

// deployment is a Deployment of an image; metadata goes into its own.
func deployment(name, image, metadata string, replicas int) string {
	return fmt.Sprintf("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: %s, namespace: %s%s}\nspec:\n  replicas: %d\n  selector: {matchLabels: {app: %[1]s}}\n"+
		"  template:\n    metadata: {labels: {app: %[1]s}}\n    spec: {terminationGracePeriodSeconds: 1, containers: [{name: main, image: %[5]q, command: [sleep, \"100000\"]}]}\n",
		name, namespace, metadata, replicas, image)
}

// testServerSideApply: a field manager that owns the image, and takes it from another by force.
func (s *suite) testServerSideApply(t *testing.T) {
	args := []string{"--server-side", "--force-conflicts"}
	stderr, code := s.apply(t, deployment("applied", s.unsigned, "", 0), args...)
	s.denied(t, s.unsigned, stderr, code)
	stderr, code = s.apply(t, deployment("applied", s.signed, "", 0), append(args, "--field-manager=first")...)
	accepted(t, stderr, code)
	stderr, code = s.apply(t, deployment("applied", s.unsigned, "", 0), append(args, "--field-manager=second")...)
	s.denied(t, s.unsigned, stderr, code)
	stderr, code = s.apply(t, deployment("applied", s.signedToo, "", 0), append(args, "--field-manager=second")...)
	accepted(t, stderr, code)
}

// testDeletionTimestamp: what is being deleted, and waits for a finalizer, makes pods as before.
func (s *suite) testDeletionTimestamp(t *testing.T) {
	const name = "dying"
	check(t, s.Apply(t.Context(), deployment(name, s.signed, ", finalizers: [test.example/wait]", 0)))
	s.kubectl(t, "delete", "deployment", name, "--wait=false")
	if at := s.kubectl(t, "get", "deployment", name, "--output=jsonpath={.metadata.deletionTimestamp}"); at == "" {
		t.Fatal("it has no deletion timestamp")
	}
	set := func(image string) (string, int) {
		_, stderr, code, err := s.Kubectl(t.Context(), "--namespace", namespace, "set", "image", "deployment/"+name, "main="+image)
		check(t, err)
		return stderr, code
	}
	stderr, code := set(s.unsigned)
	s.denied(t, s.unsigned, stderr, code)
	stderr, code = set(s.signedToo)
	accepted(t, stderr, code)
	s.kubectl(t, "patch", "deployment", name, "--type=merge", "--patch", `{"metadata":{"finalizers":null}}`)
}

// testStatusSubresource: a request that nobody is asked about changes no image.
func (s *suite) testStatusSubresource(t *testing.T) {
	const name = "status"
	check(t, s.Apply(t.Context(), deployment(name, s.signed, "", 0)))
	patch := func(image string) string {
		return fmt.Sprintf(`{"spec":{"template":{"spec":{"containers":[{"name":"main","image":%q}]}}}}`, image)
	}
	for _, subresource := range []string{"status", "scale"} {
		// Whether it is an error or passed over is the API server's.
		_, _, _, err := s.Kubectl(t.Context(), "--namespace", namespace, "patch", "deployment", name, "--subresource="+subresource, "--type=merge", "--patch", patch(s.unsigned))
		check(t, err)
		if image := s.kubectl(t, "get", "deployment", name, "--output=jsonpath={.spec.template.spec.containers[*].image}"); image != s.signed {
			t.Errorf("through %s the image became %s", subresource, image)
		}
	}
	s.kubectl(t, "patch", "deployment", name, "--type=strategic", "--patch", patch(s.signedToo))
}

// old are Deployments without pods from before the policy: of an image that nobody signed, and of one that somebody did.
var old = []string{"old-unsigned", "old-signed"}

func (s *suite) startOld(t *testing.T) {
	t.Helper()
	for i, image := range []string{s.unsigned, s.signed} {
		check(t, s.Apply(t.Context(), deployment(old[i], image, "", 0)))
	}
}

// testScale: to scale what was there before the policy is nobody's business, and yet no pod comes of it.
func (s *suite) testScale(t *testing.T) {
	for _, name := range old {
		s.kubectl(t, "scale", "deployment/"+name, "--replicas=1")
	}
	check(t, s.AwaitDeployment(t.Context(), namespace, "old-signed"))
	s.awaitEvent(t, "FailedCreate", "image "+s.unsigned+" is not attested")
	if pods := s.kubectl(t, "get", "pods", "--selector=app=old-unsigned", "--output=name"); pods != "" {
		t.Errorf("there are %s", pods)
	}
}

// runner is a kind of somebody's own with a pod template, and an object of it; IMAGE is the image.
const (
	runnerKind = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: runners.vendor.example}
spec:
  group: vendor.example
  scope: Namespaced
  names: {kind: Runner, plural: runners, singular: runner}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
`
	runner = `apiVersion: vendor.example/v1
kind: Runner
metadata: {name: NAME, namespace: default}
spec: {template: {spec: {containers: [{name: main, image: "IMAGE"}]}}}
`
)

// ownedPod is what the vendor's controller makes of a Runner.
func (s *suite) ownedPod(t *testing.T, name, image string) string {
	t.Helper()
	check(t, cluster.Await(t.Context(), "the object to be taken", func(ctx context.Context) error {
		return s.Apply(ctx, strings.NewReplacer("NAME", name, "IMAGE", image).Replace(runner))
	}))
	uid := s.kubectl(t, "get", "runner", name, "--output=jsonpath={.metadata.uid}")
	owner := fmt.Sprintf(", ownerReferences: [{apiVersion: vendor.example/v1, kind: Runner, name: %s, uid: %s, controller: true}]}", name, uid)
	return strings.Replace(pod(name, image, ""), "}", owner, 1)
}

// testUnknownKind: the object is not judged, the pod that is made of it is.
func (s *suite) testUnknownKind(t *testing.T) {
	check(t, s.Apply(t.Context(), runnerKind))
	stderr, code := s.apply(t, s.ownedPod(t, "runner-unsigned", s.unsigned))
	s.denied(t, s.unsigned, stderr, code)
	stderr, code = s.apply(t, s.ownedPod(t, "runner-signed", s.signed))
	accepted(t, stderr, code)
	check(t, s.AwaitPodReady(t.Context(), namespace, "runner-signed"))
}

func (s *suite) testUnknownKindOnTheNode(t *testing.T) {
	for _, name := range []string{"node-runner-unsigned", "node-runner-signed"} {
		image := map[bool]string{true: s.unsigned, false: s.signed}[strings.HasSuffix(name, "unsigned")]
		check(t, s.Apply(t.Context(), s.ownedPod(t, name, image)))
	}
	check(t, s.AwaitDenied(t.Context(), namespace, "node-runner-unsigned", s.unsigned))
	check(t, s.AwaitPodReady(t.Context(), namespace, "node-runner-signed"))
}
