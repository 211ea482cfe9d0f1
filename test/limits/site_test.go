package limits

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kritis-node/kritis-node/policyagent"
	"github.com/kritis-node/kritis-node/policyagent/attestations"
	"github.com/kritis-node/kritis-node/policyagent/attestations/registry"
	"github.com/kritis-node/kritis-node/policyagent/nodestate"
	"github.com/kritis-node/kritis-node/verifier"
)

const (
	ociManifest   = "application/vnd.oci.image.manifest.v1+json"
	ociIndex      = "application/vnd.oci.image.index.v1+json"
	simpleSigning = "application/vnd.dev.cosign.simplesigning.v1+json"
	bundleType    = "application/vnd.dev.sigstore.bundle.v0.3+json"
)

var image = digestOf([]byte("an image"))

func digestOf(b []byte) verifier.Digest {
	return verifier.Digest(fmt.Sprintf("sha256:%x", sha256.Sum256(b)))
}

// site is an agent that runs, its client as the plugin has one, and two registries.
type site struct {
	client *nodestate.Client
	state  *nodestate.Reader
	rules  verifier.Rules
	key    *rsa.PrivateKey
	lying  *server
	honest *server
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{lying: newServer(t), honest: newServer(t)}
	var err error
	if s.key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(s.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	doc := verifier.Document{
		Authorities: []verifier.AuthoritySpec{{Namespace: "prod", Name: "team", Keys: []verifier.KeySpec{{PEM: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))}}}},
		Policies:    []verifier.PolicySpec{{Namespace: "prod", Name: "main", AuthorityNames: []string{"team"}}},
	}
	s.rules.Cluster, _ = verifier.Compile(doc)
	hosts := []registry.Host{{Host: s.lying.host(), PlainHTTP: true}, {Host: s.honest.host(), PlainHTTP: true}}
	source, err := registry.New(registry.Config{Hosts: hosts})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	agent, err := policyagent.New(policyagent.Config{
		StateDir: dir + "/state", Socket: dir + "/s", Policies: fixed{doc}, Sources: []attestations.Source{source}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- agent.Run(ctx) }()
	s.client = nodestate.NewClient(dir + "/s")
	t.Cleanup(func() {
		s.client.Close()
		cancel()
		if err := errors.Join(<-done, source.Close()); err != nil {
			t.Error(err)
		}
	})
	if s.state, err = nodestate.Open(dir + "/state"); err != nil {
		t.Fatal(err)
	}
	return s
}

// fixed is a source of one policy.
type fixed struct{ verifier.Document }

func (f fixed) Name() string { return "test" }

func (f fixed) Watch(ctx context.Context, onChange func(verifier.Document, []string, error)) error {
	onChange(f.Document, nil, nil)
	<-ctx.Done()
	return nil
}

// decide asks the agent as the plugin does, without its budget, and decides by what the state holds then.
func (s *site) decide(t *testing.T, repository string) verifier.Verdict {
	t.Helper()
	if _, err := s.client.Fetch(t.Context(), nodestate.FetchRequest{Repository: repository, Digests: []verifier.Digest{image}}); err != nil {
		t.Fatal(err)
	}
	return s.rules.Decide(verifier.Request{Namespace: "prod", Image: repository + "@" + string(image), Now: time.Now()}, here{}, s)
}

// Attestations implements verifier.Attestations as the plugin does.
func (s *site) Attestations(repository string, d verifier.Digest) ([]verifier.Attestation, error) {
	r, err := s.state.Attestations(repository, d)
	if err == nil && len(r.Failures) > 0 {
		err = errors.New(r.Failures[0])
	}
	return r.Attestations, err
}

// here is content that is what its digest says.
type here struct{}

func (here) Digests(r verifier.Reference) ([]verifier.Digest, error) {
	return []verifier.Digest{r.Digest}, nil
}
func (here) Named(verifier.Reference) (bool, error) { return false, nil }

// layer is a layer of cosign's classic form, with a signature by the key or by nobody.
func (s *site) layer(t *testing.T, payload []byte, valid bool) string {
	t.Helper()
	signature := make([]byte, 256)
	if valid {
		hash := sha256.Sum256(payload)
		var err error
		if signature, err = rsa.SignPKCS1v15(rand.Reader, s.key, crypto.SHA256, hash[:]); err != nil {
			t.Fatal(err)
		}
	} else {
		_, _ = rand.Read(signature)
	}
	return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d,"annotations":{"dev.cosignproject.cosign/signature":%q}}`,
		simpleSigning, digestOf(payload), len(payload), base64.StdEncoding.EncodeToString(signature))
}

func manifest(layers ...string) []byte {
	return []byte(`{"schemaVersion":2,"mediaType":"` + ociManifest + `","config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"` + string(digestOf([]byte("{}"))) +
		`","size":2},"layers":[` + strings.Join(layers, ",") + `]}`)
}

func payload(repository string) []byte {
	return fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":%q},"image":{"docker-manifest-digest":%q},"type":"cosign container image signature"},"optional":null}`, repository, image)
}

// server is a registry that answers what a test says, and counts what it could send.
type server struct {
	*httptest.Server
	mu             sync.Mutex
	answers        map[string]http.HandlerFunc
	sent, requests atomic.Int64
	open, mostOpen atomic.Int64
}

func newServer(t *testing.T) *server {
	s := &server{answers: map[string]http.HandlerFunc{"/v2/": func(http.ResponseWriter, *http.Request) {}}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		if n := s.open.Add(1); n > s.mostOpen.Load() {
			s.mostOpen.Store(n)
		}
		defer s.open.Add(-1)
		s.mu.Lock()
		answer := s.answers[r.URL.Path]
		s.mu.Unlock()
		if answer == nil {
			answer = http.NotFound
		}
		answer(counted{w, &s.sent}, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) host() string { return strings.TrimPrefix(s.URL, "http://") }

// on sets the answer for a path of a repository.
func (s *server) on(path string, answer http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers["/v2/"+path] = answer
}

// signed puts a classic signature manifest and its payload into a repository.
func (s *server) signed(path string, content []byte, layers ...string) {
	s.on(path+"/manifests/sha256-"+image.Hex()+".sig", body(ociManifest, manifest(layers...)))
	s.on(path+"/blobs/"+string(digestOf(content)), body("", content))
}

func body(mediaType string, b []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", mediaType)
		_, _ = w.Write(b)
	}
}

type counted struct {
	http.ResponseWriter
	sent *atomic.Int64
}

func (c counted) Write(b []byte) (int, error) {
	written := 0
	for len(b) > 0 { // by pieces, so that what was sent is known though the reader left
		n, err := c.ResponseWriter.Write(b[:min(len(b), 64<<10)])
		written += n
		c.sent.Add(int64(n))
		if err != nil {
			return written, err
		}
		b = b[n:]
	}
	return written, nil
}

func (c counted) Unwrap() http.ResponseWriter { return c.ResponseWriter }
