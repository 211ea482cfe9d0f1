package e2e

import (
	"testing"

	"github.com/kritis-node/kritis-node/test/cluster"
)

// testImageVolumes mounts images into a container of an attested image.
func (s *site) testImageVolumes(t *testing.T) {
	app := s.pushSigned(t, "volumes/app")
	signed, unsigned := s.pushSigned(t, "volumes/signed"), s.push(t, "volumes/unsigned")
	id := s.pull(t, app)
	s.pull(t, signed)
	s.pull(t, unsigned)
	run := func(t *testing.T, namespace string, mounts ...cluster.ImageMount) error {
		_, err := s.runSpec(t, namespace, cluster.ContainerSpec{Image: id, UserSpecifiedImage: app, ImageMounts: mounts})
		return err
	}
	for _, subPath := range []string{"", "bin"} {
		name := "whole"
		if subPath != "" {
			name = "sub path"
		}
		t.Run(name, func(t *testing.T) {
			attested := cluster.ImageMount{Image: signed, UserSpecifiedImage: signed, ContainerPath: "/data", SubPath: subPath}
			other := cluster.ImageMount{Image: unsigned, UserSpecifiedImage: unsigned, ContainerPath: "/other", SubPath: subPath}
			lying := cluster.ImageMount{Image: unsigned, UserSpecifiedImage: signed, ContainerPath: "/data", SubPath: subPath}
			expectStarts(t, run(t, prod, attested))
			expectDenied(t, run(t, prod, other), unsigned)
			expectDenied(t, run(t, prod, attested, other), unsigned)
			expectDenied(t, run(t, prod, lying), unsigned)
			expectStarts(t, run(t, "sandbox", other))
		})
	}
}
