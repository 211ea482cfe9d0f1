// Package signing makes attestations: it says that a repository's digest is approved, and signs that with the key of
// an authority. `kritis sign` uses it; what it makes, `cosign verify --key` accepts too.
package signing

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/kritis-node/kritis-node/verifier"
)

// maxKeyFile bounds a key file in bytes.
const maxKeyFile = 64 << 10

// KeyFile signs with a private key from a file.
type KeyFile struct {
	key    crypto.Signer
	public verifier.Key
}

// ReadKeyFile reads an unencrypted private key in PEM (PKCS #8, or PKCS #1 for RSA): RSA of 2048, 3072 or 4096 bits,
// or EC P-256. Of these, authorities accept RSA-2048 without naming an algorithm.
func ReadKeyFile(path string) (*KeyFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the key: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return nil, fmt.Errorf("read the key: %w", err)
	}
	key, err := parseKey(data)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	k := &KeyFile{key: key}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	// As an authority would have it: what the verifier refuses must not be signed with.
	k.public, err = verifier.ParseKey(verifier.KeySpec{
		PEM: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), Algorithms: []string{k.Algorithm()},
	})
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	return k, nil
}

func parseKey(data []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New(`no key in PEM found: it must begin with "-----BEGIN PRIVATE KEY-----"`)
	}
	var key any
	var err error
	switch {
	case strings.Contains(block.Type, "ENCRYPTED") || block.Headers["Proc-Type"] != "":
		return nil, errors.New("the key is encrypted: decrypt it first, with openssl pkey -in FILE -out OTHER for keys of openssl's")
	case block.Type == "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case block.Type == "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case block.Type == "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case block.Type == "PUBLIC KEY":
		return nil, errors.New("this is a public key: sign with the private one")
	default:
		return nil, fmt.Errorf("%q is no private key: give one in PKCS #8", block.Type)
	}
	if err != nil {
		return nil, errors.New("the key is damaged: make it anew") // the parser's words could hold part of the key
	}
	switch k := key.(type) {
	case *rsa.PrivateKey:
		if bits := k.N.BitLen(); bits != 2048 && bits != 3072 && bits != 4096 {
			return nil, fmt.Errorf("RSA keys of %d bits are not supported: use RSA-2048", bits)
		}
		return k, nil
	case *ecdsa.PrivateKey:
		if k.Curve != elliptic.P256() {
			return nil, errors.New("of the EC keys only P-256 is supported: use RSA-2048")
		}
		return k, nil
	default:
		return nil, errors.New("keys of this kind are not supported: use RSA-2048")
	}
}

// Algorithm is what Sign makes: RSA_PKCS1_SHA_256 or ECDSA_SHA_256, as KMS calls them.
func (k *KeyFile) Algorithm() string {
	if _, ok := k.key.(*rsa.PrivateKey); ok {
		return "RSA_PKCS1_SHA_256"
	}
	return "ECDSA_SHA_256"
}

// NeedsNaming says whether an authority has to name the algorithm for this key to count.
func (k *KeyFile) NeedsNaming() bool {
	r, ok := k.key.(*rsa.PrivateKey)
	return !ok || r.N.BitLen() != 2048
}

// Fingerprint is that of the public key, as verdicts print it.
func (k *KeyFile) Fingerprint() string { return k.public.Fingerprint() }

// Made says whether a signature over message is this key's.
func (k *KeyFile) Made(message, signature []byte) bool {
	_, err := k.public.Verify(message, signature)
	return err == nil
}

// Sign signs the SHA-256 of message.
func (k *KeyFile) Sign(_ context.Context, message []byte) ([]byte, error) {
	hash := sha256.Sum256(message)
	signature, err := k.key.Sign(rand.Reader, hash[:], crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return signature, nil
}

// Payload is the statement that a digest of a repository is approved, in cosign's classic form. It is the same for the
// same image every time.
func Payload(repository string, d verifier.Digest) ([]byte, error) {
	var p struct {
		Critical struct {
			Identity struct {
				Reference string `json:"docker-reference"`
			} `json:"identity"`
			Image struct {
				Digest verifier.Digest `json:"docker-manifest-digest"`
			} `json:"image"`
			Type string `json:"type"`
		} `json:"critical"`
		Optional map[string]string `json:"optional"`
	}
	p.Critical.Identity.Reference = repository
	p.Critical.Image.Digest = d
	p.Critical.Type = "cosign container image signature"
	return json.Marshal(p)
}
