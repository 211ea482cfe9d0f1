package hostile

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kritis-node/kritis-node/test/stack"
)

// badKey is what somebody put where a public key should be, and how one would sign so that it fits.
type badKey struct {
	name string
	// make returns the text of the key, and what signs a message so that it fits; nil: nothing could.
	make func(t *testing.T) (text string, sign func(message string) []byte)
	word string // what the problem's text has to name
}

// TestBadKeys: an authority with a key that is none, or a weak one, attests nothing, and the operator is told which it is. The same
// image starts where the authority has a good key beside.
func TestBadKeys(t *testing.T) {
	t.Parallel()
	s := startSite(t, stack.Options{}, nil)
	dir := t.TempDir()
	keyFile := func(name, text string) stack.Key {
		file := filepath.Join(dir, name)
		check(t, os.WriteFile(file, []byte(text), 0o644))
		return stack.Key{Public: file}
	}
	type attempt struct {
		row                  badKey
		reference, namespace string
	}
	var attempts []attempt
	var objects []string
	for i, row := range badKeys(privateKey(t, s.stranger)) {
		text, sign := row.make(t)
		a := attempt{row, s.push(t, "keys/app"), fmt.Sprintf("keys-%d", i)}
		payload := payloadOf(repositoryOf(a.reference), digestOf(a.reference))
		if sign != nil {
			write(t, s.attestationFile(a.reference, ""), statement(t, payload, sign(payload)))
		}
		bad := keyFile(fmt.Sprint(i), text)
		for namespace, keys := range map[string][]stack.Key{a.namespace: {bad}, a.namespace + "-both": {bad, s.team}} {
			authority, err := stack.Authority(namespace, "team", "", keys...)
			check(t, err)
			// With its algorithm named, an RSA key of another size could count.
			authority = strings.ReplaceAll(authority, "pkixPublicKey:\n", "pkixPublicKey:\n      signatureAlgorithm: RSA_PKCS1_SHA_256\n")
			objects = append(objects, authority, stack.Policy(namespace, "p", "", "team"))
		}
		attempts = append(attempts, a)
	}
	check(t, s.WritePolicies(t.Context(), "keys.yaml", objects...))
	status, err := s.Status(t.Context())
	check(t, err)
	told := map[string]string{} // by namespace
	for _, p := range status.Problems {
		object := strings.TrimSuffix(strings.TrimPrefix(p.Object, "AttestationAuthority "), "/team")
		told[object] += p.Text + "\n"
	}
	for _, a := range attempts {
		t.Run(a.row.name, func(t *testing.T) {
			expectDenied(t, s.run(t, a.namespace, a.reference))
			expectDenied(t, s.run(t, a.namespace+"-both", a.reference))
			if !strings.Contains(told[a.namespace], a.row.word) || !strings.Contains(told[a.namespace+"-both"], a.row.word) {
				t.Errorf("the status does not say %q: %q", a.row.word, told[a.namespace])
			}
		})
	}
	for _, a := range attempts {
		s.attest(t, s.team, a.reference)
	}
	for _, a := range attempts {
		t.Run(a.row.name+" beside a good one", func(t *testing.T) {
			s.awaitStarts(t, a.namespace+"-both", a.reference)
			expectDenied(t, s.run(t, a.namespace, a.reference))
		})
	}
}

// badKeys are made of a key that no authority has, so that what fits a bad key fits no other.
func badKeys(own *rsa.PrivateKey) []badKey {
	public := func(t *testing.T, key any) string {
		der, err := x509.MarshalPKIXPublicKey(key)
		check(t, err)
		return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	}
	withOwn := func(t *testing.T) func(string) []byte { return func(m string) []byte { return sign(t, own, m) } }
	return []badKey{
		{"private key", func(t *testing.T) (string, func(string) []byte) {
			der, err := x509.MarshalPKCS8PrivateKey(own)
			check(t, err)
			return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), withOwn(t)
		}, "private key"},
		{"private key of the old form", func(t *testing.T) (string, func(string) []byte) {
			return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(own)})), withOwn(t)
		}, "private key"},
		{"PGP key", func(*testing.T) (string, func(string) []byte) {
			return "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQENBAAAAAABCADAAAAA\n-----END PGP PUBLIC KEY BLOCK-----\n", nil
		}, "PGP"},
		{"certificate", func(t *testing.T) (string, func(string) []byte) {
			template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
			der, err := x509.CreateCertificate(rand.Reader, template, template, own.Public(), own)
			check(t, err)
			return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), withOwn(t)
		}, "certificate"},
		{"RSA of 1024 bits", func(t *testing.T) (string, func(string) []byte) {
			key := rsaOf(t, 1024, 65537)
			return public(t, &key.PublicKey), func(m string) []byte { return rawSign(key.N, key.D, m) }
		}, "1024"},
		{"RSA with exponent 1", func(t *testing.T) (string, func(string) []byte) {
			// What fits is what anybody can write down: the padded hash itself.
			return publicRSA(t, own.N, 1), func(m string) []byte { return rawSign(own.N, big.NewInt(1), m) }
		}, "exponent"},
		{"RSA with exponent 3", func(t *testing.T) (string, func(string) []byte) {
			key := rsaOf(t, 2048, 3)
			return publicRSA(t, key.N, 3), func(m string) []byte { return rawSign(key.N, key.D, m) }
		}, "exponent"},
		{"elliptic curve that is not P-256", func(t *testing.T) (string, func(string) []byte) {
			key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
			check(t, err)
			return public(t, key.Public()), func(m string) []byte {
				sum := sha256.Sum256([]byte(m))
				signature, err := key.Sign(rand.Reader, sum[:], crypto.SHA256)
				check(t, err)
				return signature
			}
		}, "P-384"},
		{"two keys in one", func(t *testing.T) (string, func(string) []byte) {
			return public(t, own.Public()) + public(t, own.Public()), withOwn(t)
		}, "beside"},
		{"nonsense", func(*testing.T) (string, func(string) []byte) {
			return "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", nil
		}, ""},
	}
}

// rsaOf makes a key of a size and with an exponent that Go's own generator refuses.
func rsaOf(t *testing.T, bits, exponent int) *rsa.PrivateKey {
	t.Helper()
	e := big.NewInt(int64(exponent))
	for {
		p, err := rand.Prime(rand.Reader, bits/2)
		check(t, err)
		q, err := rand.Prime(rand.Reader, bits/2)
		check(t, err)
		n, one := new(big.Int).Mul(p, q), big.NewInt(1)
		d := new(big.Int).ModInverse(e, new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one)))
		if n.BitLen() == bits && d != nil {
			return &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: n, E: exponent}, D: d}
		}
	}
}

// publicRSA is a public key with an exponent that Go's own types refuse.
func publicRSA(t *testing.T, n *big.Int, e int) string {
	t.Helper()
	inner, err := asn1.Marshal(struct {
		N *big.Int
		E int
	}{n, e})
	check(t, err)
	der, err := asn1.Marshal(struct {
		Algorithm struct {
			OID  asn1.ObjectIdentifier
			Null asn1.RawValue
		}
		Key asn1.BitString
	}{struct {
		OID  asn1.ObjectIdentifier
		Null asn1.RawValue
	}{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}, asn1.NullRawValue}, asn1.BitString{Bytes: inner, BitLength: 8 * len(inner)}})
	check(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// rawSign is RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017, 8.2.1) without the checks of Go's.
func rawSign(n, d *big.Int, message string) []byte {
	prefix, _ := hex.DecodeString("3031300d060960864801650304020105000420")
	sum := sha256.Sum256([]byte(message))
	tail := slices.Concat(prefix, sum[:])
	size := (n.BitLen() + 7) / 8
	padded := append([]byte{0, 1}, []byte(strings.Repeat("\xff", size-3-len(tail)))...)
	padded = append(append(padded, 0), tail...)
	return new(big.Int).Exp(new(big.Int).SetBytes(padded), d, n).FillBytes(make([]byte, size))
}
