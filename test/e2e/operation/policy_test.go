package operation

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kritis-node/kritis-node/plugin"
	"github.com/kritis-node/kritis-node/test/stack"
	"github.com/kritis-node/kritis-node/verifier"
)

const (
	// rounds is how often each kind of change is measured.
	rounds = 9
	// inForce is what is promised of a change, at the median, from the API server's answer on.
	inForce = 2 * time.Second
)

// policiesInTime measures how long after the API server's answer the plugin decides by a policy that was created, changed, and
// deleted.
func (o *operation) policiesInTime(t *testing.T) {
	const namespace = "timed"
	ctx := t.Context()
	o.kubectl(t, "create", "namespace", namespace)
	o.authority(t, namespace, "team", o.Key)
	o.authority(t, namespace, "others", o.other)
	policies := o.api.Resource(schema.GroupVersionResource{Group: "kritis.grafeas.io", Version: "v1beta1", Resource: "genericattestationpolicies"}).Namespace(namespace)
	created, changed, deleted := make([]time.Duration, 0, rounds), make([]time.Duration, 0, rounds), make([]time.Duration, 0, rounds)
	for range rounds {
		policy := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "kritis.grafeas.io/v1beta1", "kind": "GenericAttestationPolicy", "metadata": map[string]any{"name": "timed"},
			"spec": map[string]any{"attestationAuthorityNames": []any{"others"}},
		}}
		_, err := policies.Create(ctx, policy, metav1.CreateOptions{})
		check(t, err)
		created = append(created, o.until(t, namespace, verifier.NotAttested))
		// A patch, because the controller writes the status meanwhile.
		_, err = policies.Patch(ctx, "timed", "application/merge-patch+json", []byte(`{"spec":{"attestationAuthorityNames":["team"]}}`), metav1.PatchOptions{})
		check(t, err)
		changed = append(changed, o.until(t, namespace, verifier.Attested))
		check(t, policies.Delete(ctx, "timed", metav1.DeleteOptions{}))
		deleted = append(deleted, o.until(t, namespace, verifier.NoPolicy))
	}
	for what, times := range map[string][]time.Duration{"created": created, "changed": changed, "deleted": deleted} {
		t.Logf("policy %s: in force after %v", what, times)
		slices.Sort(times)
		median := times[len(times)/2]
		t.Logf("policy %s: median %v, longest %v", what, median, times[len(times)-1])
		if median > inForce {
			t.Errorf("policy %s: in force after %v at the median, %v is promised", what, median, inForce)
		}
	}
}

// until returns how long it takes until the plugin decides for this reason on the signed image.
func (o *operation) until(t *testing.T, namespace string, want verifier.Reason) time.Duration {
	t.Helper()
	began := time.Now()
	o.awaitDecision(t, namespace, o.signed, func(e plugin.Explanation) bool { return e.Verdict.Reason == want })
	return time.Since(began).Round(time.Millisecond)
}

// authorityDeleted: without the authority nothing new starts, what runs is left alone, and all is well once it is back.
func (o *operation) authorityDeleted(t *testing.T) {
	const namespace = "deleted"
	ctx := t.Context()
	o.governed(t, namespace)
	o.run(t, namespace, "early", o.signed)
	early := o.runs(t, namespace, "early")
	o.kubectl(t, "--namespace", namespace, "delete", "attestationauthority", "team")
	o.awaitDecision(t, namespace, o.signed, denies)
	check(t, await(ctx, "the node's status to name the problem", func(ctx context.Context) error {
		status, err := o.Status(ctx, 0)
		if err == nil && !slices.ContainsFunc(status.Problems, func(p verifier.Problem) bool { return strings.Contains(fmt.Sprint(p), namespace) }) {
			err = fmt.Errorf("it names %v", status.Problems)
		}
		return err
	}))
	check(t, o.AwaitObject(ctx, namespace, "genericattestationpolicy/team-signs", "jsonpath={.status.conditions[?(@.type==\"Ready\")].reason}=AuthorityMissing"))

	late := o.static(t, namespace, "late", o.signed)
	const why = "authority team, which policy deleted/team-signs requires, cannot attest"
	if line := o.deniedOnNode(t, namespace, late); line.Verdict.Reason != verifier.NotAttested || !strings.Contains(line.Verdict.Detail, why) {
		t.Errorf("the node denies it as %s: %s", line.Verdict.Reason, line.Verdict.Detail)
	}
	check(t, o.AwaitDenied(ctx, namespace, late, o.signed))
	_, stderr, code, err := o.Kubectl(ctx, "--namespace", namespace, "run", "refused", "--image="+o.signed)
	check(t, err)
	if code == 0 || !strings.Contains(stderr, "image "+o.signed+" is not attested") {
		t.Errorf("at kubectl it is %d: %s", code, stderr)
	}
	o.stays(t, namespace, "early", early)

	o.authority(t, namespace, "team", o.Key)
	check(t, o.AwaitPodReady(ctx, namespace, late))
	o.stays(t, namespace, "early", early)
	if restarts := o.kubectl(t, "--namespace", namespace, "get", "pod", "early", "--output=jsonpath={.status.containerStatuses[0].restartCount}"); restarts != "0" {
		t.Errorf("what ran was restarted %s times", restarts)
	}
}

// keyRotated: only the keys that an authority has now count, each of them alone.
func (o *operation) keyRotated(t *testing.T) {
	const namespace = "rotated"
	ctx := t.Context()
	resigned, err := o.Push(ctx, "team/resigned")
	check(t, err)
	o.signWith(t, o.other, resigned)
	o.governed(t, namespace)
	o.run(t, namespace, "early", o.signed)
	early := o.runs(t, namespace, "early")
	old := o.rotate(t, namespace, []stack.Key{o.Key}, o.signed)

	next := o.rotate(t, namespace, []stack.Key{o.other}, resigned)
	if old == next {
		t.Errorf("both keys are called %s", old)
	}
	o.awaitDecision(t, namespace, o.signed, denies)
	denied := o.static(t, namespace, "old-key", o.signed)
	check(t, o.AwaitDenied(ctx, namespace, denied, o.signed))
	admitted := o.static(t, namespace, "new-key", resigned)
	check(t, o.AwaitPodReady(ctx, namespace, admitted))
	o.stays(t, namespace, "early", early)

	o.rotate(t, namespace, []stack.Key{o.Key, o.other}, o.signed)
	o.rotate(t, namespace, []stack.Key{o.Key, o.other}, resigned)
	check(t, o.AwaitPodReady(ctx, namespace, denied))
	for name, image := range map[string]string{"either-old": o.signed, "either-new": resigned} {
		check(t, await(ctx, "the webhooks to know both keys", func(ctx context.Context) error {
			_, err := o.KubectlOutput(ctx, "--namespace", namespace, "run", name, "--image="+image, "--", "sleep", "100000")
			return err
		}))
		check(t, o.AwaitPodReady(ctx, namespace, name))
	}
}

// rotate gives the authority keys, waits until the node admits the image and the object's status lists the keys, and returns the
// fingerprint of the key by which it was admitted.
func (o *operation) rotate(t *testing.T, namespace string, keys []stack.Key, image string) string {
	t.Helper()
	o.authority(t, namespace, "team", keys...)
	e := o.awaitDecision(t, namespace, image, admits)
	fingerprint := e.Verdict.Policies[0].Authorities[0].Fingerprint
	check(t, await(t.Context(), "the authority's status to list its keys", func(ctx context.Context) error {
		output, err := o.KubectlOutput(ctx, "--namespace", namespace, "get", "attestationauthority", "team", "--output=jsonpath={.status.keyFingerprints[*]}")
		if listed := strings.Fields(output); err == nil && (len(listed) != len(keys) || !slices.Contains(listed, fingerprint)) {
			err = fmt.Errorf("it lists %v, and the node took %s", listed, fingerprint)
		}
		return err
	}))
	return fingerprint
}
