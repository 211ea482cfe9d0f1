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

// Key signs. Its private half is in a file, or stays where it is: in a KMS.
type Key struct {
	public      verifier.Key
	algorithm   string
	needsNaming bool
	sign        Signer
}

// Signer signs the SHA-256 of a message: 32 bytes.
type Signer func(ctx context.Context, sha256 []byte) ([]byte, error)

// ReadKeyFile reads an unencrypted private key in PEM (PKCS #8, or PKCS #1 for RSA): RSA of 2048, 3072 or 4096 bits,
// or EC P-256. Of these, authorities accept RSA-2048 without naming an algorithm.
func ReadKeyFile(path string) (*Key, error) {
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
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	public := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	algorithm, needsNaming := verifier.RSAPKCS1SHA256, true
	if r, ok := key.(*rsa.PrivateKey); !ok {
		algorithm = verifier.ECDSASHA256
	} else if r.N.BitLen() == 2048 {
		needsNaming = false
	}
	k, err := NewKey(public, algorithm, func(_ context.Context, sha256 []byte) ([]byte, error) {
		return key.Sign(rand.Reader, sha256, crypto.SHA256)
	})
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	k.needsNaming = needsNaming
	return k, nil
}

// NewKey returns a key whose signatures somebody else makes: with the private half of a public key in PEM, by an algorithm as
// verifier names them. Keys that authorities would not accept without naming the algorithm are for files only.
func NewKey(publicPEM, algorithm string, sign Signer) (*Key, error) {
	// As an authority would have it: what the verifier refuses must not be signed with.
	public, err := verifier.ParseKey(verifier.KeySpec{PEM: publicPEM, Algorithms: []string{algorithm}})
	if err != nil {
		return nil, err
	}
	return &Key{public: public, algorithm: algorithm, sign: sign}, nil
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

// Algorithm is what Sign makes, as KMS calls it: RSA_PKCS1_SHA_256, say.
func (k *Key) Algorithm() string { return k.algorithm }

// NeedsNaming says whether an authority has to name the algorithm for this key to count.
func (k *Key) NeedsNaming() bool { return k.needsNaming }

// Fingerprint is that of the public key, as verdicts print it.
func (k *Key) Fingerprint() string { return k.public.Fingerprint() }

// Made says whether a signature over message is this key's.
func (k *Key) Made(message, signature []byte) bool {
	_, err := k.public.Verify(message, signature)
	return err == nil
}

// Sign signs the SHA-256 of message. A signature that the public key does not verify is an error: whoever made it has
// another key by now, or was not who it seemed to be.
func (k *Key) Sign(ctx context.Context, message []byte) ([]byte, error) {
	hash := sha256.Sum256(message)
	signature, err := k.sign(ctx, hash[:])
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	if !k.Made(message, signature) {
		return nil, errors.New("sign: the signature that came back is not this key's: name the key's version, and try again")
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
