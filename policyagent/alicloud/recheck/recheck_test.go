package recheck

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/kritis-node/kritis-node/policyagent/alicloud"
	"github.com/kritis-node/kritis-node/verifier"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// kms has the versions of one key, the newest first.
type kms struct {
	keys     []*rsa.PrivateKey
	versions []string
	failure  error
	verified int
	lies     bool
}

func (k *kms) KeyVersions(context.Context, alicloud.KeyReference) ([]string, error) {
	return k.versions, k.failure
}

func (k *kms) at(version string) (*rsa.PrivateKey, error) {
	for i, v := range k.versions {
		if v == version {
			return k.keys[i], nil
		}
	}
	return nil, errors.New("no such version")
}

func (k *kms) PublicKey(_ context.Context, ref alicloud.KeyReference) (alicloud.PublicKey, error) {
	key, err := k.at(ref.Version)
	if err != nil {
		return alicloud.PublicKey{}, err
	}
	return alicloud.PublicKey{ID: ref.ID, Version: ref.Version, PEM: encode(key)}, nil
}

func (k *kms) Verify(_ context.Context, ref alicloud.KeyReference, _ string, sha256, signature []byte) (bool, error) {
	k.verified++
	key, err := k.at(ref.Version)
	if err != nil {
		return false, err
	}
	return !k.lies && rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, sha256, signature) == nil, nil
}

func encode(key *rsa.PrivateKey) string {
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

type source struct{ list []verifier.Attestation }

func (source) Name() string { return "test" }
func (s source) Attestations(context.Context, string, verifier.Digest) ([]verifier.Attestation, error) {
	return s.list, nil
}

func TestCheck(t *testing.T) {
	var keys [3]*rsa.PrivateKey
	for i := range keys {
		var err error
		if keys[i], err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			t.Fatal(err)
		}
	}
	newest, old, stranger := keys[0], keys[1], keys[2]
	sign := func(key *rsa.PrivateKey) verifier.Attestation {
		payload := []byte("statement")
		sum := sha256.Sum256(payload)
		value, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
		if err != nil {
			t.Fatal(err)
		}
		return verifier.Attestation{Format: verifier.FormatKritis, Payload: payload, Signatures: []verifier.Signature{{Value: []byte("not this")}, {Value: value}}}
	}
	attested := func(key *rsa.PrivateKey, id string) verifier.AuthorityResult {
		public, err := verifier.ParseKey(verifier.KeySpec{PEM: encode(key)})
		if err != nil {
			t.Fatal(err)
		}
		return verifier.AuthorityResult{Name: "team", Attested: true, KeyID: id, Fingerprint: public.Fingerprint(), Algorithm: verifier.RSAPKCS1SHA256, Format: verifier.FormatKritis}
	}
	bundle := attested(newest, "key-1")
	bundle.Format = verifier.FormatBundle
	for name, tc := range map[string]struct {
		authority verifier.AuthorityResult
		found     verifier.Attestation
		kms       kms
		version   string
		refused   bool
		err       string
	}{
		"the newest version":            {authority: attested(newest, "key-1"), found: sign(newest), version: "v2"},
		"an older version":              {authority: attested(old, "key-1"), found: sign(old), version: "v1"},
		"an ARN":                        {authority: attested(old, "acs:kms:cn-beijing:1:key/key-1"), found: sign(old), version: "v1"},
		"KMS has another key":           {authority: attested(stranger, "key-1"), found: sign(stranger), refused: true, err: "none of 2 versions"},
		"KMS says no":                   {authority: attested(newest, "key-1"), found: sign(newest), kms: kms{lies: true}, refused: true, err: "is not the key's"},
		"KMS cannot be asked":           {authority: attested(newest, "key-1"), found: sign(newest), kms: kms{failure: errors.New("away")}, err: "away"},
		"no key named":                  {authority: attested(newest, ""), found: sign(newest), err: "publicKeyId"},
		"not the name of a key":         {authority: attested(newest, "not a key"), found: sign(newest), err: "key"},
		"a bundle":                      {authority: bundle, found: sign(newest), err: "bundle"},
		"the signature is gone":         {authority: attested(newest, "key-1"), found: sign(old), err: "gone"},
		"an authority that attests not": {authority: verifier.AuthorityResult{Name: "team"}, found: sign(newest), err: "no authority attests"},
	} {
		t.Run(name, func(t *testing.T) {
			tc.kms.keys, tc.kms.versions = []*rsa.PrivateKey{newest, old}, []string{"v2", "v1"}
			var r Recorded
			if _, err := r.Source(source{[]verifier.Attestation{tc.found}}).Attestations(t.Context(), "r", "d"); err != nil {
				t.Fatal(err)
			}
			v := verifier.Verdict{Outcome: verifier.Allowed, Policies: []verifier.PolicyResult{{Namespace: "n", Name: "p", Authorities: []verifier.AuthorityResult{tc.authority}}}}
			results, err := Check(t.Context(), &tc.kms, v, &r)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) || errors.Is(err, ErrRefused) != tc.refused || len(results) > 0 {
					t.Errorf("%v, %v; want an error about %q, refused: %t", results, err, tc.err, tc.refused)
				}
				return
			}
			if err != nil || len(results) != 1 || results[0] != (Result{Policy: "n/p", Authority: "team", Key: "key-1", Version: tc.version}) || tc.kms.verified != 1 {
				t.Errorf("%+v, %v, asked %d times", results, err, tc.kms.verified)
			}
		})
	}
}
