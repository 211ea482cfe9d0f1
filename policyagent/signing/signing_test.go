package signing

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kritis-node/kritis-node/verifier"
)

func pkcs8(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func rsaKey(t *testing.T, bits int) *rsa.PrivateKey {
	t.Helper()
	t.Setenv("GODEBUG", "rsa1024min=0")
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func ecKey(t *testing.T, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func keyFile(t *testing.T, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReadKeyFile(t *testing.T) {
	small := rsaKey(t, 2048)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(small.Public())
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	for name, tc := range map[string]struct {
		data      []byte
		algorithm string
		naming    bool
		err       string
	}{
		"RSA-2048":          {data: pkcs8(t, small), algorithm: "RSA_PKCS1_SHA_256"},
		"RSA-2048, PKCS #1": {data: block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(small)), algorithm: "RSA_PKCS1_SHA_256"},
		"RSA-3072":          {data: pkcs8(t, rsaKey(t, 3072)), algorithm: "RSA_PKCS1_SHA_256", naming: true},
		"EC P-256":          {data: pkcs8(t, ecKey(t, elliptic.P256())), algorithm: "ECDSA_SHA_256", naming: true},
		"EC P-384":          {data: pkcs8(t, ecKey(t, elliptic.P384())), err: "P-256"},
		"RSA-1024":          {data: pkcs8(t, rsaKey(t, 1024)), err: "1024"},
		"ed25519":           {data: pkcs8(t, ed), err: "RSA-2048"},
		"public key":        {data: block("PUBLIC KEY", public), err: "public key"},
		"encrypted":         {data: block("ENCRYPTED PRIVATE KEY", []byte("x")), err: "encrypted"},
		"cosign's own form": {data: block("ENCRYPTED SIGSTORE PRIVATE KEY", []byte("x")), err: "encrypted"},
		"damaged":           {data: block("PRIVATE KEY", []byte("secret")), err: "damaged"},
		"certificate":       {data: block("CERTIFICATE", []byte("x")), err: "CERTIFICATE"},
		"no PEM":            {data: []byte("secret"), err: "PEM"},
		"empty":             {data: nil, err: "PEM"},
	} {
		t.Run(name, func(t *testing.T) {
			k, err := ReadKeyFile(keyFile(t, tc.data))
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) || strings.Contains(err.Error(), "secret") {
					t.Fatalf("error = %v, want one about %q", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if k.Algorithm() != tc.algorithm || k.NeedsNaming() != tc.naming {
				t.Errorf("algorithm %s, needs naming %v", k.Algorithm(), k.NeedsNaming())
			}
			signature, err := k.Sign(t.Context(), []byte("message"))
			if err != nil || !k.Made([]byte("message"), signature) || k.Made([]byte("other"), signature) {
				t.Errorf("its own signature: %v", err)
			}
		})
	}
	if _, err := ReadKeyFile(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a key was read from nowhere")
	}
}

// A key whose private half is elsewhere signs by asking, and does not believe what comes back.
func TestNewKey(t *testing.T) {
	private := rsaKey(t, 2048)
	der, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	public := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	signer := func(key *rsa.PrivateKey, opts crypto.SignerOpts) Signer {
		return func(_ context.Context, sha256 []byte) ([]byte, error) { return key.Sign(rand.Reader, sha256, opts) }
	}
	pss := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
	for name, tc := range map[string]struct {
		algorithm string
		sign      Signer
		err       string
	}{
		"PKCS #1":          {"RSA_PKCS1_SHA_256", signer(private, crypto.SHA256), ""},
		"PSS":              {"RSA_PSS_SHA_256", signer(private, pss), ""},
		"another key's":    {"RSA_PKCS1_SHA_256", signer(rsaKey(t, 2048), crypto.SHA256), "not this key's"},
		"another form":     {"RSA_PKCS1_SHA_256", signer(private, pss), "not this key's"},
		"nothing":          {"RSA_PSS_SHA_256", func(context.Context, []byte) ([]byte, error) { return nil, nil }, "not this key's"},
		"it fails":         {"RSA_PSS_SHA_256", func(context.Context, []byte) ([]byte, error) { return nil, errors.New("refused") }, "refused"},
		"not an algorithm": {"none", signer(private, pss), "none"},
	} {
		k, err := NewKey(public, tc.algorithm, tc.sign)
		var signature []byte
		if err == nil {
			signature, err = k.Sign(t.Context(), []byte("message"))
		}
		switch {
		case tc.err == "" && (err != nil || !k.Made([]byte("message"), signature) || k.Algorithm() != tc.algorithm || k.NeedsNaming()):
			t.Errorf("%s: %v", name, err)
		case tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err) || signature != nil):
			t.Errorf("%s: error = %v, want one about %q", name, err, tc.err)
		}
	}
}

// What is signed has to be what the verifier accepts, to the letter.
func TestPayload(t *testing.T) {
	d := verifier.Digest("sha256:" + strings.Repeat("a", 64))
	got, err := Payload("r.example/app", d)
	want := `{"critical":{"identity":{"docker-reference":"r.example/app"},"image":{"docker-manifest-digest":"` + string(d) + `"},"type":"cosign container image signature"},"optional":null}`
	if err != nil || string(got) != want {
		t.Errorf("payload = %s, %v", got, err)
	}
}
