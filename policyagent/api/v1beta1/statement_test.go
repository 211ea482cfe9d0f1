package v1beta1

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kritis-node/kritis-node/verifier"
)

func detached(payload string, signatures ...verifier.Signature) verifier.Attestation {
	return verifier.Attestation{Format: verifier.FormatKritis, Payload: []byte(payload), Signatures: signatures}
}

// What is written into an object is what is read from it, and what would not fit is refused with what to do.
func TestStatements(t *testing.T) {
	one := verifier.Signature{KeyID: "k", Value: []byte("s")}
	signatures := func(n int) []verifier.Signature {
		all := make([]verifier.Signature, n)
		for i := range all {
			all[i] = one
		}
		return all
	}
	for name, c := range map[string]struct {
		attestation verifier.Attestation
		want        string
	}{
		"detached":          {detached("p", one), ""},
		"cosign's":          {verifier.Attestation{Format: verifier.FormatCosign, Payload: []byte(`{"critical":{"type":"cosign container image signature"}}`), Signatures: signatures(1)}, ""},
		"bundle":            {verifier.Attestation{Format: verifier.FormatBundle, Payload: []byte("{}")}, ""},
		"payload fits":      {detached(strings.Repeat("x", 6<<10), one), ""},
		"payload and one":   {detached(strings.Repeat("x", 6<<10+1), one), "too large"},
		"bundle fits":       {verifier.Attestation{Format: verifier.FormatBundle, Payload: []byte(strings.Repeat("x", 12<<10))}, ""},
		"bundle and one":    {verifier.Attestation{Format: verifier.FormatBundle, Payload: []byte(strings.Repeat("x", 12<<10+1))}, "too large"},
		"signatures fit":    {detached("p", signatures(8)...), ""},
		"signatures, one":   {detached("p", signatures(9)...), "too large"},
		"signature fits":    {detached("p", verifier.Signature{Value: []byte(strings.Repeat("x", 768))}), ""},
		"signature and one": {detached("p", verifier.Signature{Value: []byte(strings.Repeat("x", 769))}), "too large"},
		"key fits":          {detached("p", verifier.Signature{KeyID: strings.Repeat("k", 256), Value: []byte("s")}), ""},
		"key and one":       {detached("p", verifier.Signature{KeyID: strings.Repeat("k", 257), Value: []byte("s")}), "too large"},
		"key's letters":     {detached("p", verifier.Signature{KeyID: "ключ", Value: []byte("s")}), "ASCII"},
		"key's quotes":      {detached("p", verifier.Signature{KeyID: `a"b`, Value: []byte("s")}), "ASCII"},
		"unsigned":          {detached("p"), "neither"},
		"empty":             {detached("", one), "neither"},
		"empty signature":   {detached("p", verifier.Signature{KeyID: "k"}), "neither"},
		"signed bundle":     {verifier.Attestation{Format: verifier.FormatBundle, Payload: []byte("{}"), Signatures: signatures(1)}, "neither"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := StatementOf(c.attestation)
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) || s.ID != "" {
					t.Errorf("%+v, %v", s, err)
				}
				return
			}
			if err != nil || len(s.ID) != 16 {
				t.Fatalf("%q, %v", s.ID, err)
			}
			back, err := s.Attestation()
			if err != nil || cmp.Diff(c.attestation, back) != "" {
				t.Errorf("%v\n%s", err, cmp.Diff(c.attestation, back))
			}
		})
	}
}

// Different statements have different IDs, however their parts are cut; the same have the same.
func TestStatementIDs(t *testing.T) {
	id := func(a verifier.Attestation) string {
		s, err := StatementOf(a)
		if err != nil {
			t.Fatal(err)
		}
		return s.ID
	}
	sign := func(key, value string) verifier.Signature {
		return verifier.Signature{KeyID: key, Value: []byte(value)}
	}
	seen := map[string]int{}
	for i, a := range []verifier.Attestation{
		detached("p", sign("k", "s")), detached("pk", sign("", "s")), detached("p", sign("ks", "x")), detached("p", sign("k", "sx")),
		detached("p", sign("k", "s"), sign("k", "s")), {Format: verifier.FormatBundle, Payload: []byte("p")},
	} {
		if other, ok := seen[id(a)]; ok {
			t.Errorf("%d and %d are one", i, other)
		}
		seen[id(a)] = i
	}
	if _, ok := seen[id(detached("p", sign("k", "s")))]; !ok {
		t.Error("the same statement is two")
	}
}

func TestAttestationNames(t *testing.T) {
	d := verifier.Digest("sha256:" + strings.Repeat("a", 64))
	if got, err := AttestationDigest(AttestationName(d)); got != d || err != nil {
		t.Errorf("%s, %v", got, err)
	}
	for _, bad := range []string{"", "sha256-", "sha512-" + strings.Repeat("a", 64), "sha256-" + strings.Repeat("A", 64), string(d)} {
		if _, err := AttestationDigest(bad); err == nil {
			t.Errorf("%q", bad)
		}
	}
	if AskerFor("a") == AskerFor("b") || FetcherFor("a") == FetcherFor("b") || AskerFor("a") == FetcherFor("a") || len(FetcherFor("a")) > 128 {
		t.Error("managers are one")
	}
	for manager, want := range map[string]bool{AskerFor("a"): true, FetcherFor("a"): true, "kubectl": false, "kritis-sign-1": false, "kritis-controller": false} {
		if IsProductManager(manager) != want {
			t.Errorf("%s", manager)
		}
	}
}
