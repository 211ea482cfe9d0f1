package verifier

import "strconv"

const (
	// MaxSubjects is the number of subjects of an in-toto statement.
	MaxSubjects = 64

	bundleMediaType    = "application/vnd.dev.sigstore.bundle.v0.3+json"
	bundleMediaTypeOld = "application/vnd.dev.sigstore.bundle+json;version=0.3"
	inTotoPayloadType  = "application/vnd.in-toto+json"
	inTotoStatement    = "https://in-toto.io/Statement/v1"
	// signPredicate is what "cosign sign" states. Other predicates (SBOM, provenance, scan results) are facts about an
	// image and approve nothing, though the same key may have signed them.
	signPredicate = "https://sigstore.dev/cosign/sign/v1"
)

// readBundle takes a sigstore bundle 0.3 apart: the bytes that were signed, the one signature over them, or why it
// does not count. https://github.com/sigstore/protobuf-specs/blob/main/protos/sigstore_bundle.proto
//
// Transparency log entries and timestamps are not looked at: with a key that an authority owns they prove nothing more.
func readBundle(data []byte, digest Digest) ([]byte, []Signature, *failure) {
	v, err := parseJSON(data)
	if err != nil {
		return nil, nil, &failure{checkFormat, err.Error()}
	}
	notBundle := &failure{checkFormat, whyBundle}
	top, ok := only(v, "mediaType", "verificationMaterial", "dsseEnvelope", "messageSignature")
	if !ok {
		return nil, nil, notBundle
	}
	if m, _ := top.text("mediaType"); m != bundleMediaType && m != bundleMediaTypeOld {
		return nil, nil, &failure{checkFormat, why(whyMediaType, m)}
	}
	if _, ok := top["messageSignature"]; ok {
		return nil, nil, &failure{checkType, whyMessageSignature}
	}
	material, ok := only(top["verificationMaterial"],
		"publicKey", "certificate", "x509CertificateChain", "tlogEntries", "timestampVerificationData")
	if !ok {
		return nil, nil, notBundle
	}
	if material["certificate"] != nil || material["x509CertificateChain"] != nil {
		return nil, nil, &failure{checkKey, whyCertificate}
	}
	public, ok := only(material["publicKey"], "hint")
	if !ok {
		return nil, nil, notBundle
	}
	hint, _ := public.text("hint")
	payload, signature, failed := readEnvelope(top["dsseEnvelope"])
	if failed != nil {
		return nil, nil, failed
	}
	// The hint and the envelope's keyid should be the same (says the format) and are equally unproven.
	if signature.KeyID == "" {
		signature.KeyID = hint
	}
	return preAuthEncoding(inTotoPayloadType, payload), []Signature{signature}, checkInToto(payload, digest)
}

// readEnvelope reads a DSSE envelope. https://github.com/secure-systems-lab/dsse/blob/master/envelope.md
func readEnvelope(v any) (payload []byte, signature Signature, failed *failure) {
	envelope, ok := only(v, "payload", "payloadType", "signatures")
	if !ok {
		return nil, signature, &failure{checkFormat, whyEnvelope}
	}
	if t, _ := envelope.text("payloadType"); t != inTotoPayloadType {
		return nil, signature, &failure{checkType, why(whyPayloadType, t)}
	}
	signatures, _ := envelope["signatures"].([]any)
	if len(signatures) != 1 {
		return nil, signature, &failure{checkFormat, whyEnvelopeSignatures}
	}
	signed, ok := only(signatures[0], "sig", "keyid")
	if !ok {
		return nil, signature, &failure{checkFormat, whyEnvelope}
	}
	encoded, _ := envelope.text("payload")
	if payload, ok = decodeBase64(encoded); !ok {
		return nil, signature, &failure{checkFormat, whyBase64}
	}
	encoded, _ = signed.text("sig")
	if signature.Value, ok = decodeBase64(encoded); !ok {
		return nil, signature, &failure{checkFormat, whyBase64}
	}
	signature.KeyID, _ = signed.text("keyid")
	return payload, signature, nil
}

// checkInToto checks that an in-toto statement approves the digest. The statement names no repository.
// https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md says to ignore unknown members.
func checkInToto(payload []byte, digest Digest) *failure {
	v, err := parseJSON(payload)
	if err != nil {
		return &failure{checkFormat, err.Error()}
	}
	s, ok := v.(object)
	if !ok {
		return &failure{checkFormat, whyStatement}
	}
	if t, _ := s.text("predicateType"); t != signPredicate {
		return &failure{checkType, why(whyPredicate, t)}
	}
	if t, _ := s.text("_type"); t != inTotoStatement {
		return &failure{checkType, why(whyStatementType, t)}
	}
	subjects, ok := s["subject"].([]any)
	if !ok || len(subjects) == 0 {
		return &failure{checkFormat, whyStatement}
	}
	if len(subjects) > MaxSubjects {
		return &failure{checkFormat, whySubjects}
	}
	failed := &failure{checkDigest, whyDigestForm}
	for _, v := range subjects {
		subject, _ := v.(object)
		digests, _ := subject["digest"].(object)
		hex, ok := digests.text("sha256")
		if !ok {
			continue
		}
		if failed = compareDigest(digestPrefix+hex, digest); failed == nil {
			return nil
		}
	}
	return failed
}

// preAuthEncoding is what a DSSE signature covers: type and payload, each with its length, so that neither can be
// taken for the other. https://github.com/secure-systems-lab/dsse/blob/master/protocol.md
func preAuthEncoding(payloadType string, payload []byte) []byte {
	b := make([]byte, 0, len(payload)+len(payloadType)+32)
	b = append(b, "DSSEv1 "...)
	b = strconv.AppendInt(b, int64(len(payloadType)), 10)
	b = append(b, ' ')
	b = append(b, payloadType...)
	b = append(b, ' ')
	b = strconv.AppendInt(b, int64(len(payload)), 10)
	b = append(b, ' ')
	return append(b, payload...)
}
