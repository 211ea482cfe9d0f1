package alicloud

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kritis-node/kritis-node/test/cluster"
)

// TestFlow is steps 1 to 5 of kritis-validation-hook's users, and what nodes add.
func TestFlow(t *testing.T) {
	s := start(t, 1)
	signed, unsigned := s.pushSigned(t, "alpine"), s.push(t, unsignedIn+"/alpine")
	t.Run("switch off", func(t *testing.T) { s.testOff(t, unsigned) })
	t.Run("switch on", func(t *testing.T) { s.testOn(t, signed, unsigned) })
	t.Run("three checks", func(t *testing.T) { s.testThreeChecks(t, signed, unsigned) })
	t.Run("static pod", func(t *testing.T) { s.testStaticPod(t, unsigned) })
	t.Run("a namespace that comes later", func(t *testing.T) { s.testLaterNamespace(t, unsigned) })
	t.Run("KMS key on the command line", s.testKMSKey)
	t.Run("RAM denies", func(t *testing.T) { s.testDenied(t, signed, unsigned) })
	t.Run("credentials", func(t *testing.T) { s.testCredentials(t, signed, unsigned) })
	t.Run("faults", func(t *testing.T) { s.testFaults(t, signed, unsigned) })
	t.Run("key rotated", func(t *testing.T) { s.testRotation(t, signed) })
	t.Run("switch off again", func(t *testing.T) { s.testOffAgain(t, unsigned) })
}

// With its switch off, a policy changes nothing.
func (s *suite) testOff(t *testing.T, unsigned string) {
	s.put(false, "default", "later")
	s.awaitSyncs(t, 2)
	s.awaitAdmitted(t, "default", unsigned)
	if n := s.policies(t); n != 0 {
		t.Errorf("nodes have %d policies", n)
	}
}

// From switch to enforcement on the node: the interval and two seconds.
func (s *suite) testOn(t *testing.T, signed, unsigned string) {
	began := time.Now()
	s.put(true, "default", "later")
	check(t, s.AwaitPolicies(t.Context(), 1))
	if took := time.Since(began); took > interval+2*time.Second {
		t.Errorf("from switch to enforcement: %s, at most %s", took, interval+2*time.Second)
	} else {
		t.Logf("from switch to enforcement: %s", took)
	}
	s.condition(t, "default", "genericattestationpolicy/"+policy, "InSync")
	s.condition(t, "default", "attestationauthority/"+witness, "InSync")
	s.awaitDenied(t, "default", unsigned)
	s.awaitAdmitted(t, "default", signed)
}

func (s *suite) testThreeChecks(t *testing.T, signed, unsigned string) {
	const hook = "kritis-validation-hook-deployments.grafeas.io"
	repository, _, _ := strings.Cut(signed, "@")
	for title, image := range map[string]string{"by tag": repository + ":v1", "by unsigned digest": unsigned} {
		t.Run(title, func(t *testing.T) {
			_, stderr, code, err := s.Kubectl(t.Context(), "-n", "default", "create", "deployment", "not-sign", "--image="+image, "--", "sleep", "10")
			check(t, err)
			want := fmt.Sprintf("admission webhook %q denied the request: image %s is not attested", hook, image)
			var said []string
			for line := range strings.Lines(stderr) {
				if !strings.HasPrefix(line, "Warning: ") {
					said = append(said, strings.TrimSpace(line))
				}
			}
			if text := strings.Join(said, "\n"); code != 1 || !strings.HasSuffix(text, want) {
				t.Errorf("exit code %d, %q, want an end of %q", code, text, want)
			}
		})
	}
	stdout, err := s.KubectlOutput(t.Context(), "-n", "default", "create", "deployment", "is-signed", "--image="+signed, "--", "sleep", "1000")
	check(t, err)
	if strings.TrimSpace(stdout) != "deployment.apps/is-signed created" {
		t.Errorf("printed %q", stdout)
	}
	check(t, s.AwaitDeployment(t.Context(), "default", "is-signed"))
}

// No API server is asked about a static pod; the node is.
func (s *suite) testStaticPod(t *testing.T, unsigned string) {
	file := filepath.Join(s.Nodes()[0].StaticPodDir(), "unsigned.yaml")
	check(t, os.WriteFile(file, fmt.Appendf(nil, `
apiVersion: v1
kind: Pod
metadata: {name: unsigned, namespace: default}
spec:
  containers:
  - {name: main, image: %q, command: [sleep, "1000"]}
`, unsigned), 0o644))
	t.Cleanup(func() { check(t, os.Remove(file)) })
	check(t, s.AwaitDenied(t.Context(), "default", "unsigned-"+s.Nodes()[0].Name(), unsigned))
}

// The policy names a namespace that did not exist.
func (s *suite) testLaterNamespace(t *testing.T, unsigned string) {
	_, err := s.KubectlOutput(t.Context(), "create", "namespace", "later")
	check(t, err)
	check(t, s.AwaitPolicies(t.Context(), 2))
	s.awaitDenied(t, "later", unsigned)
}

// Turned off, and everything is as before. It has to be said twice.
func (s *suite) testOffAgain(t *testing.T, unsigned string) {
	s.put(false, "default", "later")
	check(t, s.AwaitPolicies(t.Context(), 0))
	s.awaitAdmitted(t, "default", unsigned)
	_, err := s.KubectlOutput(t.Context(), "-n", "default", "create", "deployment", "not-sign", "--image="+unsigned, "--", "sleep", "1000")
	check(t, err)
	check(t, s.AwaitDeployment(t.Context(), "default", "not-sign"))
}

// policies is how many are in force on the node.
func (s *suite) policies(t *testing.T) int {
	t.Helper()
	status, err := s.Status(t.Context(), 0)
	check(t, err)
	return status.Policy.Policies
}

// awaitSyncs waits until the controller has asked Security Center so many times more.
func (s *suite) awaitSyncs(t *testing.T, more int) {
	t.Helper()
	want := s.listings() + more
	check(t, cluster.Await(t.Context(), fmt.Sprintf("%d more listings", more), func(context.Context) error {
		if got := s.listings(); got < want {
			return fmt.Errorf("there were %d, want %d", got, want)
		}
		return nil
	}))
}
