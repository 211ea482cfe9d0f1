package cluster

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/kritis-node/kritis-node/test/cluster"
)

// Containers of a pod besides the main ones, as YAML of a pod's specification; IMAGE is the image.
const (
	initContainers = `initContainers: [{name: other, image: "IMAGE", command: [sleep, "0"]}]`
	sidecars       = `initContainers: [{name: other, image: "IMAGE", command: [sleep, "100000"], restartPolicy: Always}]`
)

// pod is a pod of the image with other containers beside.
func pod(name, image, others string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s, namespace: %s}\nspec:\n  terminationGracePeriodSeconds: 1\n"+
		"  containers: [{name: main, image: %q, command: [sleep, \"100000\"]}]\n  %s\n", name, namespace, image, others)
}

func with(others, image string) string { return strings.ReplaceAll(others, "IMAGE", image) }

func (s *suite) testContainersAtAdmission(t *testing.T) {
	for name, others := range map[string]string{"init": initContainers, "sidecar": sidecars} {
		t.Run(name, func(t *testing.T) {
			stderr, code := s.apply(t, pod("webhook-"+name, s.signed, with(others, s.unsigned)))
			s.denied(t, s.unsigned, stderr, code)
			check(t, s.Apply(t.Context(), pod("webhook-"+name, s.signed, with(others, s.signedToo))))
			check(t, s.AwaitPodReady(t.Context(), namespace, "webhook-"+name))
		})
	}
	t.Run("ephemeral, through its subresource", func(t *testing.T) {
		check(t, s.Apply(t.Context(), pod("webhook-debugged", s.signed, "")))
		check(t, s.AwaitPodReady(t.Context(), namespace, "webhook-debugged"))
		stderr, code := s.debug(t, "webhook-debugged", s.unsigned)
		s.denied(t, s.unsigned, stderr, code)
		stderr, code = s.debug(t, "webhook-debugged", s.signedToo)
		accepted(t, stderr, code)
		s.debugRuns(t, "webhook-debugged", s.signedToo)
	})
}

// debug adds an ephemeral container as clients do that do not use kubectl debug.
func (s *suite) debug(t *testing.T, pod, image string) (stderr string, code int) {
	t.Helper()
	patch := fmt.Sprintf(`{"spec":{"ephemeralContainers":[{"name":"debug-%s","image":%q,"command":["sleep","100000"]}]}}`, image[len(image)-8:], image)
	_, stderr, code, err := s.Kubectl(t.Context(), "--namespace", namespace, "patch", "pod", pod, "--subresource=ephemeralcontainers", "--type=strategic", "--patch", patch)
	check(t, err)
	return stderr, code
}

// debugRuns waits until an ephemeral container runs.
func (s *suite) debugRuns(t *testing.T, pod, image string) {
	t.Helper()
	check(t, cluster.Await(t.Context(), "the debugging container to run", func(ctx context.Context) error {
		state, err := s.KubectlOutput(ctx, "--namespace", namespace, "get", "pod", pod, "--output",
			fmt.Sprintf(`jsonpath={.status.ephemeralContainerStatuses[?(@.name=="debug-%s")].state.running}`, image[len(image)-8:]))
		if err == nil && state == "" {
			err = fmt.Errorf("it does not")
		}
		return err
	}))
}

// testContainerOnTheNode: what the webhook did not see the node does.
func (s *suite) testContainerOnTheNode(t *testing.T, others string) {
	name := "node-init"
	if others == sidecars {
		name = "node-sidecar"
	}
	check(t, s.Apply(t.Context(), pod(name, s.signed, with(others, s.unsigned))))
	check(t, s.Apply(t.Context(), pod(name+"-signed", s.signed, with(others, s.signedToo))))
	check(t, s.AwaitDenied(t.Context(), namespace, name, s.unsigned))
	if started := s.kubectl(t, "get", "pod", name, "--output=jsonpath={.status.initContainerStatuses[*].state.running}{.status.initContainerStatuses[*].state.terminated}"); started != "" {
		t.Errorf("it ran: %s", started)
	}
	check(t, s.AwaitPodReady(t.Context(), namespace, name+"-signed"))
}

func (s *suite) testDebugOnTheNode(t *testing.T) {
	const name = "node-debugged"
	check(t, s.Apply(t.Context(), pod(name, s.signed, "")))
	check(t, s.AwaitPodReady(t.Context(), namespace, name))
	for _, image := range []string{s.unsigned, s.signedToo} {
		stderr, code := s.debug(t, name, image)
		accepted(t, stderr, code)
	}
	s.debugRuns(t, name, s.signedToo)
	// Of its two debugging containers one waits for ever, and its event tells why.
	check(t, cluster.Await(t.Context(), "the other debugging container to be denied", func(ctx context.Context) error {
		text, err := s.KubectlOutput(ctx, "--namespace", namespace, "describe", "pod", name)
		if err == nil && !strings.Contains(text, "image "+s.unsigned+" is not attested") {
			err = fmt.Errorf("it says: %s", text)
		}
		return err
	}))
	state := s.kubectl(t, "get", "pod", name, "--output", fmt.Sprintf(`jsonpath={.status.ephemeralContainerStatuses[?(@.name=="debug-%s")].state}`, s.unsigned[len(s.unsigned)-8:]))
	if strings.Contains(state, "running") || strings.Contains(state, "terminated") {
		t.Errorf("it ran: %s", state)
	}
}
