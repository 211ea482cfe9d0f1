package e2e

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/stack"
)

// prod is the namespace that requires the attestation of the site's key.
const prod = "prod"

// site is a node with the product on it, for one group of tests.
type site struct {
	*stack.Stack
	// team is the key of the authority that namespace prod requires, stranger is nobody's.
	team, stranger stack.Key
	pods           map[string]string // by namespace and runtime handler
}

// onEachVersion starts a site for each version of containerd, all at the same time, and runs the test on it.
func onEachVersion(t *testing.T, o stack.Options, test func(t *testing.T, s *site)) {
	oneByOne(t, o, func(t *testing.T, o stack.Options) {
		t.Parallel()
		test(t, startSite(t, o))
	})
}

// oneByOne runs a test for each version of containerd after another.
func oneByOne(t *testing.T, o stack.Options, test func(t *testing.T, o stack.Options)) {
	for _, version := range []string{"2.4", "2.3"} {
		t.Run("containerd "+version, func(t *testing.T) {
			options := o
			options.Containerd = version
			test(t, options)
		})
	}
}

// startSite starts a site that is closed after the test. What is left behind then fails it.
func startSite(t *testing.T, o stack.Options) *site {
	t.Helper()
	running, err := stack.Start(t.Context(), o)
	check(t, err)
	s := &site{Stack: running, pods: map[string]string{}}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(s.Logs())
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	s.team, err = s.NewKey("team")
	check(t, err)
	s.stranger, err = s.NewKey("stranger")
	check(t, err)
	check(t, s.Require(t.Context(), prod, s.team))
	return s
}

// push pushes a new image and returns its reference by digest.
func (s *site) push(t *testing.T, repository string) string {
	t.Helper()
	reference, err := s.Push(t.Context(), repository)
	check(t, err)
	return reference
}

// pushSigned pushes a new image that the site's team has signed.
func (s *site) pushSigned(t *testing.T, repository string) string {
	t.Helper()
	reference := s.push(t, repository)
	check(t, s.Sign(t.Context(), s.team, reference))
	return reference
}

// pull makes sure that the node has an image under the reference, and returns its ID.
func (s *site) pull(t *testing.T, reference string) string {
	t.Helper()
	id, err := s.Node.CRI().HaveImage(t.Context(), reference)
	check(t, err)
	return id
}

// pod returns a pod of the namespace, the same each time.
func (s *site) pod(t *testing.T, namespace, handler string) string {
	t.Helper()
	key := namespace + "/" + handler
	if s.pods[key] == "" {
		pod, err := s.Node.CRI().RunPod(t.Context(), cluster.PodSpec{Namespace: namespace, RuntimeHandler: handler})
		check(t, err)
		s.pods[key] = pod
	}
	return s.pods[key]
}

// run does what a kubelet does for a container of the namespace, and returns the runtime's error.
func (s *site) run(t *testing.T, namespace, reference string) error {
	t.Helper()
	_, err := s.runSpec(t, namespace, cluster.ContainerSpec{Image: s.pull(t, reference), UserSpecifiedImage: reference})
	return err
}

// runSpec creates and starts a container as told. A container that was created and could not be started is removed.
func (s *site) runSpec(t *testing.T, namespace string, spec cluster.ContainerSpec) (string, error) {
	t.Helper()
	return s.runIn(t.Context(), s.pod(t, namespace, ""), spec)
}

func (s *site) runIn(ctx context.Context, pod string, spec cluster.ContainerSpec) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	container, err := s.Node.CRI().CreateContainer(ctx, pod, spec)
	if err != nil {
		return "", err
	}
	if err := s.Node.CRI().StartContainer(ctx, container); err != nil {
		return "", errors.Join(err, s.Node.CRI().RemoveContainer(ctx, container))
	}
	return container, nil
}

// tagOf is the tag under which stack.PushTo put an image that is named by digest.
func tagOf(reference string) string { return repositoryOf(reference) + ":v1" }
