package admission

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kritis-node/kritis-node/test/stack"
)

func (s *suite) testDryRun(t *testing.T) {
	ctx := t.Context()
	_, err := s.KubectlOutput(ctx, "create", "namespace", "trial")
	check(t, err)
	authority, err := stack.Authority("trial", "team", "", s.Key)
	check(t, err)
	check(t, s.Apply(ctx, authority+"---\n"+stack.Policy("trial", "team-signs", "dryRun: true", "team")))
	check(t, s.AwaitPolicies(ctx, 2))
	stdout, stderr, code, err := s.Kubectl(ctx, "--namespace", "trial", "run", "unsigned", "--image="+s.unsigned, "--", "sleep", "1000")
	check(t, err)
	if code != 0 || strings.TrimSpace(stdout) != "pod/unsigned created" || !strings.Contains(stderr, "Warning: ") {
		t.Errorf("exit code %d, %s%s", code, stdout, stderr)
	}
	check(t, s.AwaitPodReady(ctx, "trial", "unsigned"))
	s.awaitEvent(t, "kube-system", "DryRunKritisAdmission", "trial/unsigned", "image "+s.unsigned+" is not attested")
	s.awaitEvent(t, "trial", "DryRunKritisAdmission", "image "+s.unsigned+" is not attested")
	// Off again, it is a denial.
	check(t, s.Apply(ctx, stack.Policy("trial", "team-signs", "dryRun: false", "team")))
	s.remove(t, "--namespace", "trial", "pod/unsigned")
	check(t, awaitDenial(ctx, s, "trial", s.unsigned))
	s.remove(t, "namespace/trial")
	check(t, s.AwaitPolicies(ctx, 1))
}

// staticPod writes a pod for kubelet, and returns the name under which it is mirrored, and what removes it.
func (s *suite) staticPod(t *testing.T, name, image string) (mirror string, remove func()) {
	t.Helper()
	manifest := "apiVersion: v1\nkind: Pod\nmetadata: {name: " + name + ", namespace: default}\nspec: " + fmt.Sprintf(podSpec, image) + "}\n"
	file := filepath.Join(s.StaticPodDir(), name+".yaml")
	check(t, os.WriteFile(file, []byte(manifest), 0o644))
	return name + "-" + s.NodeName(), func() { os.Remove(file) }
}

func (s *suite) testStaticPods(t *testing.T) {
	ctx := t.Context()
	signed, removeSigned := s.staticPod(t, "static-signed", s.signed)
	defer removeSigned()
	unsigned, removeUnsigned := s.staticPod(t, "static-unsigned", s.unsigned)
	defer removeUnsigned()
	check(t, s.AwaitPodReady(ctx, "default", signed))
	s.keptOut(t, unsigned, s.unsigned)
}

// keptOut checks that a pod never runs, and that everybody sees why: in the pod, in its events, and in kube-system.
func (s *suite) keptOut(t *testing.T, pod, image string) {
	t.Helper()
	check(t, s.AwaitDenied(t.Context(), "default", pod, image))
	s.awaitEvent(t, "kube-system", "FailedKritisAdmission", "default/"+pod, "image "+image+" is not attested")
	s.awaitEvent(t, "default", "FailedKritisAdmission", "image "+image+" is not attested")
	text, err := s.KubectlOutput(t.Context(), "describe", "pod", pod)
	check(t, err)
	for _, want := range []string{"FailedKritisAdmission", "which policy default/team-signs requires, has not attested it", "kritis sign"} {
		if !strings.Contains(text, want) {
			t.Errorf("kubectl describe pod does not say %q:\n%s", want, text)
		}
	}
}

// breakGlass is an allow-list with one pattern that ends.
func breakGlass(image, expires string) string {
	return fmt.Sprintf(`apiVersion: kritis.grafeas.io/v1beta1
kind: AdmissionAllowlist
metadata: {name: emergency}
spec:
  patterns:
  - {namePattern: %q, namespace: default, expires: %q, reason: incident 4711}
`, image, expires)
}

func (s *suite) testBreakGlass(t *testing.T) {
	ctx := t.Context()
	other, err := s.Push(ctx, "team/emergency")
	check(t, err)
	// Who may write policies may not break the glass.
	_, err = s.KubectlOutput(ctx, "create", "rolebinding", "dev", "--clusterrole=edit", "--user=dev")
	check(t, err)
	_, err = s.KubectlOutput(ctx, "create", "clusterrolebinding", "oncall", "--clusterrole=kritis-break-glass", "--user=oncall")
	check(t, err)
	defer s.remove(t, "clusterrolebinding/oncall")
	for user, want := range map[string]string{"dev": "no", "oncall": "yes"} {
		stdout, _, _, err := s.Kubectl(ctx, "auth", "can-i", "create", "admissionallowlists.kritis.grafeas.io", "--as="+user)
		if err != nil || strings.TrimSpace(stdout) != want {
			t.Errorf("may %s create allow-lists? %q, %v", user, stdout, err)
		}
	}
	check(t, s.Apply(ctx, breakGlass(other, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))))
	defer s.remove(t, "admissionallowlist/emergency")
	check(t, awaitAdmission(ctx, s, "default", other))
	_, err = s.KubectlOutput(ctx, "run", "emergency", "--image="+other, "--", "sleep", "1000")
	check(t, err)
	check(t, s.AwaitPodReady(ctx, "default", "emergency"))
	s.awaitEvent(t, "kube-system", "KritisBreakGlass", "default/emergency", "incident 4711")
	s.awaitEvent(t, "default", "KritisBreakGlass", "incident 4711")
	check(t, s.Apply(ctx, breakGlass(other, time.Now().Add(-time.Second).UTC().Format(time.RFC3339))))
	check(t, awaitDenial(ctx, s, "default", other))
	check(t, s.AwaitObject(ctx, "", "admissionallowlist/emergency", "condition=Ready=false"))
	s.remove(t, "pod/emergency")
}
