package verifier

import "fmt"

type authorityAnswer struct {
	result AuthorityResult
	state  state
}

// askAuthority looks for an attestation by the authority of any of the digests, in their order.
func (q *inquiry) askAuthority(a *authority, digests []Digest) (AuthorityResult, state) {
	if known, ok := q.asked[a]; ok {
		return known.result, known.state
	}
	result, state := q.searchAttestation(a, digests)
	q.asked[a] = authorityAnswer{result, state}
	return result, state
}

func (q *inquiry) searchAttestation(a *authority, digests []Digest) (AuthorityResult, state) {
	result := AuthorityResult{Name: a.name, Why: a.why}
	if a.why != "" || len(a.keys) == 0 {
		return result, doesNot
	}
	state := doesNot
	for _, digest := range digests {
		l := q.lookup(digest)
		for _, s := range l.statements {
			key, algorithm, failed, complete := q.tryStatement(a, s)
			if failed == nil {
				return AuthorityResult{Name: a.name, Attested: true, KeyID: key.ID(), Fingerprint: key.Fingerprint(),
					Algorithm: algorithm, Digest: digest, Format: s.format, Source: brief(s.source, maxSource),
					RepositoryBound: s.bound}, attests
			}
			if !complete {
				state = mayAttest
			}
			// The first of each authority is kept in any case: the verdict's detail tells it.
			if n := len(result.Attempts); n == 0 || n < MaxAttempts && q.attempts < MaxEvidence {
				q.attempts++
				result.Attempts = append(result.Attempts, Attempt{Digest: digest, Format: s.format,
					Source: brief(s.source, maxSource), Check: failed.check, Why: failed.why})
			}
		}
		if l.incomplete != nil {
			state = mayAttest
		}
	}
	if state == mayAttest && len(result.Attempts) == 0 {
		result.Why = whyUnknown
	}
	return result, state
}

// tryStatement says which key of the authority signed the statement, or which check failed. It is complete unless
// the limit of verifications cut it short.
func (q *inquiry) tryStatement(a *authority, s statement) (key Key, algorithm string, failed *failure, complete bool) {
	if s.failed != nil {
		return Key{}, "", s.failed, true
	}
	if a.repositoryBound && !s.bound {
		return Key{}, "", &failure{checkBound, whyBound}, true
	}
	claimed := false
	for _, signature := range s.signatures {
		for _, key := range inOrder(a.keys, signature.KeyID) {
			claimed = claimed || signature.KeyID == "" || key.goesBy(signature.KeyID)
			if q.verified == MaxVerifications {
				q.exhausted = fmt.Errorf(errVerificationsMany, MaxVerifications)
				return Key{}, "", &failure{checkSignature, whyExhausted}, false
			}
			q.verified++
			if algorithm, err := key.Verify(s.message, signature.Value); err == nil {
				return key, algorithm, nil, true
			}
		}
	}
	if !claimed {
		return Key{}, "", &failure{checkKey, why(whyKey, s.signatures[0].KeyID)}, true
	}
	return Key{}, "", &failure{checkSignature, whySignature}, true
}

// inOrder returns the keys with those that go by the name first.
func inOrder(keys []Key, name string) []Key {
	if len(keys) < 2 || name == "" {
		return keys
	}
	ordered := make([]Key, 0, len(keys))
	for _, k := range keys {
		if k.goesBy(name) {
			ordered = append(ordered, k)
		}
	}
	for _, k := range keys {
		if !k.goesBy(name) {
			ordered = append(ordered, k)
		}
	}
	return ordered
}
