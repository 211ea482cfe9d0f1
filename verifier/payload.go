package verifier

// Types of payload that approve an image.
const (
	typeKritis = "atomic container signature"
	typeCosign = "cosign container image signature"
)

// Names of the checks in Attempt.Check.
const (
	checkFormat     = "format"
	checkType       = "type"
	checkRepository = "repository"
	checkDigest     = "digest"
	checkKey        = "key"
	checkSignature  = "signature"
	checkBound      = "bound"
)

// failure is why an attestation does not count.
type failure struct{ check, why string }

// statement is an attestation that has been read for one repository and digest. What it says fits them if failed is
// nil; that an authority says so is still to be shown.
type statement struct {
	format     Format
	source     string
	message    []byte
	signatures []Signature
	bound      bool
	failed     *failure
	// unread: it exceeds a limit, so that nobody knows what it says.
	unread bool
}

// readStatement checks everything about an attestation that does not depend on who made it.
func readStatement(a Attestation, repository string, digest Digest) statement {
	s := statement{format: a.Format, source: a.Source, message: a.Payload, signatures: a.Signatures}
	if len(a.Payload) > MaxPayload {
		s.failed, s.unread = &failure{checkFormat, whyPayloadSize}, true
		return s
	}
	if len(a.Signatures) > MaxSignatures {
		s.failed, s.unread = &failure{checkFormat, whySignatureCount}, true
		return s
	}
	switch a.Format {
	case FormatKritis:
		s.bound = true
		s.failed = checkPayload(a.Payload, typeKritis, repository, digest)
	case FormatCosign:
		s.bound = true
		if len(a.Signatures) > 1 {
			s.failed = &failure{checkFormat, whyCosignSignatures}
			return s
		}
		s.failed = checkPayload(a.Payload, typeCosign, repository, digest)
	case FormatBundle:
		if len(a.Signatures) > 0 {
			s.failed = &failure{checkFormat, whyBundleSignatures}
			return s
		}
		s.message, s.signatures, s.failed = readBundle(a.Payload, digest)
	default:
		s.failed = &failure{checkFormat, whyFormat}
	}
	if s.failed == nil && len(s.signatures) == 0 {
		s.failed = &failure{checkSignature, whyUnsigned}
	}
	return s
}

// checkPayload reads the "simple signing" payload that kritis and cosign share.
// https://github.com/containers/image/blob/main/docs/containers-signature.5.md
//
// "optional" and unknown members beside "critical" are the signer's notes and change nothing. Inside "critical"
// every member is a condition, and one that we do not know is one that we cannot meet.
func checkPayload(payload []byte, wantType, repository string, digest Digest) *failure {
	v, err := parseJSON(payload)
	if err != nil {
		return &failure{checkFormat, err.Error()}
	}
	top, ok := v.(object)
	if !ok {
		return &failure{checkFormat, whyNoCritical}
	}
	critical, ok := only(top["critical"], "identity", "image", "type")
	if !ok {
		return &failure{checkFormat, whyNoCritical}
	}
	identity, ok := only(critical["identity"], "docker-reference")
	if !ok {
		return &failure{checkFormat, whyNoCritical}
	}
	image, ok := only(critical["image"], "docker-manifest-digest")
	if !ok {
		return &failure{checkFormat, whyNoCritical}
	}
	if t, ok := critical.text("type"); !ok || t != wantType {
		return &failure{checkType, why(whyType, t)}
	}
	if said, ok := identity.text("docker-reference"); !ok || said != repository {
		normal, err := parseRepository(said)
		if err != nil {
			return &failure{checkRepository, whyRepositoryForm}
		}
		if !sameRepository(normal, repository) {
			return &failure{checkRepository, why(whyRepository, normal)}
		}
	}
	said, _ := image.text("docker-manifest-digest")
	return compareDigest(said, digest)
}

func compareDigest(said string, digest Digest) *failure {
	d, err := ParseDigest(said)
	if err != nil {
		return &failure{checkDigest, whyDigestForm}
	}
	if d != digest {
		return &failure{checkDigest, why(whyDigest, said)}
	}
	return nil
}
