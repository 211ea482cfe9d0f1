package webhook

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/attestations"
	"github.com/kritis-node/kritis-node/policyagent/attestations/registry"
	"github.com/kritis-node/kritis-node/policyagent/signing"
	"github.com/kritis-node/kritis-node/verifier"
)

// team is the key of the authority that everybody trusts.
var team = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func publicPEM(key *rsa.PrivateKey) string {
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func attestation(repository string, d verifier.Digest) verifier.Attestation {
	payload, err := signing.Payload(repository, d)
	if err != nil {
		panic(err)
	}
	hash := sha256.Sum256(payload)
	value, err := rsa.SignPKCS1v15(rand.Reader, team(), crypto.SHA256, hash[:])
	if err != nil {
		panic(err)
	}
	return verifier.Attestation{Format: verifier.FormatCosign, Payload: payload, Signatures: []verifier.Signature{{Value: value}}}
}

// document requires team in namespace default.
func document() verifier.Document {
	return verifier.Document{
		Authorities: []verifier.AuthoritySpec{{Namespace: "default", Name: "team", Keys: []verifier.KeySpec{{PEM: publicPEM(team())}}}},
		Policies:    []verifier.PolicySpec{{Namespace: "default", Name: "only-team", AuthorityNames: []string{"team"}}},
	}
}

// fixed are rules that a test sets.
type fixed struct {
	mu    sync.Mutex
	rules verifier.Rules
	err   error
}

func (f *fixed) Rules() (verifier.Rules, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rules, f.err
}

func (f *fixed) set(doc verifier.Document) *fixed {
	set, _ := verifier.Compile(doc)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules, f.err = verifier.Rules{Cluster: set}, nil
	return f
}

// source has attestations that a test gives it.
type source struct {
	mu    sync.Mutex
	asked map[string]int
	// told are those questions that said that what was known did not do.
	told map[string]int
	by   map[string][]verifier.Attestation
	err  error
	// fails are errors about one image.
	fails map[string]error
	// block, if not nil, holds every question up until it is closed or the context ends.
	block chan struct{}
}

func (s *source) Name() string { return "test source" }

func (s *source) Attestations(ctx context.Context, repository string, d verifier.Digest) ([]verifier.Attestation, error) {
	s.mu.Lock()
	if s.asked == nil {
		s.asked, s.told = map[string]int{}, map[string]int{}
	}
	s.asked[repository+"@"+string(d)]++
	if attestations.IsInsufficient(ctx) {
		s.told[repository+"@"+string(d)]++
	}
	block := s.block
	s.mu.Unlock()
	if block != nil {
		select {
		case <-block:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.by[repository+"@"+string(d)], cmp.Or(s.err, s.fails[repository+"@"+string(d)])
}

func (s *source) attest(images ...string) *source {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by == nil {
		s.by = map[string][]verifier.Attestation{}
	}
	for _, i := range images {
		repository, d, _ := strings.Cut(i, "@")
		s.by[i] = []verifier.Attestation{attestation(repository, verifier.Digest(d))}
	}
	return s
}

func (s *source) count(image string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[image]
}

// resolver knows what references mean.
type resolver struct {
	mu    sync.Mutex
	means map[string]registry.Image
	err   error
	asked int
	block chan struct{}
}

func (r *resolver) Resolve(ctx context.Context, ref verifier.Reference) (registry.Image, error) {
	r.mu.Lock()
	r.asked++
	i, ok := r.means[ref.Name()]
	err, block := r.err, r.block
	r.mu.Unlock()
	if block != nil {
		select {
		case <-block:
		case <-ctx.Done():
			return registry.Image{}, ctx.Err()
		}
	}
	if err == nil && !ok {
		err = errors.New("no such image")
	}
	return i, err
}

// recorder remembers events.
type recorder struct {
	mu     sync.Mutex
	events []Event
	err    error
}

func (r *recorder) Record(_ context.Context, e Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
	return r.err
}

func (r *recorder) all() []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.events
}

// writeCertificate writes a self-signed pair for 127.0.0.1 and returns the files, and the certificate.
func writeCertificate(t testing.TB, dir string, serial int64) (certFile, keyFile string, parsed *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "kritis"}, DNSNames: []string{"kritis.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	for path, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if parsed, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return certFile, keyFile, parsed
}

// lines is a log that a test reads.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
