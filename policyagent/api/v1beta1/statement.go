package v1beta1

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/kritis-node/kritis-node/policyagent/attestations/statement"
	"github.com/kritis-node/kritis-node/verifier"
)

// AttestationName is the name of the Attestation of a digest.
func AttestationName(d verifier.Digest) string { return "sha256-" + d.Hex() }

// AttestationDigest is the digest that an Attestation is about.
func AttestationDigest(name string) (verifier.Digest, error) {
	hex, ok := strings.CutPrefix(name, "sha256-")
	if !ok {
		return "", fmt.Errorf("%q is not the name of a digest: it is sha256- and 64 hexadecimal digits", brief(name))
	}
	return verifier.ParseDigest("sha256:" + hex)
}

// Errors of StatementOf and Statement.Attestation.
var (
	errStatementLarge = errors.New("it is too large for an Attestation object: keep it in the registry")
	errStatementForm  = errors.New("it is neither a payload with signatures nor a bundle: write it again with kritis sign -o yaml")
	errStatementKey   = errors.New("it names a key in letters that an Attestation object does not take: sign with a key ID in ASCII")
)

// StatementOf returns an attestation in the form of an object. It is an error if the API server would refuse it.
func StatementOf(a verifier.Attestation) (Statement, error) {
	var s Statement
	if a.Format == verifier.FormatBundle {
		s.Bundle = a.Payload
	} else {
		s.SerializedPayload = a.Payload
	}
	for _, signature := range a.Signatures {
		s.Signatures = append(s.Signatures, StatementSignature{PublicKeyID: signature.KeyID, Signature: signature.Value})
	}
	if err := s.check(); err != nil {
		return Statement{}, err
	}
	s.ID = s.identify()
	return s, nil
}

// Attestation returns a statement as the verifier takes it, with its limits checked again: whoever serves the object may
// not be who checked it against the schema.
func (s Statement) Attestation() (verifier.Attestation, error) {
	if err := s.check(); err != nil {
		return verifier.Attestation{}, err
	}
	if s.Bundle != nil {
		return verifier.Attestation{Format: verifier.FormatBundle, Payload: s.Bundle}, nil
	}
	a := verifier.Attestation{Format: statement.Format(s.SerializedPayload), Payload: s.SerializedPayload}
	for _, signature := range s.Signatures {
		a.Signatures = append(a.Signatures, verifier.Signature{KeyID: signature.PublicKeyID, Value: signature.Signature})
	}
	return a, nil
}

func (s Statement) check() error {
	detached := len(s.SerializedPayload) > 0 && len(s.Signatures) > 0 && len(s.Bundle) == 0
	bundle := len(s.Bundle) > 0 && len(s.SerializedPayload) == 0 && len(s.Signatures) == 0
	switch size := base64.StdEncoding.EncodedLen; {
	case !detached && !bundle:
		return errStatementForm
	case size(len(s.SerializedPayload)) > maxPayloadText, size(len(s.Bundle)) > maxBundleText, len(s.Signatures) > MaxStatementSignatures:
		return errStatementLarge
	}
	for _, signature := range s.Signatures {
		switch size := base64.StdEncoding.EncodedLen(len(signature.Signature)); {
		case size == 0:
			return errStatementForm
		case size > maxSignatureText, len(signature.PublicKeyID) > 256:
			return errStatementLarge
		case strings.ContainsFunc(signature.PublicKeyID, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }):
			return errStatementKey
		}
	}
	return nil
}

// identify hashes all parts of a statement, each with its length, so that nothing can be taken for something else.
func (s Statement) identify() string {
	h := sha256.New()
	part := func(b []byte) {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(b))))
		h.Write(b)
	}
	part(s.SerializedPayload)
	part(s.Bundle)
	for _, signature := range s.Signatures {
		part([]byte(signature.PublicKeyID))
		part(signature.Signature)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}
