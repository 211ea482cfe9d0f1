package e2e

import (
	"testing"

	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/stack"
)

// TestSigning shows that an image that is named by digest starts if the authority signed it with any of the signers that
// users have, and that nothing else does.
func TestSigning(t *testing.T) {
	onEachVersion(t, stack.Options{Referrers: true}, func(t *testing.T, s *site) {
		s.testSigned(t)
		s.testNotSigned(t)
		s.testSignedLater(t)
	})
}

func (s *site) testSigned(t *testing.T) {
	kritis := func(t *testing.T, r string) { check(t, s.Sign(t.Context(), s.team, r)) }
	classic := func(t *testing.T, r string) { check(t, s.SignWithCosignClassic(t.Context(), s.team, r)) }
	bundle := func(t *testing.T, r string) { check(t, s.SignWithCosignBundle(t.Context(), s.team, r)) }
	openssl := func(sigopt ...string) func(t *testing.T, r string) {
		return func(t *testing.T, r string) { s.signWithOpenSSL(t, s.team, r, sigopt...) }
	}
	for _, row := range []struct {
		name     string
		registry *cluster.Registry
		sign     func(t *testing.T, reference string)
	}{
		{"kritis sign", s.Registry, kritis},
		{"kritis sign, registry with the referrers API", s.Referrers, kritis},
		{"cosign classic", s.Registry, classic},
		{"cosign classic, registry with the referrers API", s.Referrers, classic},
		{"cosign bundle", s.Registry, bundle},
		{"cosign bundle, registry with the referrers API", s.Referrers, bundle},
		{"openssl PKCS1 v1.5", s.Registry, openssl()},
		{"openssl PSS, salt as long as the digest", s.Registry, openssl("rsa_padding_mode:pss", "rsa_pss_saltlen:-1")},
		{"openssl PSS, salt of 32 bytes", s.Registry, openssl("rsa_padding_mode:pss", "rsa_pss_saltlen:32")},
	} {
		t.Run(row.name+" starts", func(t *testing.T) {
			image, err := cluster.BusyboxImage(row.name)
			check(t, err)
			reference, err := stack.PushTo(t.Context(), row.registry, "signed/app", image)
			check(t, err)
			row.sign(t, reference)
			expectStarts(t, s.run(t, prod, reference))
		})
	}
	t.Run("cosign verifies what kritis signed", func(t *testing.T) {
		reference := s.pushSigned(t, "signed/by-kritis")
		check(t, s.VerifyWithCosign(t.Context(), s.team, reference))
		if err := s.VerifyWithCosign(t.Context(), s.stranger, reference); err == nil {
			t.Error("cosign accepts it for another key")
		}
	})
	t.Run("several platforms in one index, each is covered", func(t *testing.T) {
		image, err := cluster.BusyboxImage("index")
		check(t, err)
		index, err := cluster.Index(image)
		check(t, err)
		reference, err := stack.PushTo(t.Context(), s.Registry, "signed/index", index)
		check(t, err)
		check(t, s.Sign(t.Context(), s.team, reference))
		expectStarts(t, s.run(t, prod, reference))
	})
}

func (s *site) testNotSigned(t *testing.T) {
	t.Run("unsigned is denied", func(t *testing.T) {
		reference := s.push(t, "unsigned/app")
		expectDenied(t, s.run(t, prod, reference), reference, "has not attested it")
	})
	t.Run("signed with another key is denied", func(t *testing.T) {
		for name, sign := range map[string]func(reference string) error{
			"kritis": func(r string) error { return s.Sign(t.Context(), s.stranger, r) },
			"bundle": func(r string) error { return s.SignWithCosignBundle(t.Context(), s.stranger, r) },
			"openssl": func(r string) error {
				s.signWithOpenSSL(t, s.stranger, r)
				return nil
			},
		} {
			reference := s.push(t, "stranger/"+name)
			check(t, sign(reference))
			expectDenied(t, s.run(t, prod, reference), reference, "no attestation by authority team")
		}
	})
	t.Run("signature of another repository is denied", func(t *testing.T) {
		signed := s.pushSigned(t, "origin/app")
		copied := s.copyImage(t, signed, "elsewhere/app")
		s.copySignatures(t, signed, copied, ".sig")
		expectDenied(t, s.run(t, prod, copied), copied, "it approves repository "+repositoryOf(signed))
		expectStarts(t, s.run(t, prod, signed))
	})
	t.Run("bundle, which names no repository, is denied where the authority demands one", func(t *testing.T) {
		authority, err := stack.Authority("bound", "team", "repositoryBound: true", s.team)
		check(t, err)
		check(t, s.WritePolicies(t.Context(), "bound.yaml", authority, stack.Policy("bound", "only-team", "", "team")))
		signed := s.push(t, "origin/bundle")
		check(t, s.SignWithCosignBundle(t.Context(), s.team, signed))
		copied := s.copyImage(t, signed, "elsewhere/bundle")
		s.copySignatures(t, signed, copied, "")
		expectDenied(t, s.run(t, "bound", copied), copied, "it names no repository, and the authority demands that")
		expectStarts(t, s.run(t, prod, copied)) // there, the authority does not
	})
	t.Run("signature of another digest is denied", func(t *testing.T) {
		signed, other := s.pushSigned(t, "digests/app"), s.push(t, "digests/app")
		s.copySignatures(t, signed, other, ".sig")
		expectDenied(t, s.run(t, prod, other), other, "it approves digest sha256:"+hexOf(signed))
		expectStarts(t, s.run(t, prod, signed))
	})
	t.Run("tag is denied although the digest behind it is signed", func(t *testing.T) {
		signed := s.pushSigned(t, "tagged/app")
		tag := tagOf(signed)
		expectDenied(t, s.run(t, prod, tag), tag, "sha256:"+hexOf(signed))
		expectStarts(t, s.run(t, prod, signed))
	})
	t.Run("unsigned starts in a namespace without policy", func(t *testing.T) {
		expectStarts(t, s.run(t, "sandbox", s.push(t, "unsigned/sandbox")))
	})
}

// testSignedLater shows that a denial does not outlast its reason: a kubelet tries again.
func (s *site) testSignedLater(t *testing.T) {
	t.Run("signed after it was denied, starts", func(t *testing.T) {
		reference := s.push(t, "later/app")
		expectDenied(t, s.run(t, prod, reference), reference)
		check(t, s.Sign(t.Context(), s.team, reference))
		s.awaitStarts(t, prod, reference)
	})
	t.Run("signed after it was denied for another's signature, starts", func(t *testing.T) {
		reference := s.push(t, "later/stranger")
		check(t, s.Sign(t.Context(), s.stranger, reference))
		expectDenied(t, s.run(t, prod, reference), reference)
		check(t, s.Sign(t.Context(), s.team, reference))
		s.awaitStarts(t, prod, reference)
	})
}

// copyImage pushes the same image to another repository and returns its reference there.
func (s *site) copyImage(t *testing.T, reference, repository string) string {
	t.Helper()
	copied, err := stack.PushTo(t.Context(), s.Registry, repository, s.imageOf(t, reference))
	check(t, err)
	return copied
}
