package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/stack"
)

func TestCluster(t *testing.T) {
	s := newSite(t)
	ctx := t.Context()
	if _, err := s.KubectlOutput(ctx, "apply", "-f", filepath.Join("..", "..", "..", "daemonset", "chart", "crds")); err != nil {
		t.Fatal(err)
	}
	s.startNode(t)
	key, err := stack.WriteKey(s.path("team"))
	if err != nil {
		t.Fatal(err)
	}
	authority, err := stack.Authority("default", "team", "", key)
	if err != nil {
		t.Fatal(err)
	}
	policy := authority + "---\n" + stack.Policy("default", "team-signs", "", "team")
	if err := s.Apply(ctx, policy); err != nil {
		t.Fatal(err)
	}
	s.awaitPolicy(t, 1)
	s.startWebhook(t)
	signed, unsigned := s.push(t, "team/signed"), s.push(t, "team/unsigned")
	s.sign(t, key, signed)
	tag, _, _ := strings.Cut(unsigned, "@")
	tag += ":v1"

	// The API server takes a moment to call a webhook that was just registered.
	err = cluster.Await(ctx, "the webhook to be called", func(ctx context.Context) error {
		_, _, code, err := s.Kubectl(ctx, "create", "deployment", "probe", "--dry-run=server", "--image="+tag)
		if err == nil && code == 0 {
			err = fmt.Errorf("it is not called yet")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	// What comes before "admission webhook" is kubectl's own and depends on its version and subcommand; the rest is ours.
	const denied = `admission webhook "kritis-validation-hook%s.grafeas.io" denied the request: image %s is not attested`
	for _, tc := range []struct {
		name           string
		args           []string
		stdout, stderr string
	}{
		{"deployment by tag", []string{"create", "deployment", "not-sign", "--image=" + tag},
			"", "error: failed to create deployment: " + fmt.Sprintf(denied, "-deployments", tag)},
		{"deployment by unsigned digest", []string{"create", "deployment", "not-sign", "--image=" + unsigned},
			"", "error: failed to create deployment: " + fmt.Sprintf(denied, "-deployments", unsigned)},
		{"deployment by signed digest", []string{"create", "deployment", "is-signed", "--image=" + signed}, "deployment.apps/is-signed created", ""},
		{"pod by unsigned digest", []string{"run", "not-sign", "--image=" + unsigned}, "", "Error from server: " + fmt.Sprintf(denied, "", unsigned)},
		{"update to unsigned digest", []string{"set", "image", "deployment/is-signed", "*=" + unsigned},
			"", "error: failed to patch image update to pod template: " + fmt.Sprintf(denied, "-deployments", unsigned)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			args := append([]string{"-n", "default"}, tc.args...)
			if tc.args[0] != "set" {
				args = append(args, "--", "sleep", "1000")
			}
			stdout, stderr, code, err := s.Kubectl(ctx, args...)
			if err != nil {
				t.Fatal(err)
			}
			var lines []string
			for line := range strings.Lines(stderr) {
				if !strings.HasPrefix(line, "Warning: ") { // lines of their own, for what helps further
					lines = append(lines, strings.TrimSpace(line))
				}
			}
			if got := strings.Join(lines, "\n"); got != tc.stderr || strings.TrimSpace(stdout) != tc.stdout || (code == 0) != (tc.stderr == "") {
				t.Errorf("exit code %d, stdout %q, stderr %q, want %q, %q", code, stdout, stderr, tc.stdout, tc.stderr)
			}
		})
	}
	if err := s.AwaitDeployment(ctx, "default", "is-signed"); err != nil {
		t.Error(err)
	}

	t.Run("events of the webhook", func(t *testing.T) {
		if got, want := s.event(t, "kube-system", "FailedKritisAdmission", "not-sign"), "deployment default/not-sign: image "+tag+" is not attested: "; !strings.Contains(got, want) {
			t.Errorf("%q", got)
		}
		tried, err := s.KubectlOutput(ctx, "-n", "kube-system", "get", "events", "--field-selector", "involvedObject.name=probe")
		if err != nil || strings.Contains(tried, "Kritis") {
			t.Errorf("a mere try makes an event: %v: %s", err, tried)
		}
	})
	t.Run("webhook deleted", func(t *testing.T) {
		if _, err := s.KubectlOutput(ctx, "delete", "validatingwebhookconfiguration", "kritis"); err != nil {
			t.Fatal(err)
		}
		err := cluster.Await(ctx, "the API server to forget the webhook", func(ctx context.Context) error {
			_, err := s.KubectlOutput(ctx, "run", "sneaked", "--image="+unsigned, "--", "sleep", "1000")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		s.denied(t, "sneaked", unsigned)
	})
	t.Run("static pod", func(t *testing.T) {
		for name, image := range map[string]string{"static-unsigned": unsigned, "static-signed": signed} {
			pod := fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s, namespace: default}\nspec:\n  containers:\n  - {name: main, image: %q, args: [sleep, \"1000\"]}\n", name, image)
			if err := os.WriteFile(filepath.Join(s.StaticPodDir(), name+".yaml"), []byte(pod), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.AwaitPodReady(ctx, "default", "static-signed-"+s.NodeName()); err != nil {
			t.Error(err)
		}
		s.denied(t, "static-unsigned-"+s.NodeName(), unsigned)
	})
	t.Run("told", func(t *testing.T) { s.testTold(t, unsigned) })
	t.Run("policy deleted", func(t *testing.T) {
		if _, err := s.KubectlOutput(ctx, "delete", "genericattestationpolicy", "team-signs"); err != nil {
			t.Fatal(err)
		}
		s.awaitPolicy(t, 0)
		if err := s.AwaitPodReady(ctx, "default", "sneaked"); err != nil {
			t.Errorf("nothing forbids the pod now: %v", err)
		}
	})
}

// denied waits until the pod tells why it does not run, and checks that it never did.
func (s *site) denied(t *testing.T, pod, image string) {
	t.Helper()
	err := cluster.Await(t.Context(), "pod "+pod+" to tell why it does not run", func(ctx context.Context) error {
		text, err := s.KubectlOutput(ctx, "describe", "pod", pod)
		// The kubelet's event, which has the runtime's words around ours, and our own.
		if err == nil && (!strings.Contains(text, "reason: image "+image+" is not attested") || !strings.Contains(text, "container main: image "+image+" is not attested") && !strings.Contains(text, "container "+pod+": image "+image+" is not attested") || !strings.Contains(text, "FailedKritisAdmission")) {
			err = fmt.Errorf("it says: %s", text)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if got := s.event(t, "kube-system", "FailedKritisAdmission", pod); !strings.Contains(got, "pod default/"+pod+" on node "+s.NodeName()) {
		t.Errorf("%q", got)
	}
	state, err := s.KubectlOutput(t.Context(), "get", "pod", pod, "-o", "jsonpath={.status.containerStatuses[*].state.running}{.status.containerStatuses[*].lastState.terminated}")
	if err != nil || strings.TrimSpace(state) != "" {
		t.Errorf("pod %s ran: %s, %v", pod, state, err)
	}
}
