package verifier

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
	"sync"
	"testing"
)

// A key of each kind and size, made once: making an RSA key takes longer than everything else here.
var (
	qaKey    = sync.OnceValue(func() *rsa.PrivateKey { return newRSA(2048) })
	prodKey  = sync.OnceValue(func() *rsa.PrivateKey { return newRSA(2048) })
	otherKey = sync.OnceValue(func() *rsa.PrivateKey { return newRSA(2048) })
	rsa3072  = sync.OnceValue(func() *rsa.PrivateKey { return newRSA(3072) })
	rsa4096  = sync.OnceValue(func() *rsa.PrivateKey { return newRSA(4096) })
	p256     = sync.OnceValue(func() *ecdsa.PrivateKey { return newEC(elliptic.P256()) })
	p384     = sync.OnceValue(func() *ecdsa.PrivateKey { return newEC(elliptic.P384()) })
)

func newRSA(bits int) *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic(err)
	}
	return k
}

func newEC(c elliptic.Curve) *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		panic(err)
	}
	return k
}

func publicPEM(key crypto.Signer) string {
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		panic(err)
	}
	return pemText("PUBLIC KEY", der)
}

func pemText(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func sign(key crypto.Signer, message []byte) []byte {
	return signWith(key, message, crypto.SHA256)
}

func signPSS(key crypto.Signer, message []byte) []byte {
	return signWith(key, message, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256})
}

func signWith(key crypto.Signer, message []byte, opts crypto.SignerOpts) []byte {
	sum := sha256.Sum256(message)
	s, err := key.Sign(rand.Reader, sum[:], opts)
	if err != nil {
		panic(err)
	}
	return s
}

const (
	appRepo   = "registry.example/team/app"
	otherRepo = "registry.example/team/other"
)

var (
	appDigest      = testDigest("app index")
	platformDigest = testDigest("app linux/amd64")
	otherDigest    = testDigest("other")
)

func testDigest(s string) Digest { return Digest(fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(s)))) }

func payload(kind, repository string, digest Digest) []byte {
	return fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":%s},"image":{"docker-manifest-digest":%s},`+
		`"type":%s},"optional":{"creator":"test"}}`, quoted(repository), quoted(string(digest)), quoted(kind))
}

// kritisBy is an honest kritis attestation of the app.
func kritisBy(key crypto.Signer, id string, digest Digest) Attestation {
	return kritisOver(key, id, payload(typeKritis, appRepo, digest))
}

func kritisOver(key crypto.Signer, id string, message []byte) Attestation {
	return Attestation{Format: FormatKritis, Payload: message, Source: "test",
		Signatures: []Signature{{KeyID: id, Value: sign(key, message)}}}
}

func cosignBy(key crypto.Signer, digest Digest) Attestation {
	message := payload(typeCosign, appRepo, digest)
	return Attestation{Format: FormatCosign, Payload: message, Source: "test",
		Signatures: []Signature{{Value: sign(key, message)}}}
}

func statementJSON(predicate string, digests ...Digest) string {
	var subjects []string
	for _, d := range digests {
		subjects = append(subjects, fmt.Sprintf(`{"name":"","digest":{"sha256":%q}}`, d.Hex()))
	}
	return fmt.Sprintf(`{"_type":"https://in-toto.io/Statement/v1","subject":[%s],"predicateType":%q,"predicate":{}}`,
		strings.Join(subjects, ","), predicate)
}

// bundleParts are a bundle that tests can spoil in one place.
type bundleParts struct {
	mediaType, material, payload, payloadType, sig, keyid string
	extra                                                 string
}

func bundleFor(key crypto.Signer, statement string) bundleParts {
	pae := fmt.Appendf(nil, "DSSEv1 28 application/vnd.in-toto+json %d %s", len(statement), statement)
	return bundleParts{
		mediaType:   "application/vnd.dev.sigstore.bundle.v0.3+json",
		material:    `{"publicKey":{"hint":"aGludA=="},"tlogEntries":[]}`,
		payload:     base64.StdEncoding.EncodeToString([]byte(statement)),
		payloadType: "application/vnd.in-toto+json",
		sig:         base64.StdEncoding.EncodeToString(sign(key, pae)),
	}
}

func (b bundleParts) attestation() Attestation {
	return Attestation{Format: FormatBundle, Source: "test", Payload: fmt.Appendf(nil,
		`{"mediaType":%s,"verificationMaterial":%s,"dsseEnvelope":{"payload":%s,"payloadType":%s,"signatures":[{"sig":%s,"keyid":%s}]}%s}`,
		quoted(b.mediaType), b.material, quoted(b.payload), quoted(b.payloadType), quoted(b.sig), quoted(b.keyid), b.extra)}
}

func quoted(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func bundleBy(key crypto.Signer, digests ...Digest) Attestation {
	return bundleFor(key, statementJSON(signPredicate, digests...)).attestation()
}

func mustKey(t testing.TB, spec KeySpec) Key {
	t.Helper()
	k, err := ParseKey(spec)
	if err != nil {
		t.Fatalf("ParseKey: %v", err)
	}
	return k
}
