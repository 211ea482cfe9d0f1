package verifier

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func golden(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "cosign-3.1.3", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func goldenClassic(t testing.TB) Attestation {
	t.Helper()
	signature, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(golden(t, "classic.signature"))))
	if err != nil {
		t.Fatal(err)
	}
	return Attestation{Format: FormatCosign, Payload: golden(t, "classic.payload.json"), Signatures: []Signature{{Value: signature}}}
}

// What a signer that nobody here wrote has signed counts, and what it attested beside that does not.
func TestCosign(t *testing.T) {
	image, err := ParseReference(strings.TrimSpace(string(golden(t, "image"))))
	if err != nil {
		t.Fatal(err)
	}
	cosign := string(golden(t, "cosign.pub"))
	classic := goldenClassic(t)
	bundle := Attestation{Format: FormatBundle, Payload: golden(t, "bundle.json")}
	sbom := Attestation{Format: FormatBundle, Payload: golden(t, "sbom.bundle.json")}
	for _, test := range []struct {
		name        string
		attestation Attestation
		key         string
		bound       bool
		check, why  string
	}{
		{name: "classic", attestation: classic, key: cosign},
		{name: "classic, repository bound", attestation: classic, key: cosign, bound: true},
		{name: "classic by another", attestation: classic, key: publicPEM(qaKey()), check: "signature", why: whySignature},
		{name: "bundle", attestation: bundle, key: cosign},
		{name: "bundle, repository bound", attestation: bundle, key: cosign, bound: true, check: "bound", why: whyBound},
		{name: "bundle by another", attestation: bundle, key: publicPEM(qaKey()), check: "key",
			why: `it was signed with key "aVOltvguZVpwv0E1Aki0e38312/OVCxFBl/ryYlya5U=", which is not the authority's`},
		{name: "SBOM", attestation: sbom, key: cosign, check: "type", why: `its predicate "https://spdx.dev/Document" states something else than an approval`},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := &world{digests: map[string][]Digest{image.Name(): {image.Digest}}}
			source := fixed{test.attestation}
			set := compiled(Document{
				Authorities: []AuthoritySpec{{Namespace: "default", Name: "cosign", Keys: []KeySpec{{PEM: test.key}}, RepositoryBound: test.bound}},
				Policies:    []PolicySpec{{Namespace: "default", Name: "main", AuthorityNames: []string{"cosign"}}},
			})
			v := Rules{Cluster: set}.Decide(app(image.Written), w, source)
			if test.check == "" {
				if v.Outcome != Allowed || v.Reason != Attested {
					t.Errorf("got %+v", v)
				}
				return
			}
			attempts := v.Policies[0].Authorities[0].Attempts
			if v.Outcome != Denied || v.Reason != NotAttested || len(attempts) != 1 || attempts[0].Check != test.check || attempts[0].Why != test.why {
				t.Errorf("got %+v", v)
			}
		})
	}
}

// fixed answers every question with the same attestations.
type fixed []Attestation

func (f fixed) Attestations(string, Digest) ([]Attestation, error) { return f, nil }
