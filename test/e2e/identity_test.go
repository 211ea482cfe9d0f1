package e2e

import (
	"testing"

	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/stack"
)

// TestIdentity shows that what counts is the content that would run: neither what a CRI client says that the user wrote,
// nor a name that leads elsewhere on this node.
func TestIdentity(t *testing.T) {
	onEachVersion(t, stack.Options{}, func(t *testing.T, s *site) {
		t.Run("another image's reference", s.testClaimedReference)
		t.Run("annotations of the CRI client", s.testForgedAnnotations)
		t.Run("no reference at all", s.testNoReference)
		t.Run("allow-listed name", s.testAllowListedName)
		t.Run("same content in two repositories", s.testTwoRepositories)
		t.Run("index", s.testIndex)
		t.Run("tag policy Resolve", s.testResolve)
		t.Run("name moved by force", s.testRetagged)
		t.Run("image volumes", s.testImageVolumes)
	})
}

func (s *site) testClaimedReference(t *testing.T) {
	signed, unsigned := s.pushSigned(t, "claims/signed"), s.push(t, "claims/unsigned")
	expectStarts(t, s.run(t, prod, signed))
	for name, image := range map[string]string{"by ID": s.pull(t, unsigned), "by reference": unsigned} {
		t.Run(name, func(t *testing.T) {
			_, err := s.runSpec(t, prod, cluster.ContainerSpec{Image: image, UserSpecifiedImage: signed})
			expectDenied(t, err, signed)
		})
	}
	t.Run("reference that the node does not have", func(t *testing.T) {
		absent := s.pushSigned(t, "claims/absent")
		_, err := s.runSpec(t, prod, cluster.ContainerSpec{Image: s.pull(t, unsigned), UserSpecifiedImage: absent})
		expectDenied(t, err, absent)
	})
}

func (s *site) testForgedAnnotations(t *testing.T) {
	signed, unsigned := s.pushSigned(t, "annotated/signed"), s.push(t, "annotated/unsigned")
	expectStarts(t, s.run(t, prod, signed))
	t.Run("image name", func(t *testing.T) {
		forged := cluster.ContainerSpec{Image: s.pull(t, unsigned), UserSpecifiedImage: unsigned,
			Annotations: map[string]string{"io.kubernetes.cri.image-name": signed}}
		_, err := s.runSpec(t, prod, forged)
		expectDenied(t, err, signed)
	})
	for _, annotation := range []string{"restored", "checkpointedAt", "checkpointImage"} {
		t.Run("checkpoint "+annotation, func(t *testing.T) {
			restored := cluster.ContainerSpec{Image: s.pull(t, signed), UserSpecifiedImage: signed,
				Annotations: map[string]string{annotation: "true"}}
			_, err := s.runSpec(t, prod, restored)
			expectDenied(t, err, signed, "checkpoint")
			_, err = s.runSpec(t, "sandbox", restored)
			expectStarts(t, err)
		})
	}
}

// testNoReference leaves out what a kubelet always says. The runtime's own name of the image is taken then.
func (s *site) testNoReference(t *testing.T) {
	unsigned := s.push(t, "nameless/unsigned")
	for name, image := range map[string]string{"ID": s.pull(t, unsigned), "reference": unsigned} {
		t.Run(name, func(t *testing.T) {
			_, err := s.runSpec(t, prod, cluster.ContainerSpec{Image: image})
			expectRefused(t, err)
		})
	}
	t.Run("ID as the user's reference", func(t *testing.T) {
		signed := s.pushSigned(t, "nameless/signed")
		id := s.pull(t, signed)
		_, err := s.runSpec(t, prod, cluster.ContainerSpec{Image: id, UserSpecifiedImage: id})
		expectRefused(t, err)
	})
}

// testAllowListedName lets names through only where they lead to the content.
func (s *site) testAllowListedName(t *testing.T) {
	honest, never := s.push(t, "sidecars/honest"), s.push(t, "sidecars/never-pulled")
	listed := []string{tagOf(honest), tagOf(never)}
	check(t, s.WritePolicies(t.Context(), "allow.yaml", stack.Allowlist("sidecars", listed...)))
	expectStarts(t, s.run(t, prod, tagOf(honest)))
	other := s.pull(t, s.push(t, "sidecars/other"))
	for _, name := range listed {
		_, err := s.runSpec(t, prod, cluster.ContainerSpec{Image: other, UserSpecifiedImage: name})
		expectDenied(t, err, name)
	}
	expectDenied(t, s.run(t, prod, honest), honest) // the list names the tag, not the digest
	expectStarts(t, s.run(t, prod, tagOf(honest)))
}

// testTwoRepositories judges each name by itself, whichever the runtime happens to call the content by.
func (s *site) testTwoRepositories(t *testing.T) {
	for _, row := range []struct{ name, first, second string }{
		{"attested one pulled first", "attested", "plain"},
		{"attested one pulled last", "plain", "attested"},
		{"attested one last in sort order", "z-attested", "a-plain"},
	} {
		t.Run(row.name, func(t *testing.T) {
			original := s.push(t, "twins/"+row.first+row.second)
			references := map[string]string{}
			for _, twin := range []string{row.first, row.second} {
				references[twin] = s.copyImage(t, original, "twins/"+twin)
				s.pull(t, references[twin])
			}
			for _, twin := range []string{row.first, row.second} {
				if twin == "attested" || twin == "z-attested" {
					check(t, s.Sign(t.Context(), s.team, references[twin]))
				}
			}
			for range 2 { // what was decided about one must not be remembered of the other
				for twin, reference := range references {
					if err := s.run(t, prod, reference); twin == "attested" || twin == "z-attested" {
						expectStarts(t, err)
					} else {
						expectDenied(t, err, reference)
					}
				}
			}
		})
	}
}

// testResolve is for policies that let the digest decide that a tag has on this node.
func (s *site) testResolve(t *testing.T) {
	authority, err := stack.Authority("resolve", "team", "", s.team)
	check(t, err)
	check(t, s.WritePolicies(t.Context(), "resolve.yaml", authority, stack.Policy("resolve", "tags", "tagPolicy: Resolve", "team")))
	signed, unsigned := s.pushSigned(t, "resolve/signed"), s.push(t, "resolve/unsigned")
	expectStarts(t, s.run(t, "resolve", tagOf(signed)))
	expectStarts(t, s.run(t, "resolve", signed))
	expectDenied(t, s.run(t, "resolve", tagOf(unsigned)), tagOf(unsigned))
	expectDenied(t, s.run(t, prod, tagOf(signed)), tagOf(signed))
	// The tag of the attested one, for the other content.
	_, err = s.runSpec(t, "resolve", cluster.ContainerSpec{Image: s.pull(t, tagOf(unsigned)), UserSpecifiedImage: tagOf(signed)})
	expectDenied(t, err, tagOf(signed))
}
