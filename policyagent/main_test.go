package policyagent

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kritis-node/kritis-node/policyagent/attestations"
	"github.com/kritis-node/kritis-node/policyagent/nodestate"
	"github.com/kritis-node/kritis-node/verifier"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testRepository = "registry.example/team/app"

var testKey = key{testRepository, digest('a')}

func digest(c byte) verifier.Digest {
	return verifier.Digest("sha256:" + strings.Repeat(string(c), 64))
}

// source is a source that a test controls.
type source struct {
	mu    sync.Mutex
	asked []key
	give  func(ctx context.Context, k key) ([]verifier.Attestation, error)
}

func (s *source) Name() string { return "test source" }

func (s *source) Attestations(ctx context.Context, repository string, d verifier.Digest) ([]verifier.Attestation, error) {
	s.mu.Lock()
	s.asked = append(s.asked, key{repository, d})
	give := s.give
	s.mu.Unlock()
	return give(ctx, key{repository, d})
}

// gives makes the source return attestations with these payloads, and an error unless it is empty.
func (s *source) gives(failure string, payloads ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.give = func(context.Context, key) ([]verifier.Attestation, error) {
		var found []verifier.Attestation
		for _, p := range payloads {
			found = append(found, verifier.Attestation{Format: verifier.FormatKritis, Payload: []byte(p)})
		}
		if failure != "" {
			return found, errors.New(failure)
		}
		return found, nil
	}
}

func (s *source) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked)
}

// policies is a source of policies that a test feeds.
type policies struct {
	changes  chan policyChange
	problems []verifier.Problem
}

type policyChange struct {
	document verifier.Document
	problems []verifier.Problem
	err      error
	done     chan struct{}
}

func newPolicies() *policies { return &policies{changes: make(chan policyChange)} }

func (p *policies) Name() string { return "test policies" }

func (p *policies) Problems() []verifier.Problem { return p.problems }

func (p *policies) Watch(ctx context.Context, onChange func(verifier.Document, []string, error)) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case c := <-p.changes:
			p.problems = c.problems
			onChange(c.document, nil, c.err)
			close(c.done)
		}
	}
}

// say returns when the agent has dealt with it.
func (p *policies) say(document verifier.Document, err error) {
	p.sayAll(policyChange{document: document, err: err})
}

func (p *policies) sayAll(c policyChange) {
	c.done = make(chan struct{})
	p.changes <- c
	<-c.done
}

func document(name string) verifier.Document {
	return verifier.Document{Policies: []verifier.PolicySpec{{Namespace: "default", Name: name, AuthorityNames: []string{"qa"}}}}
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

type fixture struct {
	*Agent
	source   *source
	policies *policies
	logs     *safeBuffer
	stop     func()
}

// testConfig returns a configuration in a folder.
func testConfig(dir string) (Config, *source, *policies, *safeBuffer) {
	s, p, logs := &source{}, newPolicies(), &safeBuffer{}
	s.gives("")
	return Config{
		StateDir: dir + "/state", Socket: dir + "/s", Policies: p, Sources: []attestations.Source{s},
		Logger: slog.New(slog.NewTextHandler(logs, nil)), Version: "v1",
	}, s, p, logs
}

// start runs an agent until the test ends or stop is called.
func start(t *testing.T, dir string, change ...func(*Config)) *fixture {
	t.Helper()
	c, s, p, logs := testConfig(dir)
	for _, f := range change {
		f(&c)
	}
	a, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- a.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(stop)
	return &fixture{a, s, p, logs, stop}
}

// ask fetches in the process.
func (f *fixture) ask(t *testing.T, again bool) []string {
	t.Helper()
	resp, err := f.Fetch(t.Context(), nodestate.FetchRequest{Repository: testKey.repository, Digests: []verifier.Digest{testKey.digest}, Again: again})
	if err != nil {
		t.Fatal(err)
	}
	return resp.Failures
}

// record returns the record's payloads and failures, joined.
func (f *fixture) record(t *testing.T) (payloads, failures string) {
	t.Helper()
	r, err := f.state.Attestations(testKey.repository, testKey.digest)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, a := range r.Attestations {
		all = append(all, string(a.Payload))
	}
	return strings.Join(all, ","), strings.Join(r.Failures, ",")
}

// within fails a test that hangs, in real time.
const within = 20 * time.Second
