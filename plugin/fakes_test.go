package plugin

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/kritis-node/kritis-node/policyagent/nodestate"
	"github.com/kritis-node/kritis-node/verifier"
)

// memoryStore stands in for containerd where a test needs stores that containerd would not make.
type memoryStore struct {
	blobs     map[verifier.Digest][]byte
	records   []imageRecord
	snapshots map[string]snapshot
	err       error // what every call fails with
	calls     atomic.Int64
}

func newMemoryStore() *memoryStore {
	return &memoryStore{blobs: map[verifier.Digest][]byte{}, snapshots: map[string]snapshot{}}
}

func (m *memoryStore) blob(_ context.Context, d verifier.Digest, maxSize int64) ([]byte, error) {
	m.calls.Add(1)
	data, ok := m.blobs[d]
	switch {
	case m.err != nil:
		return nil, m.err
	case !ok:
		return nil, errAbsent
	case int64(len(data)) > maxSize:
		return nil, errors.New("too large")
	}
	return data, nil
}

func (m *memoryStore) images(context.Context) ([]imageRecord, error) {
	m.calls.Add(1)
	return m.records, m.err
}

func (m *memoryStore) snapshot(_ context.Context, key string) (snapshot, error) {
	m.calls.Add(1)
	s, ok := m.snapshots[key]
	if m.err == nil && !ok {
		return snapshot{}, errAbsent
	}
	return s, m.err
}

// put adds a JSON document and returns its digest.
func (m *memoryStore) put(t testing.TB, doc any) verifier.Digest {
	t.Helper()
	data, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	d := verifier.Digest(digest.FromBytes(data))
	m.blobs[d] = data
	return d
}

type object = map[string]any

// image adds an image with one layer per name and returns the digests of manifest and config, and the chain ID.
func (m *memoryStore) image(t testing.TB, env string, layers ...string) (manifest, config verifier.Digest, chain string) {
	t.Helper()
	var ids []digest.Digest
	for _, l := range layers {
		ids = append(ids, digest.FromString(l))
	}
	config = m.put(t, object{"config": object{"Env": []string{env}}, "rootfs": object{"type": "layers", "diff_ids": ids}})
	manifest = m.put(t, object{"schemaVersion": 2, "config": object{"digest": config}, "layers": []any{}})
	c, err := newContents(m)
	if err != nil {
		t.Fatal(err)
	}
	if chain, err = c.chain(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	return manifest, config, chain
}

func (m *memoryStore) index(t testing.TB, children ...verifier.Digest) verifier.Digest {
	t.Helper()
	var list []object
	for _, c := range children {
		list = append(list, object{"digest": c})
	}
	return m.put(t, object{"schemaVersion": 2, "manifests": list})
}

// memoryRecords are attestation records in memory.
type memoryRecords struct {
	mu      sync.Mutex
	records map[string]nodestate.Record
}

func (m *memoryRecords) Attestations(repository string, d verifier.Digest) (nodestate.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.records[repository+"@"+string(d)]
	if !ok {
		return nodestate.Record{}, nodestate.ErrNotFound
	}
	return r, nil
}

func (m *memoryRecords) put(r nodestate.Record) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.records == nil {
		m.records = map[string]nodestate.Record{}
	}
	m.records[r.Repository+"@"+string(r.Digest)] = r
}

// agentFunc is a policy agent made of a function.
type agentFunc func(context.Context, nodestate.FetchRequest) (nodestate.FetchResponse, error)

func (f agentFunc) Fetch(ctx context.Context, r nodestate.FetchRequest) (nodestate.FetchResponse, error) {
	return f(ctx, r)
}

// signer is an authority's key.
type signer struct {
	key *rsa.PrivateKey
	pem string
}

func newSigner(t testing.TB) signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return signer{key, string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))}
}

// attest makes an attestation in cosign's classic form.
func (s signer) attest(t testing.TB, repository string, d verifier.Digest) verifier.Attestation {
	t.Helper()
	payload := fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":%q},"image":{"docker-manifest-digest":%q},"type":"cosign container image signature"},"optional":null}`, repository, d)
	hash := sha256.Sum256(payload)
	value, err := rsa.SignPKCS1v15(rand.Reader, s.key, crypto.SHA256, hash[:])
	if err != nil {
		t.Fatal(err)
	}
	return verifier.Attestation{Format: verifier.FormatCosign, Payload: payload, Signatures: []verifier.Signature{{Value: value}}, Source: "test"}
}

// bench is a decider with everything in memory, and namespace prod requiring the signer.
type testbed struct {
	*decider
	store   *memoryStore
	recs    *memoryRecords
	signer  signer
	writer  *nodestate.Writer
	fetched atomic.Int64
}

func newTestbed(t testing.TB, agent agentFunc) *testbed {
	t.Helper()
	b := &testbed{store: newMemoryStore(), recs: &memoryRecords{}, signer: newSigner(t)}
	dir := t.TempDir()
	var err error
	if b.writer, err = nodestate.Create(filepath.Join(dir, "state")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.writer.Close() })
	b.policy(t, 1, verifier.Document{
		Authorities: []verifier.AuthoritySpec{{Namespace: "prod", Name: "team", Keys: []verifier.KeySpec{{PEM: b.signer.pem}}}},
		Policies:    []verifier.PolicySpec{{Namespace: "prod", Name: "p", AuthorityNames: []string{"team"}}},
	})
	rules := newRuleStore(filepath.Join(dir, "state"), filepath.Join(dir, "floor.yaml"), nil, slog.New(slog.DiscardHandler))
	counting := agentFunc(func(ctx context.Context, r nodestate.FetchRequest) (nodestate.FetchResponse, error) {
		b.fetched.Add(1)
		if agent == nil {
			return nodestate.FetchResponse{}, errors.New("the agent is away")
		}
		return agent(ctx, r)
	})
	if b.decider, err = newDecider(b.store, b.recs, counting, 800*time.Millisecond, rules); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *testbed) policy(t testing.TB, generation uint64, doc verifier.Document) {
	t.Helper()
	if err := b.writer.WritePolicy(nodestate.Policy{Generation: generation, WrittenAt: time.Unix(int64(generation), 0), Document: doc}); err != nil {
		t.Fatal(err)
	}
}
