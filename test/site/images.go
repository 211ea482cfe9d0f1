package site

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"github.com/kritis-node/kritis-node/plugin"
	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/stack"
)

// Push pushes an image of its own, as repository:v1, and returns its reference by digest.
func (s *Site) Push(ctx context.Context, repository string) (string, error) {
	img, err := cluster.BusyboxImage(fmt.Sprintf("%s %d", repository, s.images.Add(1)))
	if err != nil {
		return "", err
	}
	return stack.PushTo(ctx, s.Registry, repository, img)
}

// PushOwn pushes the product's own image, as repository:v1, and returns its reference by digest. A site that is Bare has none.
func (s *Site) PushOwn(ctx context.Context, repository string) (string, error) {
	name := s.Registry.Host() + "/" + repository
	digest, err := s.pack(ctx, "-insecure-push", "-push", name+":v1")
	if err != nil {
		return "", err
	}
	return name + "@" + digest, nil
}

// Sign signs with the site's key.
func (s *Site) Sign(ctx context.Context, reference string) error {
	output, err := exec.CommandContext(ctx, s.Program, "sign", "--key", s.Key.Private, "--registry-config", s.RegistryConfig(),
		"--docker-config", s.path("docker.json"), reference).CombinedOutput()
	if err != nil {
		return fmt.Errorf("kritis sign %s: %w: %s", reference, err, output)
	}
	return nil
}

// PushSigned is Push and Sign.
func (s *Site) PushSigned(ctx context.Context, repository string) (string, error) {
	reference, err := s.Push(ctx, repository)
	if err != nil {
		return "", err
	}
	return reference, s.Sign(ctx, reference)
}

// Require makes a namespace require the site's key, and waits until every node does. The namespace must exist.
func (s *Site) Require(ctx context.Context, namespace string) error {
	authority, err := stack.Authority(namespace, "team", "", s.Key)
	if err != nil {
		return err
	}
	before, err := s.Status(ctx, 0)
	if err != nil {
		return err
	}
	if err := s.Apply(ctx, authority+"---\n"+stack.Policy(namespace, "team-signs", "", "team")); err != nil {
		return err
	}
	return s.AwaitPolicies(ctx, before.Policy.Policies+1)
}

// AwaitPolicies waits until the plugin of every node has a number of policies in force.
func (s *Site) AwaitPolicies(ctx context.Context, want int) error {
	for i, node := range s.Nodes() {
		err := cluster.Await(ctx, fmt.Sprintf("%d policies on %s", want, node.Name()), func(ctx context.Context) error {
			status, err := s.Status(ctx, i)
			if err == nil && status.Policy.Policies != want {
				err = fmt.Errorf("there are %d: %s", status.Policy.Policies, status.StateProblem)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// status asks a plugin's socket.
func status(ctx context.Context, program, socket string) (plugin.Status, error) {
	// Exit code 1 is best effort, which is an answer too.
	output, err := exec.CommandContext(ctx, program, "status", "--socket", socket, "-o", "json").Output()
	var status plugin.Status
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() != 1 {
		return status, fmt.Errorf("kritis status: %w: %s", err, exit.Stderr)
	}
	return status, json.Unmarshal(output, &status)
}

// AwaitDenied waits until a pod tells that the image is not attested and so does not run, and checks that it never did.
func (s *Site) AwaitDenied(ctx context.Context, namespace, pod, reference string) error {
	err := cluster.Await(ctx, "pod "+pod+" to tell why it does not run", func(ctx context.Context) error {
		text, err := s.KubectlOutput(ctx, "--namespace", namespace, "describe", "pod", pod)
		if err == nil && !strings.Contains(text, "image "+reference+" is not attested") {
			err = fmt.Errorf("it says: %s", text)
		}
		return err
	})
	if err != nil {
		return err
	}
	state, err := s.KubectlOutput(ctx, "--namespace", namespace, "get", "pod", pod, "--output",
		"jsonpath={.status.containerStatuses[*].state.running}{.status.containerStatuses[*].lastState.terminated}")
	if err == nil && strings.TrimSpace(state) != "" {
		err = fmt.Errorf("pod %s ran: %s", pod, state)
	}
	return err
}
