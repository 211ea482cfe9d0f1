package hostile

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kritis-node/kritis-node/test/stack"
)

// payloadOf is what kritis, and Security Center, sign for an image.
func payloadOf(repository, digest string) string {
	return fmt.Sprintf(`{"critical":{"identity":{"docker-reference":%q},"image":{"docker-manifest-digest":%q},"type":"atomic container signature"}}`,
		repository, digest)
}

// privateKey reads a key that stack.WriteKey wrote.
func privateKey(t *testing.T, k stack.Key) *rsa.PrivateKey {
	t.Helper()
	data, err := os.ReadFile(k.Private)
	check(t, err)
	block, _ := pem.Decode(data)
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	check(t, err)
	return private.(*rsa.PrivateKey)
}

// sign signs as KMS does: RSASSA-PKCS1-v1_5 with SHA-256.
func sign(t *testing.T, key *rsa.PrivateKey, message string) []byte {
	t.Helper()
	return signHash(t, key, crypto.SHA256, message)
}

func signHash(t *testing.T, key *rsa.PrivateKey, hash crypto.Hash, message string) []byte {
	t.Helper()
	h := hash.New()
	h.Write([]byte(message))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, hash, h.Sum(nil))
	check(t, err)
	return signature
}

// signed is one of an attestation's signatures.
type signed struct {
	PublicKeyID string `json:"publicKeyId"`
	Signature   []byte `json:"signature"`
}

// statement is an attestation in the form of Grafeas.
func statement(t *testing.T, payload string, signatures ...[]byte) []byte {
	t.Helper()
	list := make([]signed, 0, len(signatures))
	for _, s := range signatures {
		list = append(list, signed{"a key", s})
	}
	return statementOf(t, payload, list)
}

func statementOf(t *testing.T, payload string, signatures []signed) []byte {
	t.Helper()
	data, err := json.Marshal(map[string]any{"serializedPayload": []byte(payload), "signatures": signatures})
	check(t, err)
	return data
}

// honest is the attestation that a key's owner makes of an image.
func honest(t *testing.T, key *rsa.PrivateKey, reference string) []byte {
	t.Helper()
	payload := payloadOf(repositoryOf(reference), digestOf(reference))
	return statement(t, payload, sign(t, key, payload))
}

// attestationFile is where the agent's folder has attestations of an image.
func (s *site) attestationFile(reference, suffix string) string {
	return filepath.Join(s.AttestationDir(), strings.Replace(digestOf(reference), ":", "-", 1)+suffix+".json")
}

// attest puts an honest attestation into the agent's folder, beside whatever is there.
func (s *site) attest(t *testing.T, key stack.Key, reference string) {
	t.Helper()
	write(t, s.attestationFile(reference, "-honest"), honest(t, privateKey(t, key), reference))
}

// fingerprint is by what name attestations may call a key.
func fingerprint(t *testing.T, key *rsa.PrivateKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	check(t, err)
	sum := sha256.Sum256(der)
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
}
