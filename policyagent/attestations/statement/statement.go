package statement

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/kritis-node/kritis-node/verifier"
)

// statement is Grafeas' AttestationOccurrence, as far as it concerns us:
// https://github.com/grafeas/grafeas/blob/master/proto/v1/attestation.proto
type statement struct {
	SerializedPayload []byte `json:"serializedPayload"`
	Signatures        []struct {
		PublicKeyID string `json:"publicKeyId"`
		Signature   []byte `json:"signature"`
	} `json:"signatures"`
}

// file is an occurrence, a statement or a bundle. Members of occurrences that do not matter here are skipped.
type file struct {
	statement
	Attestation *statement      `json:"attestation"`
	MediaType   string          `json:"mediaType"`
	Envelope    json.RawMessage `json:"dsseEnvelope"`
}

// MaxSize is the size of a statement in bytes: a payload of the limit in base64, with its signatures.
const MaxSize = 2 * verifier.MaxPayload

// Parse reads one statement.
func Parse(data []byte) (verifier.Attestation, error) {
	if len(data) > MaxSize {
		return verifier.Attestation{}, fmt.Errorf("it has more than %d bytes; it is not an attestation", MaxSize)
	}
	var f file
	d := json.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(&f); err != nil {
		return verifier.Attestation{}, errors.New("it is not the JSON of an attestation or a bundle; write it again")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return verifier.Attestation{}, errors.New("more follows after the JSON object; write one attestation to a file")
	}
	s := &f.statement
	if f.Attestation != nil {
		if s.SerializedPayload != nil {
			return verifier.Attestation{}, errors.New("it has two payloads; write one attestation to a file")
		}
		s = f.Attestation
	}
	switch bundle := f.Envelope != nil || f.MediaType != ""; {
	case bundle && s.SerializedPayload != nil:
		return verifier.Attestation{}, errors.New("it is a bundle and an attestation at once; write one to a file")
	case bundle && len(data) > verifier.MaxPayload:
		return verifier.Attestation{}, fmt.Errorf("the bundle has more than %d bytes; it is not one of an image", verifier.MaxPayload)
	case bundle:
		return verifier.Attestation{Format: verifier.FormatBundle, Payload: data}, nil
	case len(s.SerializedPayload) == 0 || len(s.Signatures) == 0:
		return verifier.Attestation{}, errors.New("it has no serializedPayload or no signatures, and is no bundle; write it again")
	}
	a := verifier.Attestation{Format: Format(s.SerializedPayload), Payload: s.SerializedPayload}
	for _, signature := range s.Signatures {
		a.Signatures = append(a.Signatures, verifier.Signature{KeyID: signature.PublicKeyID, Value: signature.Signature})
	}
	return a, nil
}

// Format looks at the payload's type: `cosign generate` and kritis make the same JSON with another type.
func Format(payload []byte) verifier.Format {
	var p struct {
		Critical struct {
			Type string `json:"type"`
		} `json:"critical"`
	}
	if json.Unmarshal(payload, &p) == nil && strings.HasPrefix(p.Critical.Type, "cosign ") {
		return verifier.FormatCosign
	}
	return verifier.FormatKritis
}
