package attestations

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/kritis-node/kritis-node/verifier"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func attestation(payload string) verifier.Attestation {
	return verifier.Attestation{Format: verifier.FormatCosign, Payload: []byte(payload), Source: "here"}
}

func TestListKeepsEachOnce(t *testing.T) {
	var l List
	copied := attestation("a")
	copied.Source = "a mirror"
	signed := attestation("a")
	signed.Signatures = []verifier.Signature{{Value: []byte("s")}}
	for _, a := range []verifier.Attestation{attestation("a"), copied, signed, attestation("b")} {
		if err := l.Add(a); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(l.Items()); n != 3 {
		t.Errorf("%d attestations", n)
	}
}

func TestListLimits(t *testing.T) {
	var l List
	for i := range verifier.MaxAttestations {
		if err := l.Add(attestation(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Add(attestation("0")); err != nil {
		t.Errorf("a full list and one that is in it: %v", err)
	}
	if err := l.Add(attestation("one more")); !errors.Is(err, errMany) {
		t.Errorf("%v", err)
	}
	text := strings.Repeat("x", MaxText)
	signatures := func(n int, keyID string) []verifier.Signature {
		s := make([]verifier.Signature, n)
		for i := range s {
			s[i] = verifier.Signature{KeyID: keyID, Value: []byte{byte(i)}}
		}
		return s
	}
	for name, c := range map[string]struct {
		a    verifier.Attestation
		want error
	}{
		"payload":             {attestation(strings.Repeat("x", verifier.MaxPayload)), nil},
		"payload and one":     {attestation(strings.Repeat("x", verifier.MaxPayload+1)), errSize},
		"signatures":          {verifier.Attestation{Signatures: signatures(verifier.MaxSignatures, text)}, nil},
		"signatures and one":  {verifier.Attestation{Signatures: signatures(verifier.MaxSignatures+1, text)}, errSigs},
		"key ID and one":      {verifier.Attestation{Signatures: signatures(1, text+"x")}, errText},
		"source":              {verifier.Attestation{Source: text}, nil},
		"source and one":      {verifier.Attestation{Source: text + "x"}, errText},
		"signature too large": {verifier.Attestation{Signatures: []verifier.Signature{{Value: make([]byte, verifier.MaxPayload+1)}}}, errSize},
	} {
		if err := new(List).Add(c.a); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// A full list fits into a record of 8 MiB, whatever it consists of.
func TestListFitsIntoARecord(t *testing.T) {
	nasty := strings.Repeat("\x01", MaxText)
	for name, a := range map[string]verifier.Attestation{
		"payloads": {Payload: make([]byte, verifier.MaxPayload-8)},
		"sources":  {Source: nasty},
		"key IDs":  {Signatures: slices.Repeat([]verifier.Signature{{KeyID: nasty}}, verifier.MaxSignatures)},
		"values":   {Signatures: []verifier.Signature{{Value: make([]byte, 30000)}}},
	} {
		var l List
		for i := range verifier.MaxAttestations + 1 {
			a.Payload = append(a.Payload[:len(a.Payload):len(a.Payload)], byte(i), byte(i>>8))
			if l.Add(a) != nil {
				break
			}
			a.Payload = a.Payload[:len(a.Payload)-2]
		}
		b, err := json.Marshal(l.Items())
		if err != nil || len(b) > 8<<20-1<<19 {
			t.Errorf("%s: %d attestations are %d bytes (%v)", name, len(l.Items()), len(b), err)
		}
	}
}

func TestInsufficient(t *testing.T) {
	if IsInsufficient(t.Context()) {
		t.Error("nobody said so")
	}
	ctx, cancel := context.WithCancel(Insufficient(t.Context()))
	defer cancel()
	if !IsInsufficient(ctx) {
		t.Error("it was said")
	}
}
