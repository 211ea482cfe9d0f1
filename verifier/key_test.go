package verifier

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"
)

func certificatePEM(key crypto.Signer) string {
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return pemText("CERTIFICATE", der)
}

func pkix(public any) []byte {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		panic(err)
	}
	return der
}

func pkcs8(key any) []byte {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err)
	}
	return der
}

// extraElement adds a NULL to a DER sequence of more than 255 bytes, where Go's parser does not look.
func extraElement(der []byte) []byte {
	n := int(der[2])<<8 + int(der[3]) + 2
	return append(append([]byte{0x30, 0x82, byte(n >> 8), byte(n)}, der[4:]...), 0x05, 0x00)
}

// longLength spells the outer length of a DER sequence with one needless byte.
func longLength(der []byte) []byte {
	return append([]byte{0x30, 0x83, 0x00, der[2], der[3]}, der[4:]...)
}

func TestParseKey(t *testing.T) {
	for _, test := range []struct {
		name       string
		key        crypto.Signer
		algorithms []string
		pkcs1, pss bool
	}{
		{"RSA-2048 by default", qaKey(), nil, true, true},
		{"RSA-2048, PKCS1 by KMS name", qaKey(), []string{"RSA_PKCS1_SHA_256"}, true, false},
		{"RSA-2048, PSS by KMS name", qaKey(), []string{"RSA_PSS_SHA_256"}, false, true},
		{"RSA-2048, both", qaKey(), []string{"RSA_PSS_SHA_256", "RSA_PKCS1_SHA_256", "RSA_PSS_2048_SHA256"}, true, true},
		{"RSA-2048, PKCS1 by upstream's name", qaKey(), []string{"RSA_SIGN_PKCS1_2048_SHA256"}, true, false},
		{"RSA-2048, PSS by upstream's name", qaKey(), []string{"RSA_PSS_2048_SHA256"}, false, true},
		{"RSA-2048, PSS by upstream's second name", qaKey(), []string{"RSA_SIGN_PSS_2048_SHA256"}, false, true},
		{"RSA-3072, PKCS1", rsa3072(), []string{"RSA_PKCS1_SHA_256"}, true, false},
		{"RSA-3072, PKCS1 by upstream's name", rsa3072(), []string{"RSA_SIGN_PKCS1_3072_SHA256"}, true, false},
		{"RSA-3072, PSS by upstream's name", rsa3072(), []string{"RSA_PSS_3072_SHA256"}, false, true},
		{"RSA-3072, PSS by upstream's second name", rsa3072(), []string{"RSA_SIGN_PSS_3072_SHA256"}, false, true},
		{"RSA-4096, PSS", rsa4096(), []string{"RSA_PSS_SHA_256"}, false, true},
		{"RSA-4096, PKCS1 by upstream's name", rsa4096(), []string{"RSA_SIGN_PKCS1_4096_SHA256"}, true, false},
		{"RSA-4096, PSS by upstream's name", rsa4096(), []string{"RSA_PSS_4096_SHA256"}, false, true},
		{"RSA-4096, PSS by upstream's second name", rsa4096(), []string{"RSA_SIGN_PSS_4096_SHA256"}, false, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			key := mustKey(t, KeySpec{ID: "id", PEM: "\n" + publicPEM(test.key) + "\n\n", Algorithms: test.algorithms})
			message := []byte("message")
			checkVerify(t, key, message, sign(test.key, message), "RSA_PKCS1_SHA_256", test.pkcs1)
			checkVerify(t, key, message, signPSS(test.key, message), "RSA_PSS_SHA_256", test.pss)
			checkVerify(t, key, []byte("another"), sign(test.key, message), "", false)
		})
	}
	for _, name := range []string{"ECDSA_SHA_256", "ECDSA_P256_SHA256", "EC_SIGN_P256_SHA256"} {
		t.Run(name, func(t *testing.T) {
			key := mustKey(t, KeySpec{PEM: publicPEM(p256()), Algorithms: []string{name}})
			message := []byte("message")
			signature := sign(p256(), message)
			checkVerify(t, key, message, signature, "ECDSA_SHA_256", true)
			checkVerify(t, key, message, append(signature, 0), "", false)
			checkVerify(t, key, message, make([]byte, maxECSignature), "", false)
			checkVerify(t, key, message, make([]byte, maxECSignature+1), "", false)
		})
	}
}

func checkVerify(t *testing.T, key Key, message, signature []byte, algorithm string, want bool) {
	t.Helper()
	got, err := key.Verify(message, signature)
	if want && (err != nil || got != algorithm) {
		t.Errorf("got %q, %v; want %s", got, err, algorithm)
	}
	if !want && (!errors.Is(err, ErrSignature) || got != "") {
		t.Errorf("got %q, %v; want ErrSignature", got, err)
	}
}

func TestVerifyRefusesSpoiledSignatures(t *testing.T) {
	key := mustKey(t, KeySpec{PEM: publicPEM(qaKey())})
	message := []byte("message")
	good := sign(qaKey(), message)
	for name, signature := range map[string][]byte{
		"nothing": nil, "truncated": good[:255], "longer": append(append([]byte{}, good...), 0), "zero": make([]byte, 256),
		"leading zero": append([]byte{0}, good...), "another hash": signWithHash(qaKey(), message), "a bit": append([]byte{good[0] ^ 1}, good[1:]...),
		"huge": make([]byte, 1<<20),
	} {
		t.Run(name, func(t *testing.T) { checkVerify(t, key, message, signature, "", false) })
	}
}

// signWithHash signs with SHA-512, which nobody here accepts.
func signWithHash(key *rsa.PrivateKey, message []byte) []byte {
	sum := sha512.Sum512(message)
	s, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA512, sum[:])
	if err != nil {
		panic(err)
	}
	return s
}

func TestParseKeyRefuses(t *testing.T) {
	good := publicPEM(qaKey())
	public := qaKey().PublicKey
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	weak := func(e int) string { return pemText("PUBLIC KEY", pkix(&rsa.PublicKey{N: public.N, E: e})) }
	modulus := func(n *big.Int) string { return pemText("PUBLIC KEY", pkix(&rsa.PublicKey{N: n, E: 65537})) }
	bits := func(n uint) string {
		return modulus(new(big.Int).Or(new(big.Int).Lsh(big.NewInt(1), n-1), big.NewInt(1)))
	}
	times3 := new(big.Int).Sub(public.N, new(big.Int).Mod(public.N, big.NewInt(3)))
	times3.Sub(times3, big.NewInt(int64(3*(1-times3.Bit(0)))))
	pgp := "-----BEGIN PGP PUBLIC KEY BLOCK-----\nVersion: GnuPG v2\n\nmQENBF\n=abcd\n-----END PGP PUBLIC KEY BLOCK-----\n"
	for _, test := range []struct {
		name, pem  string
		algorithms []string
		want       string
	}{
		{"nothing", "", nil, errKeyPEM},
		{"not PEM", "hello", nil, errKeyPEM},
		{"base64 of PEM", base64.StdEncoding.EncodeToString([]byte(good)), nil, errKeyPEM},
		{"PKCS8 private key", pemText("PRIVATE KEY", pkcs8(qaKey())), nil, errKeyPrivate},
		{"PKCS1 private key", pemText("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(qaKey())), nil, errKeyPrivate},
		{"encrypted cosign key", pemText("ENCRYPTED SIGSTORE PRIVATE KEY", []byte("x")), nil, errKeyPrivate},
		{"private key behind the public one", good + pemText("PRIVATE KEY", pkcs8(qaKey())), nil, errKeyPrivate},
		{"PGP", pgp, nil, errKeyPGP},
		{"PGP behind the public key", good + pgp, nil, errKeyPGP},
		{"certificate", certificatePEM(qaKey()), nil, errKeyCertificate},
		{"PKCS1 public key", pemText("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&public)), nil, errKeyPKCS1},
		{"unknown block", pemText("SECRET", pkix(&public)), nil, errKeyPEM},
		{"two keys", good + good, nil, errKeyTrailing},
		{"text behind", good + "x", nil, errKeyTrailing},
		{"text before", "x\n" + good, nil, errKeyPEM},
		{"PEM headers", strings.Replace(good, "KEY-----\n", "KEY-----\nName: x\n\n", 1), nil, errKeyTrailing},
		{"bytes behind the DER", pemText("PUBLIC KEY", append(pkix(&public), 0)), nil, errKeyUnknown},
		{"long-winded DER", pemText("PUBLIC KEY", longLength(pkix(&public))), nil, errKeyUnknown},
		{"element behind the key", pemText("PUBLIC KEY", extraElement(pkix(&public))), nil, errKeyEncoding},
		{"RSA-1024", pemText("PUBLIC KEY", pkix(&rsa.PublicKey{N: new(big.Int).Rsh(public.N, 1024), E: 65537})), nil, "an RSA key of 1024 bits is not supported: use 2048 bits, or 3072 or 4096 with an algorithm named"},
		{"RSA-2047", bits(2047), nil, "an RSA key of 2047 bits is not supported: use 2048 bits, or 3072 or 4096 with an algorithm named"},
		{"RSA-2049", bits(2049), nil, "an RSA key of 2049 bits is not supported: use 2048 bits, or 3072 or 4096 with an algorithm named"},
		{"RSA-8192", bits(8192), nil, "an RSA key of 8192 bits is not supported: use 2048 bits, or 3072 or 4096 with an algorithm named"},
		{"exponent 1", weak(1), nil, errKeyExponent},
		{"exponent 3", weak(3), nil, errKeyExponent},
		{"exponent 65535", weak(65535), nil, errKeyExponent},
		{"exponent 65538", weak(65538), nil, errKeyExponent},
		{"even modulus", modulus(new(big.Int).Sub(public.N, big.NewInt(1))), nil, errKeyModulus},
		{"modulus with factor 3", modulus(times3), nil, errKeyModulus},
		{"RSA-3072 without algorithm", publicPEM(rsa3072()), nil, "a key of kind RSA-3072 needs its algorithm named, such as RSA_PKCS1_SHA_256"},
		{"RSA-4096 without algorithm", publicPEM(rsa4096()), nil, "a key of kind RSA-4096 needs its algorithm named, such as RSA_PKCS1_SHA_256"},
		{"P-256 without algorithm", publicPEM(p256()), nil, "a key of kind EC P-256 needs its algorithm named, such as ECDSA_SHA_256"},
		{"P-384", publicPEM(p384()), []string{"ECDSA_SHA_256"}, "curve P-384 is not supported: use RSA-2048, or EC P-256"},
		{"ed25519", publicPEM(edKey), nil, errKeyType},
		{"size of another key", good, []string{"RSA_PSS_3072_SHA256"}, "algorithm RSA_PSS_3072_SHA256 does not fit: this is not a key for it, but an RSA key of 2048 bits"},
		{"second algorithm of another size", good, []string{"RSA_PSS_2048_SHA256", "RSA_SIGN_PKCS1_4096_SHA256"}, "algorithm RSA_SIGN_PKCS1_4096_SHA256 does not fit: this is not a key for it, but an RSA key of 2048 bits"},
		{"EC algorithm for RSA", good, []string{"EC_SIGN_P256_SHA256"}, "algorithm EC_SIGN_P256_SHA256 does not fit: this is not a key for it, but an RSA key"},
		{"RSA algorithm for EC", publicPEM(p256()), []string{"RSA_PSS_SHA_256"}, "algorithm RSA_PSS_SHA_256 does not fit: this is not a key for it, but an EC P-256 key"},
		{"SHA-512", publicPEM(rsa4096()), []string{"RSA_SIGN_PKCS1_4096_SHA512"}, "algorithm RSA_SIGN_PKCS1_4096_SHA512 is not supported: use one with SHA-256"},
		{"P-384 algorithm", publicPEM(p256()), []string{"ECDSA_P384_SHA384"}, "algorithm ECDSA_P384_SHA384 is not supported: use one with SHA-256"},
		{"unspecified algorithm", good, []string{"SIGNATURE_ALGORITHM_UNSPECIFIED"}, "algorithm SIGNATURE_ALGORITHM_UNSPECIFIED is not supported: use one with SHA-256"},
		{"unknown algorithm", good, []string{"RSA\n"}, `algorithm "RSA\\n" is not known: RSA_PKCS1_SHA_256, RSA_PSS_SHA_256 and ECDSA_SHA_256 are`},
		{"empty algorithm", good, []string{""}, errAlgorithmEmpty},
		{"17 algorithms", good, make([]string, maxAlgorithms+1), "there are more than 16 algorithms"},
		{"8 KiB and one", good + strings.Repeat("\n", maxPEM+1-len(good)), nil, "the key is longer than 8192 bytes: give one public key"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := ParseKey(KeySpec{PEM: test.pem, Algorithms: test.algorithms})
			if err == nil || err.Error() != test.want {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
	if _, err := ParseKey(KeySpec{PEM: good + strings.Repeat("\n", maxPEM-len(good))}); err != nil {
		t.Errorf("8 KiB: %v", err)
	}
}

func TestFingerprint(t *testing.T) {
	key := mustKey(t, KeySpec{ID: "kms-1", PEM: publicPEM(qaKey())})
	sum := sha256.Sum256(pkix(&qaKey().PublicKey))
	if want := "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:]); key.Fingerprint() != want || key.ID() != "kms-1" {
		t.Errorf("got %s %s, want %s", key.ID(), key.Fingerprint(), want)
	}
	for _, name := range []string{"kms-1", key.Fingerprint(), base64.StdEncoding.EncodeToString(sum[:]),
		"ni:///sha-256;" + base64.RawURLEncoding.EncodeToString(sum[:])} {
		if !key.goesBy(name) {
			t.Errorf("does not go by %s", name)
		}
	}
	if key.goesBy("") || key.goesBy("kms-2") || (Key{}).goesBy("") {
		t.Error("goes by a foreign name")
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add(publicPEM(qaKey()), "")
	f.Add(publicPEM(p256()), "ECDSA_SHA_256")
	f.Add(publicPEM(p384()), "ECDSA_P384_SHA384")
	f.Add(certificatePEM(p256()), "")
	f.Add(pemText("PUBLIC KEY", longLength(pkix(&qaKey().PublicKey))), "")
	der, _ := asn1.Marshal(struct{ A, B int }{1, 2})
	f.Add(pemText("PUBLIC KEY", der), "")
	f.Fuzz(func(t *testing.T, text, algorithm string) {
		spec := KeySpec{PEM: text}
		if algorithm != "" {
			spec.Algorithms = []string{algorithm}
		}
		key, err := ParseKey(spec)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\x00") {
				t.Errorf("error over several lines: %q", err)
			}
			return
		}
		if len(key.algorithms) == 0 || (key.rsa == nil) == (key.ec == nil) || strings.Contains(text, "PRIVATE") {
			t.Errorf("accepted: %+v", key)
		}
		if _, err := key.Verify([]byte("m"), []byte(text)); err == nil {
			t.Error("verified nonsense")
		}
	})
}
