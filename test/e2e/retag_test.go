package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/kritis-node/kritis-node/test/cluster"
)

// testRetagged moves the name of an attested image to other content behind the back of CRI, which caches what names
// mean. Whatever the runtime makes of it, under the attested name nothing else may run.
func (s *site) testRetagged(t *testing.T) {
	for _, image := range []string{"by ID", "by reference"} {
		t.Run(image, func(t *testing.T) {
			signed, other := s.pushSigned(t, "retag/signed"), s.push(t, "retag/other")
			spec := cluster.ContainerSpec{Image: s.pull(t, signed), UserSpecifiedImage: signed}
			if image == "by reference" {
				spec.Image = signed
			}
			content := s.marker(t, s.mustRun(t, spec))
			s.pull(t, other)
			_, err := s.Node.Ctr(t.Context(), "images", "tag", "--force", other, signed)
			check(t, err)
			// CRI learns of it by an event, at some time during these.
			for range 20 {
				container, err := s.runSpec(t, prod, spec)
				if err != nil {
					continue
				}
				if got := s.marker(t, container); got != content {
					t.Fatalf("a container of %s runs the content of another image: %q", signed, got)
				}
			}
			expectRefused(t, s.run(t, prod, other))
		})
	}
}

// mustRun starts a container in the protected namespace.
func (s *site) mustRun(t *testing.T, spec cluster.ContainerSpec) string {
	t.Helper()
	container, err := s.runSpec(t, prod, spec)
	check(t, err)
	return container
}

// marker reads, through the mounted root of a running container, which image it was made from.
func (s *site) marker(t *testing.T, container string) string {
	t.Helper()
	root := filepath.Join(s.Node.StateDir(), "io.containerd.runtime.v2.task", "k8s.io", container, "rootfs")
	content, err := os.ReadFile(filepath.Join(root, cluster.MarkerFile))
	check(t, err)
	return string(content)
}
