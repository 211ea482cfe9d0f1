package admission

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/kritis-node/kritis-node/policyagent/nodereport"
	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/site"
)

const pluginUnit = "kritis-plugin.service"

// testAbsentInPod breaks the plugin's container: nothing requires it, so containers start unchecked, and everybody is told.
func (s *suite) testAbsentInPod(t *testing.T) {
	ctx := t.Context()
	s.awaitCondition(t, "False BestEffort")
	s.patchNode(t, `{"spec":{"template":{"spec":{"containers":[{"name":"plugin","args":["plugin","--no-such-flag"]}]}}}}`)
	s.awaitCondition(t, "False PluginAbsent")
	s.run(t, "unchecked", s.unsigned)
	check(t, s.AwaitPodReady(ctx, "default", "unchecked"))
	pod, err := s.KubectlOutput(ctx, "--namespace", site.Namespace, "get", "pods", "--selector=app.kubernetes.io/component=node", "--output=jsonpath={.items[0].metadata.name}")
	check(t, err)
	metrics, err := s.KubectlOutput(ctx, "get", "--raw", "/api/v1/namespaces/"+site.Namespace+"/pods/"+pod+":9464/proxy/metrics")
	check(t, err)
	if !strings.Contains(metrics, `kritis_node_enforcing{mode="absent"`) || !strings.Contains(metrics, "kritis_policyagent_plugin_up 0") {
		t.Errorf("the agent's metrics do not tell that the plugin is absent:\n%s", metrics)
	}
	cmd := exec.CommandContext(ctx, s.Program, "status", "--kubeconfig", s.Kubeconfig())
	cmd.Env = os.Environ()
	output, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(output), nodereport.ModeAbsent) {
		t.Errorf("kritis status: %v\n%s", err, output)
	}
	// Back again, it decides again.
	_, err = s.KubectlOutput(ctx, "--namespace", site.Namespace, "rollout", "undo", "daemonset/kritis-node")
	check(t, err)
	s.awaitCondition(t, "False BestEffort")
	s.run(t, "checked-again", s.unsigned)
	s.keptOut(t, "checked-again", s.unsigned)
}

// testAbsentOnHost stops the service while nobody looks after it: the runtime requires it, so nothing starts.
func (s *suite) testAbsentOnHost(t *testing.T) {
	ctx := t.Context()
	s.awaitCondition(t, "True Enforcing")
	// Without its pod, which would put the service back.
	s.patchNode(t, `{"spec":{"template":{"spec":{"nodeSelector":{"none":"such"}}}}}`)
	_, err := s.KubectlOutput(ctx, "--namespace", site.Namespace, "wait", "pods", "--selector=app.kubernetes.io/component=node", "--for=delete", "--timeout=3m")
	check(t, err)
	check(t, s.Systemd(0).StopUnit(pluginUnit))
	for name, image := range map[string]string{"absent-signed": s.signed, "absent-unsigned": s.unsigned} {
		s.run(t, name, image)
		check(t, cluster.Await(ctx, "pod "+name+" to be refused", func(ctx context.Context) error {
			text, err := s.KubectlOutput(ctx, "describe", "pod", name)
			if err == nil && !strings.Contains(text, "required plugin") {
				err = fmt.Errorf("it says: %s", text)
			}
			return err
		}))
		state, err := s.KubectlOutput(ctx, "get", "pod", name, "--output", "jsonpath={.status.containerStatuses[*].state.running}{.status.containerStatuses[*].lastState.terminated}")
		if err != nil || state != "" {
			t.Errorf("pod %s ran: %s, %v", name, state, err)
		}
	}
	// A boot starts the service, and what waited goes on.
	check(t, s.Systemd(0).Boot())
	check(t, s.AwaitPodReady(ctx, "default", "absent-signed"))
	check(t, s.AwaitDenied(ctx, "default", "absent-unsigned", s.unsigned))
}

func (s *suite) patchNode(t *testing.T, patch string) {
	t.Helper()
	_, err := s.KubectlOutput(t.Context(), "--namespace", site.Namespace, "patch", "daemonset/kritis-node", "--type=strategic", "--patch", patch)
	check(t, err)
}

// awaitCondition waits for status and reason of the node's condition.
func (s *suite) awaitCondition(t *testing.T, want string) {
	t.Helper()
	// The agent waits half a minute before it calls a plugin absent.
	for range 3 {
		err := cluster.Await(t.Context(), "the node's condition", func(ctx context.Context) error {
			got, err := s.KubectlOutput(ctx, "get", "node", s.NodeName(), "--output",
				`jsonpath={.status.conditions[?(@.type=="`+nodereport.Condition+`")].status} {.status.conditions[?(@.type=="`+nodereport.Condition+`")].reason}`)
			if err == nil && got != want {
				err = fmt.Errorf("it is %q", got)
			}
			return err
		})
		if err == nil {
			return
		}
		t.Log(err)
	}
	t.Fatalf("the node's condition is not %q", want)
}
