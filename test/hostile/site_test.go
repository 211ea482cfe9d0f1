package hostile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/stack"
)

// prod is the namespace that requires the attestation of the site's key; nothing is required in sandbox.
const (
	prod    = "prod"
	sandbox = "sandbox"
)

// site is a node with the product on it, which a group of cases shares.
type site struct {
	*stack.Stack
	// team is the key of the authority that namespace prod requires, stranger is nobody's.
	team, stranger stack.Key

	base v1.Image // of which every other image is a variant
	next int
	pods map[string]string // by namespace
}

// startSite starts a node that is closed after the test; what is left behind then fails it. prepare, if there is one, is called
// before agent and plugin are started.
func startSite(t *testing.T, o stack.Options, prepare func(*site) (agentArgs []string)) *site {
	t.Helper()
	o.Bare = true
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
	s.base, err = cluster.BusyboxImage("hostile")
	check(t, err)
	check(t, s.Require(t.Context(), prod, s.team))
	var args []string
	if prepare != nil {
		args = prepare(s)
	}
	check(t, s.StartAgent(t.Context(), args...))
	check(t, s.StartPlugin(t.Context()))
	return s
}

// image is another image each time: same layers, another configuration.
func (s *site) image(t *testing.T) v1.Image {
	t.Helper()
	s.next++
	image, err := cluster.WithEnv(s.base, fmt.Sprintf("NUMBER=%d", s.next))
	check(t, err)
	return image
}

// push pushes a new image and returns its reference by digest.
func (s *site) push(t *testing.T, repository string) string {
	t.Helper()
	return s.pushImage(t, repository, s.image(t))
}

func (s *site) pushImage(t *testing.T, repository string, image v1.Image) string {
	t.Helper()
	reference, err := stack.PushTo(t.Context(), s.Registry, repository, image)
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

// run does what a kubelet does for a container of the namespace, and returns the runtime's error.
func (s *site) run(t *testing.T, namespace, reference string) error {
	t.Helper()
	return s.runAs(t, namespace, s.pull(t, reference), reference)
}

// runAs runs an image that the node has by its ID, and says that the user asked for a reference.
func (s *site) runAs(t *testing.T, namespace, id, reference string) error {
	t.Helper()
	return s.runIn(t, s.pod(t, namespace), cluster.ContainerSpec{Image: id, UserSpecifiedImage: reference})
}

// pod returns a pod of the namespace, the same each time.
func (s *site) pod(t *testing.T, namespace string) string {
	t.Helper()
	if s.pods[namespace] == "" {
		s.pods[namespace] = s.newPod(t, cluster.PodSpec{Namespace: namespace})
	}
	return s.pods[namespace]
}

func (s *site) newPod(t *testing.T, spec cluster.PodSpec) string {
	t.Helper()
	pod, err := s.Node.CRI().RunPod(t.Context(), spec)
	check(t, err)
	return pod
}

// runIn creates and starts a container, and removes it again: hundreds would slow the runtime down.
func (s *site) runIn(t *testing.T, pod string, spec cluster.ContainerSpec) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	container, err := s.Node.CRI().CreateContainer(ctx, pod, spec)
	if err != nil {
		return err
	}
	err = s.Node.CRI().StartContainer(ctx, container)
	return errors.Join(err, s.Node.CRI().RemoveContainer(ctx, container))
}

// startPlugin starts it again, with nothing in its memory.
func (s *site) startPlugin(t *testing.T) {
	t.Helper()
	check(t, s.Plugin.Kill())
	check(t, s.StartPlugin(t.Context()))
}

// write writes a file in one piece.
func write(t *testing.T, path string, data []byte) {
	t.Helper()
	part := filepath.Join(filepath.Dir(path), ".part")
	check(t, os.WriteFile(part, data, 0o644))
	check(t, os.Rename(part, path))
}

// repositoryOf, digestOf and tagOf take a reference by digest apart; the tag is that of stack.PushTo.
func repositoryOf(reference string) string {
	repository, _, _ := strings.Cut(reference, "@")
	return repository
}

func digestOf(reference string) string {
	_, digest, _ := strings.Cut(reference, "@")
	return digest
}

func tagOf(reference string) string { return repositoryOf(reference) + ":v1" }
