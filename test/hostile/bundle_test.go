package hostile

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

const (
	inToto  = "application/vnd.in-toto+json"
	approve = "https://sigstore.dev/cosign/sign/v1"
)

// inTotoOf is an in-toto statement about a digest.
func inTotoOf(predicate, digest string) string {
	return fmt.Sprintf(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"app","digest":{"sha256":%q}}],"predicateType":%q,"predicate":{}}`,
		strings.TrimPrefix(digest, "sha256:"), predicate)
}

// bundle is a sigstore bundle with one signature over payload and type.
func bundle(t *testing.T, payloadType, payload string, signature []byte) []byte {
	t.Helper()
	data, err := json.Marshal(map[string]any{
		"mediaType":            "application/vnd.dev.sigstore.bundle.v0.3+json",
		"verificationMaterial": map[string]any{"publicKey": map[string]any{"hint": ""}},
		"dsseEnvelope": map[string]any{
			"payload": base64.StdEncoding.EncodeToString([]byte(payload)), "payloadType": payloadType,
			"signatures": []any{map[string]any{"sig": base64.StdEncoding.EncodeToString(signature)}},
		},
	})
	check(t, err)
	return data
}

// preAuth is what the signature of an envelope is over.
func preAuth(payloadType, payload string) string {
	return fmt.Sprintf("DSSEv1 %d %s %d %s", len(payloadType), payloadType, len(payload), payload)
}

func forgedBundles() []forgery {
	of := func(name, payloadType string, payload func(f forged) string) forgery {
		return forgery{name: name, make: func(t *testing.T, f forged) []byte {
			p := payload(f)
			return bundle(t, payloadType, p, sign(t, f.team, preAuth(payloadType, p)))
		}}
	}
	return []forgery{
		of("bundle that states where the image was built", inToto, func(f forged) string { return inTotoOf("https://slsa.dev/provenance/v1", f.digest) }),
		of("bundle that lists what the image holds", inToto, func(f forged) string { return inTotoOf("https://spdx.dev/Document", f.digest) }),
		of("bundle of another payload type", "text/plain", func(f forged) string { return inTotoOf(approve, f.digest) }),
		of("bundle of another digest", inToto, func(f forged) string { return inTotoOf(approve, "sha256:"+strings.Repeat("a", 64)) }),
		of("bundle with its subject twice", inToto, func(f forged) string {
			return strings.Replace(inTotoOf(approve, f.digest), `"subject"`, `"subject":[],"subject"`, 1)
		}),
		{name: "bundle signed without its payload type", make: func(t *testing.T, f forged) []byte {
			p := inTotoOf(approve, f.digest)
			return bundle(t, inToto, p, sign(t, f.team, p))
		}},
		{name: "bundle by another key", make: func(t *testing.T, f forged) []byte {
			p := inTotoOf(approve, f.digest)
			return bundle(t, inToto, p, sign(t, f.stranger, preAuth(inToto, p)))
		}},
		{name: "bundle with the signature of a payload of kritis", make: func(t *testing.T, f forged) []byte {
			return bundle(t, inToto, f.payload, sign(t, f.team, f.payload))
		}},
	}
}

// testHonestBundle: what the forged ones are made like counts.
func (s *site) testHonestBundle(t *testing.T) {
	reference := s.push(t, "forged/bundle")
	p := inTotoOf(approve, digestOf(reference))
	write(t, s.attestationFile(reference, ""), bundle(t, inToto, p, sign(t, privateKey(t, s.team), preAuth(inToto, p))))
	expectStarts(t, s.run(t, prod, reference))
}
