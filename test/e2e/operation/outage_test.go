package operation

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kritis-node/kritis-node/plugin"
	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/verifier"
)

// apiServerStopped: the node goes on by what it knows, also with an agent that was started meanwhile, and an entry that ends
// admits nothing afterwards, though nobody can tell the node. Once the API server is back all is as it was. It is one outage
// for both, because Kubernetes' own programs take ever longer to come back from several.
func (o *operation) apiServerStopped(t *testing.T) {
	const namespace, glass = "stopped", "glass"
	ctx := t.Context()
	o.governed(t, namespace)
	o.governed(t, glass)
	unseen, err := o.PushSigned(ctx, "team/unseen")
	check(t, err)
	_, err = o.Node().CRI().PullImage(ctx, o.unsigned)
	check(t, err)
	b := o.breakGlass(t, glass)
	before, err := o.Status(ctx, 0)
	check(t, err)
	o.withoutAPIServer(t, func() {
		o.policyStays(t, namespace, before.Policy.Generation, unseen)
		o.awaitExpiry(t, glass, b.expires)
		line := o.deniedOnNode(t, glass, o.static(t, glass, "after", o.unsigned))
		o.forLackOfAttestations(t, line)
		if line.Time.Before(b.expires) {
			t.Errorf("the node denies it at %s, and the entry ended at %s", line.Time, b.expires)
		}
		o.stays(t, glass, b.pod, b.container)
	})
	for _, name := range []string{"signed", "unseen"} {
		check(t, o.AwaitPodReady(ctx, namespace, name+"-"+o.NodeName()))
	}
	check(t, o.AwaitDenied(ctx, namespace, "unsigned-"+o.NodeName(), o.unsigned))
	check(t, o.AwaitDenied(ctx, glass, "after-"+o.NodeName(), o.unsigned))
	for _, n := range []string{namespace, glass} {
		o.judgesAsUsual(t, n)
	}
	o.stays(t, glass, b.pod, b.container)
	o.kubectl(t, "delete", "admissionallowlist", "emergency")
}

// policyStays shows that the node decides as before, before and after its agent is killed.
func (o *operation) policyStays(t *testing.T, namespace string, generation uint64, unseen string) {
	t.Helper()
	signed := o.static(t, namespace, "signed", o.signed)
	unsigned := o.static(t, namespace, "unsigned", o.unsigned)
	o.runs(t, namespace, signed)
	o.forLackOfAttestations(t, o.deniedOnNode(t, namespace, unsigned))
	o.killAgent(t)
	status, err := o.Status(t.Context(), 0)
	check(t, err)
	if status.Policy.Generation != generation || status.StateProblem != "" {
		t.Errorf("the policy in force is another: %+v, %s; it was generation %d", status.Policy, status.StateProblem, generation)
	}
	// Nobody ever asked for its attestations: the new agent fetches them.
	o.runs(t, namespace, o.static(t, namespace, "unseen", unseen))
	o.forLackOfAttestations(t, o.deniedOnNode(t, namespace, o.static(t, namespace, "unsigned-too", o.unsigned)))
}

// forLackOfAttestations: a policy that is in force denied the pod. What the node was told before the outage says that there are
// no attestations; once that answer is too old, the node says that it could not read those kept in the cluster, and nothing else.
func (o *operation) forLackOfAttestations(t *testing.T, line plugin.AuditLine) {
	t.Helper()
	verdict := line.Verdict
	unread := verdict.Reason == verifier.SourceFailed && strings.HasPrefix(verdict.Detail, "not all attestations could be had: cluster, kind Attestation: ") &&
		!strings.Contains(verdict.Detail, o.Registry.Host())
	if verdict.Reason != verifier.NotAttested && !unread {
		t.Errorf("the node denies it as %s: %s", verdict.Reason, verdict.Detail)
	}
}

// withoutAPIServer does something while the API server is stopped.
func (o *operation) withoutAPIServer(t *testing.T, do func()) {
	t.Helper()
	check(t, o.StopAPIServer(t.Context()))
	started := false
	defer func() {
		if !started { // the test failed, and the other steps need it
			check(t, o.StartAPIServer(context.WithoutCancel(t.Context())))
		}
	}()
	do()
	check(t, o.StartAPIServer(t.Context()))
	started = true
	check(t, o.AwaitNode(t.Context(), o.NodeName()))
}

// killAgent kills the node's agent and waits until kubelet has started another, which tells of itself.
func (o *operation) killAgent(t *testing.T) {
	t.Helper()
	before, err := o.Status(t.Context(), 0)
	check(t, err)
	pid, err := process("policyagent")
	check(t, err)
	check(t, syscall.Kill(pid, syscall.SIGKILL))
	check(t, await(t.Context(), "another policy agent", func(ctx context.Context) error {
		if now, err := process("policyagent"); err != nil || now == pid {
			return fmt.Errorf("it is process %d as before: %w", now, err)
		}
		status, err := o.Status(ctx, 0)
		if err == nil && (status.Agent == nil || !status.Agent.StartedAt.After(before.Agent.StartedAt)) {
			err = errors.New("it has not told of itself: " + status.AgentProblem)
		}
		return err
	}))
}

// judgesAsUsual: at kubectl the unsigned image is denied, and the signed one starts.
func (o *operation) judgesAsUsual(t *testing.T, namespace string) {
	t.Helper()
	check(t, await(t.Context(), "kubectl to be told that the image is not attested", func(ctx context.Context) error {
		_, stderr, code, err := o.Kubectl(ctx, "--namespace", namespace, "run", "usual-unsigned", "--image="+o.unsigned)
		if err == nil && code == 0 {
			t.Fatal("it was admitted")
		}
		if err == nil && !strings.Contains(stderr, "image "+o.unsigned+" is not attested") {
			err = errors.New(stderr)
		}
		return err
	}))
	o.run(t, namespace, "usual-signed", o.signed)
	check(t, o.AwaitPodReady(t.Context(), namespace, "usual-signed"))
}

// broken is what runs by an entry that ends.
type broken struct {
	pod, container string
	expires        time.Time
}

// breakGlass lets a static pod of the unsigned image start by an entry that ends soon, and expects that this is told.
func (o *operation) breakGlass(t *testing.T, namespace string) (b broken) {
	t.Helper()
	// On a slow machine the pod takes longer than the entry lasts: then it needs a longer one.
	for lasts := 15 * time.Second; b.container == ""; lasts *= 2 {
		if lasts > 4*time.Minute {
			t.Fatal("the entry never admitted anything")
		}
		b.expires = time.Now().Add(lasts).Truncate(time.Second)
		check(t, o.Apply(t.Context(), fmt.Sprintf("apiVersion: kritis.grafeas.io/v1beta1\nkind: AdmissionAllowlist\nmetadata: {name: emergency}\nspec:\n  patterns:\n"+
			"  - {namePattern: %q, namespace: %s, expires: %q, reason: INC-7}\n", o.unsigned, namespace, b.expires.UTC().Format(time.RFC3339))))
		if o.admitsBefore(t, namespace, b.expires) {
			b.pod = o.static(t, namespace, "during-"+lasts.String(), o.unsigned)
			b.container = o.startsBefore(t, namespace, b.pod, b.expires)
		}
	}
	lines := o.audit(t, namespace, b.pod)
	last := lines[len(lines)-1].Verdict
	if by := last.AllowedBy; last.Reason != verifier.AllowListed || by == nil || !by.Expires.Equal(b.expires) || by.Reason != "INC-7" || !strings.Contains(by.Object, "emergency") {
		t.Errorf("the audit log says %+v", lines)
	}
	check(t, await(t.Context(), "the event of break-glass", func(ctx context.Context) error {
		events, err := o.KubectlOutput(ctx, "--namespace=kube-system", "get", "events", "--field-selector=reason=KritisBreakGlass")
		if err == nil && !strings.Contains(events, b.pod) {
			err = fmt.Errorf("there are: %s", events)
		}
		return err
	}))
	return b
}

// admitsBefore waits until the node would admit the unsigned image, at most until the entry expires.
func (o *operation) admitsBefore(t *testing.T, namespace string, expires time.Time) bool {
	t.Helper()
	ctx, cancel := context.WithDeadline(t.Context(), expires)
	defer cancel()
	return cluster.Await(ctx, "the entry to count", func(ctx context.Context) error {
		e, err := o.explain(ctx, namespace, o.unsigned)
		if err == nil && !e.Admitted {
			err = errors.New(e.Message)
		}
		return err
	}) == nil
}

// startsBefore returns the container of a pod, empty if none runs before the entry expires.
func (o *operation) startsBefore(t *testing.T, namespace, pod string, expires time.Time) (id string) {
	t.Helper()
	ctx, cancel := context.WithDeadline(t.Context(), expires)
	defer cancel()
	err := cluster.Await(ctx, "the pod to start", func(ctx context.Context) error {
		containers, err := o.containers(ctx, namespace, pod)
		if err == nil && len(containers) == 0 {
			return errors.New("it has no container")
		}
		if err == nil {
			id = containers[0].GetId()
		}
		return err
	})
	if err != nil {
		return ""
	}
	return o.runs(t, namespace, pod)
}

// awaitExpiry waits until the node does not admit the unsigned image any more, and expects that it did until then.
func (o *operation) awaitExpiry(t *testing.T, namespace string, expires time.Time) {
	t.Helper()
	for asked := time.Now(); ; asked = time.Now() {
		var e plugin.Explanation
		e, err := o.explain(t.Context(), namespace, o.unsigned)
		check(t, err)
		answered := time.Now()
		switch {
		case !e.Admitted && answered.Before(expires):
			t.Fatalf("it is denied %s before the entry expires: %s", expires.Sub(answered), e.Message)
		case e.Admitted && asked.After(expires.Add(time.Second)):
			t.Fatal("it is admitted though the entry has expired")
		case !e.Admitted:
			return
		}
		select {
		case <-t.Context().Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}
