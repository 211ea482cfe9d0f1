package chart

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/kritis-node/kritis-node/policyagent/nodereport"
	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/cluster/kubernetes"
)

// TestTwoNodes shows what one node cannot: each decides for itself, the webhook's replicas are on different ones, and one
// command shows them all.
func TestTwoNodes(t *testing.T) {
	s := start(t, kubernetes.Options{Nodes: 2})
	ctx := t.Context()
	check(t, s.Install(ctx))
	check(t, s.Require(ctx, "default"))
	signed, err := s.PushSigned(ctx, "team/signed")
	check(t, err)
	unsigned, err := s.Push(ctx, "team/unsigned")
	check(t, err)

	t.Run("replicas are apart", func(t *testing.T) {
		output, err := s.KubectlOutput(ctx, "--namespace", "kritis-system", "get", "pods", "--selector=app.kubernetes.io/component=webhook",
			"--output=jsonpath={.items[*].spec.nodeName}")
		check(t, err)
		if names := strings.Fields(output); len(names) != 2 || names[0] == names[1] {
			t.Errorf("the webhook's replicas are on %v", names)
		}
	})
	t.Run("each node decides", func(t *testing.T) {
		_, err := s.KubectlOutput(ctx, "delete", "validatingwebhookconfiguration", "kritis-validation-hook")
		check(t, err)
		for i, node := range s.Nodes() {
			for name, image := range map[string]string{"signed": signed, "unsigned": unsigned} {
				pod := fmt.Sprintf("%s-%d", name, i)
				check(t, cluster.Await(ctx, "pod "+pod+" to be admitted", func(ctx context.Context) error {
					_, err := s.KubectlOutput(ctx, "run", pod, "--image="+image, `--overrides={"spec":{"nodeName":"`+node.Name()+`"}}`, "--", "sleep", "1000")
					return err
				}))
			}
			check(t, s.AwaitPodReady(ctx, "default", fmt.Sprintf("signed-%d", i)))
			check(t, s.AwaitDenied(ctx, "default", fmt.Sprintf("unsigned-%d", i), unsigned))
		}
	})
	t.Run("status shows both", func(t *testing.T) {
		check(t, cluster.Await(ctx, "both denials in the nodes' reports", func(ctx context.Context) error {
			cmd := exec.CommandContext(ctx, s.Program, "status", "--kubeconfig", s.Kubeconfig(), "-o", "json")
			output, err := cmd.Output()
			if exit := (*exec.ExitError)(nil); err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
				return fmt.Errorf("%w: %s", err, exit.Stderr)
			}
			if !json.Valid(output) {
				return fmt.Errorf("no JSON: %s", output)
			}
			for i, node := range s.Nodes() {
				for _, want := range []string{node.Name(), fmt.Sprintf("unsigned-%d", i), nodereport.ModeBestEffort} {
					if !strings.Contains(string(output), want) {
						return fmt.Errorf("%q is missing: %s", want, output)
					}
				}
			}
			return nil
		}))
	})
}
