package kubernetes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Kubectl runs kubectl as administrator; --kubeconfig says otherwise, see [Cluster.KubeconfigFor]. err is about a
// kubectl that could not be run or was killed; one that fails is told by its exit code.
func (c *Cluster) Kubectl(ctx context.Context, args ...string) (stdout, stderr string, code int, err error) {
	return c.KubectlInput(ctx, "", args...)
}

// KubectlInput is [Cluster.Kubectl] with something to read, as "apply --filename -" does.
func (c *Cluster) KubectlInput(ctx context.Context, input string, args ...string) (stdout, stderr string, code int, err error) {
	cmd := exec.CommandContext(ctx, c.KubectlPath(), args...)
	cmd.Env = append(os.Environ(), c.KubectlEnv()...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &errs
	err = cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.Exited() {
		err = nil
	}
	if err != nil {
		return out.String(), errs.String(), -1, fmt.Errorf("kubectl %s: %w", strings.Join(args, " "), errors.Join(err, ctx.Err()))
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode(), nil
}

// KubectlOutput runs kubectl and returns what it prints; an exit code other than 0 is an error that shows why.
func (c *Cluster) KubectlOutput(ctx context.Context, args ...string) (string, error) {
	return c.output(ctx, "", args...)
}

// Apply creates or changes the objects of a manifest, YAML or JSON.
func (c *Cluster) Apply(ctx context.Context, manifest string) error {
	_, err := c.output(ctx, manifest, "apply", "--filename", "-")
	return err
}

func (c *Cluster) output(ctx context.Context, input string, args ...string) (string, error) {
	stdout, stderr, code, err := c.KubectlInput(ctx, input, args...)
	if err != nil {
		return "", err
	}
	if code != 0 {
		return "", fmt.Errorf("kubectl %s: exit code %d: %s", strings.Join(args, " "), code, strings.TrimSpace(stderr))
	}
	return stdout, nil
}

// KubectlPath is the program, for a command that is built by hand.
func (c *Cluster) KubectlPath() string { return filepath.Join(c.tools, "kubectl") }

// KubectlEnv is what such a command needs in its environment: kubectl, as well as helm, finds the cluster by it, and
// keeps nothing in the user's home.
func (c *Cluster) KubectlEnv() []string {
	return []string{"KUBECONFIG=" + c.Kubeconfig(), "KUBECACHEDIR=" + c.path("kubectl-cache"), "KUBECTL_KUBERC=false"}
}
