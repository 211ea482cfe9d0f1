package verifier

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
)

// Signature algorithms, as KMS calls them.
const (
	RSAPKCS1SHA256 = "RSA_PKCS1_SHA_256"
	RSAPSSSHA256   = "RSA_PSS_SHA_256"
	ECDSASHA256    = "ECDSA_SHA_256"
)

const (
	// maxPEM is ten times a 4096 bit key.
	maxPEM = 8 << 10
	// minExponent is F4. Smaller ones serve nobody but forgers.
	minExponent = 65537
	// maxECSignature is the longest DER of two 256 bit integers.
	maxECSignature = 72
)

// ErrSignature is what Key.Verify returns for every signature that does not fit, without saying more.
var ErrSignature = errors.New(errSignature)

// Key is a public key together with the algorithms that it may be used with. The zero value verifies nothing.
type Key struct {
	id          string
	fingerprint string
	rsa         *rsa.PublicKey
	ec          *ecdsa.PublicKey
	algorithms  []string
}

// ParseKey accepts PKIX public keys in PEM: one block, nothing beside it. RSA-2048 needs no algorithm named; RSA-3072,
// RSA-4096 and EC P-256 do. What is refused is refused by name.
func ParseKey(spec KeySpec) (Key, error) {
	der, err := decodePEM(spec.PEM)
	if err != nil {
		return Key{}, err
	}
	public, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return Key{}, errors.New(errKeyUnknown)
	}
	// A second spelling of the same key would have a second fingerprint.
	if again, err := x509.MarshalPKIXPublicKey(public); err != nil || !bytes.Equal(again, der) {
		return Key{}, errors.New(errKeyEncoding)
	}
	sum := sha256.Sum256(der)
	key := Key{id: spec.ID, fingerprint: "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])}
	switch public := public.(type) {
	case *rsa.PublicKey:
		if err := checkRSA(public); err != nil {
			return Key{}, err
		}
		key.rsa = public
		key.algorithms, err = rsaAlgorithms(spec.Algorithms, public.N.BitLen())
	case *ecdsa.PublicKey:
		if public.Curve != elliptic.P256() {
			return Key{}, fmt.Errorf(errKeyCurve, public.Params().Name)
		}
		key.ec = public
		key.algorithms, err = ecAlgorithms(spec.Algorithms)
	default:
		return Key{}, errors.New(errKeyType)
	}
	if err != nil {
		return Key{}, err
	}
	return key, nil
}

// ID is what attestations call the key. It may be empty, and proves nothing.
func (k Key) ID() string { return k.id }

// Fingerprint is "SHA256:" and the unpadded base64 of the SHA-256 of the DER encoded SubjectPublicKeyInfo.
func (k Key) Fingerprint() string { return k.fingerprint }

// Verify returns the algorithm under which the signature over the message is valid, or ErrSignature.
func (k Key) Verify(message, signature []byte) (algorithm string, err error) {
	switch {
	case k.rsa != nil && len(signature) != k.rsa.Size(),
		k.ec != nil && len(signature) > maxECSignature,
		len(signature) == 0:
		return "", ErrSignature
	}
	digest := sha256.Sum256(message)
	for _, algorithm := range k.algorithms {
		if k.verifyDigest(algorithm, digest[:], signature) {
			return algorithm, nil
		}
	}
	return "", ErrSignature
}

func (k Key) verifyDigest(algorithm string, digest, signature []byte) bool {
	switch algorithm {
	case RSAPKCS1SHA256:
		return rsa.VerifyPKCS1v15(k.rsa, crypto.SHA256, digest, signature) == nil
	case RSAPSSSHA256:
		// Signers differ in the length of the salt (KMS: 32 bytes; openssl: as long as fits). Any is as good.
		return rsa.VerifyPSS(k.rsa, crypto.SHA256, digest, signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto}) == nil
	case ECDSASHA256:
		return ecdsa.VerifyASN1(k.ec, digest, signature)
	default:
		return false
	}
}

// goesBy says whether an attestation's word for its key means this one. It orders attempts, no more. Beside the ID
// there are the names that signers derive from the key: cosign's hint is the fingerprint in padded base64, kritis'
// default a "ni" URI (RFC 6920).
func (k Key) goesBy(name string) bool {
	if name == "" {
		return false
	}
	sum := strings.TrimPrefix(k.fingerprint, "SHA256:")
	return name == k.id || name == k.fingerprint || strings.TrimSuffix(name, "=") == sum ||
		name == "ni:///sha-256;"+strings.NewReplacer("+", "-", "/", "_").Replace(sum)
}

func decodePEM(s string) ([]byte, error) {
	if len(s) > maxPEM {
		return nil, fmt.Errorf(errKeyLong, maxPEM)
	}
	// Named before anything is decoded, wherever they stand: such text must be noticed, not half understood.
	switch {
	case strings.Contains(s, "PRIVATE KEY"):
		return nil, errors.New(errKeyPrivate)
	case strings.Contains(s, "BEGIN PGP"):
		return nil, errors.New(errKeyPGP)
	}
	block, rest := pem.Decode([]byte(s))
	if block == nil || !strings.HasPrefix(strings.TrimSpace(s), "-----BEGIN ") {
		return nil, errors.New(errKeyPEM)
	}
	switch block.Type {
	case "PUBLIC KEY":
	case "CERTIFICATE", "TRUSTED CERTIFICATE", "X509 CERTIFICATE", "CERTIFICATE REQUEST":
		return nil, errors.New(errKeyCertificate)
	case "RSA PUBLIC KEY":
		return nil, errors.New(errKeyPKCS1)
	default:
		return nil, errors.New(errKeyPEM)
	}
	if len(bytes.TrimSpace(rest)) > 0 || len(block.Headers) > 0 || strings.Count(s, "-----BEGIN ") != 1 {
		return nil, errors.New(errKeyTrailing)
	}
	return block.Bytes, nil
}

func checkRSA(key *rsa.PublicKey) error {
	switch bits := key.N.BitLen(); {
	case bits != 2048 && bits != 3072 && bits != 4096:
		return fmt.Errorf(errKeySize, bits)
	case key.E < minExponent || key.E%2 == 0 || key.E > 1<<31-1:
		return errors.New(errKeyExponent)
	case key.N.Bit(0) == 0 || new(big.Int).GCD(nil, nil, key.N, smallPrimes).BitLen() != 1:
		return errors.New(errKeyModulus)
	}
	return nil
}

// smallPrimes is the product of the odd primes below 50: no honest modulus shares a factor with it.
var smallPrimes = big.NewInt(3 * 5 * 7 * 11 * 13 * 17 * 19 * 23 * 29 * 31 * 37 * 41 * 43 * 47)
