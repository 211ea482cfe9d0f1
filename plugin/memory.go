package plugin

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/kritis-node/kritis-node/verifier"
)

const (
	// decisionsKept bounds the memory for decisions: about 200 bytes each.
	decisionsKept = 20_000
	// evidenceKept bounds the distinct pieces of evidence: one for each way in which policies are satisfied.
	evidenceKept = 1024
	// denialsKept bounds the memory for denials, which are repeated for seconds only: those of the last seconds, however many there
	// were before. Of their evidence the first deniedResults authorities of the first policy are kept.
	denialsKept   = 1024
	deniedResults = 4
)

// decisionKey is a digest of everything that a decision depends on: with the names themselves, ten thousand
// decisions would take three times the memory.
type decisionKey [sha256.Size]byte

func keyOf(generation uint64, s *subject) decisionKey {
	buf := make([]byte, 0, 1024) // on the stack; longer names move it to the heap
	buf = binary.BigEndian.AppendUint64(buf, generation)
	for _, part := range [...]string{s.namespace, s.image, s.handler, string(s.bound.digest), string(s.bound.config),
		s.bound.below.parent, s.bound.below.uidMap, s.bound.below.gidMap} {
		buf = binary.AppendUvarint(buf, uint64(len(part)))
		buf = append(buf, part...)
	}
	return sha256.Sum256(buf)
}

// memory keeps decisions that can be repeated.
type memory struct {
	decisions *lru.Cache[decisionKey, *decision]
	denials   *lru.Cache[decisionKey, *decision]

	mu sync.Mutex
	// admitted are the decisions that many images share: policy, authority and key are the same for all of a team's.
	admitted *lru.Cache[[sha256.Size]byte, *decision]
}

func newMemory() (*memory, error) {
	decisions, err := lru.New[decisionKey, *decision](decisionsKept)
	if err != nil {
		return nil, err
	}
	denials, err := lru.New[decisionKey, *decision](denialsKept)
	if err != nil {
		return nil, err
	}
	admitted, err := lru.New[[sha256.Size]byte, *decision](evidenceKept)
	if err != nil {
		return nil, err
	}
	return &memory{decisions: decisions, denials: denials, admitted: admitted}, nil
}

// get returns a decision, or nil. It neither blocks for long nor allocates.
func (m *memory) get(key decisionKey, now time.Time) *decision {
	made, ok := m.decisions.Get(key)
	if !ok {
		made, ok = m.denials.Get(key)
	}
	if !ok || !made.expires.IsZero() && !now.Before(made.expires) {
		return nil
	}
	return made
}

// put keeps a decision. Of one that admits it keeps what does not differ from image to image: policy, authority, key.
// Digest and source of the attestation were told when it was made.
func (m *memory) put(key decisionKey, made *decision) {
	kept := *made
	if made.verdict.Outcome != verifier.Allowed {
		kept.verdict.Policies = few(made.verdict.Policies)
		m.decisions.Remove(key) // an older one that has expired
		m.denials.Add(key, &kept)
		return
	}
	kept.image, kept.chain = "", ""
	kept.verdict.Policies = plain(made.verdict.Policies)
	shared := m.shared(&kept)
	if !made.expires.IsZero() {
		kept.verdict = shared.verdict
		shared = &kept
	}
	m.decisions.Add(key, shared)
}

// few is what is kept of a denial's evidence, the beginning.
func few(policies []verifier.PolicyResult) []verifier.PolicyResult {
	if len(policies) == 0 {
		return nil
	}
	first := policies[0]
	n := min(len(first.Authorities), deniedResults)
	first.Omitted += len(first.Authorities) - n
	first.Authorities = first.Authorities[:n]
	return plain([]verifier.PolicyResult{first})
}

// shared returns the decision that stands for all with the same verdict under the same rules.
func (m *memory) shared(d *decision) *decision {
	text, err := json.Marshal(d.verdict)
	if err != nil {
		return d
	}
	id := sha256.Sum256(binary.BigEndian.AppendUint64(text, d.generation))
	m.mu.Lock()
	defer m.mu.Unlock()
	if have, ok := m.admitted.Get(id); ok {
		return have
	}
	m.admitted.Add(id, d)
	return d
}

// plain is evidence without what differs from image to image.
func plain(policies []verifier.PolicyResult) []verifier.PolicyResult {
	if len(policies) == 0 {
		return nil
	}
	result := make([]verifier.PolicyResult, len(policies))
	for i, p := range policies {
		result[i] = p
		result[i].Authorities = make([]verifier.AuthorityResult, len(p.Authorities))
		for j, a := range p.Authorities {
			a.Digest, a.Source, a.Attempts = "", "", nil
			result[i].Authorities[j] = a
		}
	}
	return result
}
