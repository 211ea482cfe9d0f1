package hostile

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	_ "crypto/sha512" // forgers know it too
	"encoding/base64"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/kritis-node/kritis-node/test/stack"
)

// forgery makes the file of an attestation that is not one of the image.
type forgery struct {
	name string
	make func(t *testing.T, f forged) []byte
	// unread: it is beyond what is read, or no attestation at all, so that nobody can tell what else it may have said.
	unread bool
}

// forged is what a forger has: the image, the key that counts (whose owner signs many things), and one of his own.
type forged struct {
	reference          string
	repository, digest string
	payload            string
	team, stranger     *rsa.PrivateKey
}

// TestAttestationForged puts attestations that prove nothing about an image where the node looks for them. Each image starts
// once an honest attestation lies beside.
func TestAttestationForged(t *testing.T) {
	t.Parallel()
	s := startSite(t, stack.Options{}, nil)
	f := forged{team: privateKey(t, s.team), stranger: privateKey(t, s.stranger)}
	var images []string
	all := append(append(forgedPayloads(), forgedSignatures()...), append(forgedFiles(), forgedBundles()...)...)
	for _, row := range all {
		reference := s.push(t, "forged/app")
		images = append(images, reference)
		f.reference, f.repository, f.digest = reference, repositoryOf(reference), digestOf(reference)
		f.payload = payloadOf(f.repository, f.digest)
		t.Run(row.name, func(t *testing.T) {
			write(t, s.attestationFile(reference, ""), row.make(t, f))
			if err := s.run(t, prod, reference); row.unread {
				expectUnverified(t, err, "image "+reference)
			} else {
				expectDenied(t, err, "image "+reference)
			}
			// Nor for another spelling of what is asked for.
			expectRefused(t, s.runAs(t, prod, s.pull(t, reference), tagOf(reference)))
		})
	}
	for _, reference := range images {
		s.attest(t, s.team, reference)
	}
	for i, reference := range images {
		t.Run("honest attestation beside "+all[i].name, func(t *testing.T) { s.awaitStarts(t, prod, reference) })
	}
	t.Run("honest bundle", s.testHonestBundle)
	t.Run("more attestations than are read", s.testManyFiles)
	t.Run("valid signature last of the most that are read", s.testValidLast)
	t.Run("payload of 100 MB", s.testHugeFile)
}

func forgedPayloads() []forgery {
	of := func(name string, payload func(f forged) string) forgery {
		return forgery{name: name, make: func(t *testing.T, f forged) []byte {
			p := payload(f)
			return statement(t, p, sign(t, f.team, p))
		}}
	}
	return []forgery{
		of("for another repository", func(f forged) string { return payloadOf(f.repository+"-2", f.digest) }),
		of("for a repository that this one is below", func(f forged) string { return payloadOf(strings.TrimSuffix(f.repository, "/app"), f.digest) }),
		of("for another digest", func(f forged) string { return payloadOf(f.repository, "sha256:"+strings.Repeat("a", 64)) }),
		of("of another payload type", func(f forged) string {
			return strings.Replace(f.payload, "atomic container signature", "vulnerability scan result", 1)
		}),
		of("digest in upper case", func(f forged) string {
			return payloadOf(f.repository, "sha256:"+strings.ToUpper(strings.TrimPrefix(f.digest, "sha256:")))
		}),
		of("algorithm in upper case", func(f forged) string {
			return payloadOf(f.repository, strings.Replace(f.digest, "sha256", "SHA256", 1))
		}),
		of("digest with sha512", func(f forged) string { return payloadOf(f.repository, "sha512:"+strings.Repeat("a", 128)) }),
		of("digest cut short", func(f forged) string { return payloadOf(f.repository, f.digest[:len(f.digest)-1]) }),
		of("digest twice, the image's last", func(f forged) string {
			return strings.Replace(f.payload, `{"docker-manifest-digest"`, `{"docker-manifest-digest":"sha256:`+strings.Repeat("a", 64)+`","docker-manifest-digest"`, 1)
		}),
		of("critical twice, the image's last", func(f forged) string {
			other := payloadOf(f.repository, "sha256:"+strings.Repeat("a", 64))
			return strings.TrimSuffix(other, "}") + "," + strings.TrimPrefix(f.payload, "{")
		}),
		of("member in another case", func(f forged) string {
			return strings.Replace(f.payload, "docker-manifest-digest", "Docker-Manifest-Digest", 1)
		}),
		of("a condition that nobody knows", func(f forged) string {
			return strings.Replace(f.payload, `"type"`, `"not-in-production":true,"type"`, 1)
		}),
		of("trailing bytes", func(f forged) string { return f.payload + "{}" }),
		of("bytes before", func(f forged) string { return "\ufeff" + f.payload }),
		of("repository as a list", func(f forged) string {
			return strings.Replace(f.payload, fmt.Sprintf("%q", f.repository), fmt.Sprintf("[%q]", f.repository), 1)
		}),
	}
}

func forgedSignatures() []forgery {
	of := func(name string, signature func(t *testing.T, f forged) []byte) forgery {
		return forgery{name: name, make: func(t *testing.T, f forged) []byte { return statement(t, f.payload, signature(t, f)) }}
	}
	return []forgery{
		{name: "by another key that goes by the same key ID", make: func(t *testing.T, f forged) []byte {
			return statementOf(t, f.payload, []signed{{fingerprint(t, f.team), sign(t, f.stranger, f.payload)}})
		}},
		of("over another payload", func(t *testing.T, f forged) []byte { return sign(t, f.team, payloadOf("other.example/app", f.digest)) }),
		of("by the right key with SHA-512", func(t *testing.T, f forged) []byte { return signHash(t, f.team, crypto.SHA512, f.payload) }),
		of("by the right key with SHA-512 under PSS", func(t *testing.T, f forged) []byte {
			h := crypto.SHA512.New()
			h.Write([]byte(f.payload))
			signature, err := rsa.SignPSS(rand.Reader, f.team, crypto.SHA512, h.Sum(nil), nil)
			check(t, err)
			return signature
		}),
		of("by the right key without naming a hash", func(t *testing.T, f forged) []byte {
			sum := sha256.Sum256([]byte(f.payload))
			signature, err := rsa.SignPKCS1v15(rand.Reader, f.team, 0, sum[:])
			check(t, err)
			return signature
		}),
		of("truncated", func(t *testing.T, f forged) []byte { s := sign(t, f.team, f.payload); return s[:len(s)-1] }),
		of("with a byte more", func(t *testing.T, f forged) []byte { return append(sign(t, f.team, f.payload), 0) }),
		of("with a zero before", func(t *testing.T, f forged) []byte { return append([]byte{0}, sign(t, f.team, f.payload)...) }),
		of("one bit flipped", func(t *testing.T, f forged) []byte { s := sign(t, f.team, f.payload); s[100] ^= 1; return s }),
		of("zeros", func(*testing.T, forged) []byte { return make([]byte, 256) }),
		of("one", func(*testing.T, forged) []byte { return append(make([]byte, 255), 1) }),
		of("empty", func(*testing.T, forged) []byte { return []byte{} }),
	}
}

func forgedFiles() []forgery {
	// respell writes the base64 of an honest attestation in another way.
	respell := func(name string, spell func(string) string) forgery {
		return forgery{name: name, unread: true, make: func(t *testing.T, f forged) []byte {
			encoded := base64.StdEncoding.EncodeToString(sign(t, f.team, f.payload))
			return fmt.Appendf(nil, `{"serializedPayload":%q,"signatures":[{"publicKeyId":"a key","signature":%q}]}`,
				base64.StdEncoding.EncodeToString([]byte(f.payload)), spell(encoded))
		}}
	}
	return []forgery{
		respell("base64 of the alphabet for URLs", func(s string) string { return strings.NewReplacer("+", "-", "/", "_").Replace(s) }),
		respell("base64 without padding", func(s string) string { return strings.TrimRight(s, "=") }),
		respell("base64 with more behind the padding", func(s string) string { return s + "AAAA" }),
		respell("base64 with spaces", func(s string) string { return s[:8] + " " + s[8:] }),
		{name: "no signature", unread: true, make: func(t *testing.T, f forged) []byte { return statement(t, f.payload) }},
		{name: "two attestations in one file", unread: true, make: func(t *testing.T, f forged) []byte {
			return append(statement(t, f.payload, sign(t, f.stranger, f.payload)), honest(t, f.team, f.reference)...)
		}},
		{name: "cut in half", unread: true, make: func(t *testing.T, f forged) []byte {
			whole := honest(t, f.team, f.reference)
			return whole[:len(whole)/2]
		}},
		{name: "hundred thousand signatures in one file, the valid one last", unread: true, make: func(t *testing.T, f forged) []byte {
			signatures := make([][]byte, 100_000)
			for i := range signatures {
				signatures[i] = []byte{byte(i)}
			}
			signatures[len(signatures)-1] = sign(t, f.team, f.payload)
			return statement(t, f.payload, signatures...)
		}},
		{name: "more signatures than are read, the valid one last", unread: true, make: func(t *testing.T, f forged) []byte {
			return statement(t, f.payload, s17(t, f)...)
		}},
	}
}

// s17 is one signature more than an attestation may have.
func s17(t *testing.T, f forged) [][]byte {
	signatures := make([][]byte, 17)
	for i := range signatures {
		signatures[i] = sign(t, f.stranger, f.payload)
	}
	signatures[16] = sign(t, f.team, f.payload)
	return signatures
}

// testValidLast: what is read is read to the end.
func (s *site) testValidLast(t *testing.T) {
	reference := s.push(t, "forged/last")
	f := forged{team: privateKey(t, s.team), stranger: privateKey(t, s.stranger), payload: payloadOf(repositoryOf(reference), digestOf(reference))}
	write(t, s.attestationFile(reference, ""), statement(t, f.payload, s17(t, f)[1:]...))
	expectStarts(t, s.run(t, prod, reference))
}

// testManyFiles: more attestations than are read leave the question open, and the honest one counts once there is room.
func (s *site) testManyFiles(t *testing.T) {
	reference := s.push(t, "forged/many")
	payload := payloadOf(repositoryOf(reference), digestOf(reference))
	worthless := statement(t, payload, []byte("worthless"))
	const files = 300
	for i := range files {
		check(t, os.WriteFile(s.attestationFile(reference, fmt.Sprintf("-%03d", i)), worthless, 0o644))
	}
	s.attest(t, s.team, reference)
	expectUnverified(t, s.run(t, prod, reference), "more than 256 files")
	for i := range files {
		check(t, os.Remove(s.attestationFile(reference, fmt.Sprintf("-%03d", i))))
	}
	s.awaitStarts(t, prod, reference)
}

// testHugeFile: it is not read, and hides nothing that is honest.
func (s *site) testHugeFile(t *testing.T) {
	reference := s.push(t, "forged/huge")
	file := s.attestationFile(reference, "")
	check(t, os.WriteFile(file, []byte(`{"serializedPayload":"`), 0o644))
	check(t, os.Truncate(file, 100<<20))
	defer os.Remove(file)
	expectUnverified(t, s.run(t, prod, reference), "bytes")
	s.attest(t, s.team, reference)
	s.awaitStarts(t, prod, reference)
}
