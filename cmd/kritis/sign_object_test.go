package main

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/kritis-node/kritis-node/policyagent/api/v1beta1"
	"github.com/kritis-node/kritis-node/verifier"
)

// What sign -o yaml prints attests the image, and nothing was asked for it.
func TestSignObject(t *testing.T) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	digest := "sha256:" + strings.Repeat("a", 64)
	sign := func(image string, args ...string) (string, string, int) {
		var out, errOut bytes.Buffer
		code := run(append([]string{"sign", "--key", file, image}, args...), nil, &out, &errOut)
		return out.String(), errOut.String(), code
	}
	out, errOut, code := sign("registry.invalid/app@"+digest, "-o", "yaml")
	if code != 0 {
		t.Fatal(errOut)
	}
	var o v1beta1.Attestation
	if err := yaml.UnmarshalStrict([]byte(out), &o); err != nil || o.APIVersion != v1beta1.APIVersion || o.Kind != "Attestation" || o.Name != "sha256-"+strings.Repeat("a", 64) || len(o.Spec.Statements) != 1 {
		t.Fatalf("%v\n%s", err, out)
	}
	if strings.Contains(out, "status") || strings.Contains(out, "creationTimestamp") {
		t.Errorf("it says what is not the signer's to say:\n%s", out)
	}
	a, err := o.Spec.Statements[0].Attestation()
	if err != nil {
		t.Fatal(err)
	}
	key, err := verifier.ParseKey(verifier.KeySpec{PEM: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := key.Verify(a.Payload, a.Signatures[0].Value); err != nil || a.Format != verifier.FormatCosign || a.Signatures[0].KeyID != key.Fingerprint() ||
		!strings.Contains(string(a.Payload), digest) || !strings.Contains(string(a.Payload), `"registry.invalid/app"`) {
		t.Errorf("%v, %+v", err, a)
	}
	// The same again is the same object, and another repository's has another manager.
	if again, _, _ := sign("registry.invalid/app@"+digest, "-o", "yaml"); again != out {
		t.Errorf("%s\n%s", out, again)
	}
	other, _, _ := sign("mirror.invalid/app@"+digest, "-o", "yaml")
	if manager(t, other) == manager(t, out) {
		t.Error("one would take the other away")
	}
	// A tag needs the registry.
	if _, errOut, code := sign("registry.invalid/app:v1", "-o", "yaml"); code != exitUnknown || !strings.Contains(errOut, "look the image up") {
		t.Errorf("%d %s", code, errOut)
	}
	if _, errOut, code := sign("registry.invalid/app@"+digest, "-o", "xml"); code != exitUnknown || !strings.Contains(errOut, "must be table or json") {
		t.Errorf("%d %s", code, errOut)
	}
}

func manager(t *testing.T, out string) string {
	t.Helper()
	_, rest, ok := strings.Cut(out, "--field-manager=")
	name, _, _ := strings.Cut(rest, " ")
	if !ok || !strings.HasPrefix(name, "kritis-sign-") || v1beta1.IsProductManager(name) {
		t.Errorf("manager %q", name)
	}
	return name
}
