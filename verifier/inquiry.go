package verifier

import (
	"errors"
	"fmt"
)

// Limits of one decision. What lies beyond them is not held against the image: nobody looked.
const (
	// MaxDigests is the number of digests under which the content of one image is looked up.
	MaxDigests = 16
	// MaxVerifications is the number of signature checks. A check costs some 20 µs per algorithm.
	MaxVerifications = 1024
	// MaxTotalPayload is the size in bytes of all payloads together.
	MaxTotalPayload = 2 << 20
	// MaxEvidence is the number of results and attempts that the floor's evidence, or the cluster's, has in a verdict. What
	// satisfied a policy has its own room, of maxResults authorities.
	MaxEvidence = 256
	maxResults  = 64
)

// state is what is known of an authority's or a policy's approval, in order: the weakest decides. The zero value is
// the certain no.
type state uint8

const (
	doesNot state = iota
	mayAttest
	attests
)

// inquiry is one decision under way. It remembers every answer, so that floor and cluster, policies and authorities
// share them.
type inquiry struct {
	req          Request
	isRead       bool
	ref          Reference
	refErr       error
	content      Content
	attestations Attestations
	// handlerRefused: the pod's runtime handler may not run where a policy applies.
	handlerRefused bool

	isNamed   *answer[bool]
	foundAt   *answer[[]Digest]
	lookups   map[Digest]*lookup
	asked     map[*authority]authorityAnswer
	verified  int
	payload   int
	attempts  int
	exhausted error
}

type answer[T any] struct {
	value T
	err   error
}

// lookup is what is known about one digest of the repository.
type lookup struct {
	statements []statement
	// incomplete says why there may be more than the statements. Nil: that is all.
	incomplete error
}

func newInquiry(req Request, content Content, attestations Attestations) *inquiry {
	return &inquiry{req: req, content: content, attestations: attestations,
		lookups: map[Digest]*lookup{}, asked: map[*authority]authorityAnswer{}}
}

// read reads the image's name. Everything else is asked only once it could be read.
func (q *inquiry) read() error {
	if !q.isRead {
		q.isRead = true
		q.ref, q.refErr = ParseReference(q.req.Image)
	}
	return q.refErr
}

func (q *inquiry) named() (bool, error) {
	if q.isNamed == nil {
		value, err := q.content.Named(q.ref)
		q.isNamed = &answer[bool]{value, err}
	}
	return q.isNamed.value, q.isNamed.err
}

func (q *inquiry) digests() ([]Digest, error) {
	if q.foundAt == nil {
		q.foundAt = &answer[[]Digest]{}
		q.foundAt.value, q.foundAt.err = q.findDigests()
	}
	return q.foundAt.value, q.foundAt.err
}

func (q *inquiry) findDigests() ([]Digest, error) {
	found, err := q.content.Digests(q.ref)
	if err != nil {
		return nil, err
	}
	for _, d := range found {
		if _, err := ParseDigest(string(d)); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// lookup asks for the attestations of a digest, once.
func (q *inquiry) lookup(digest Digest) *lookup {
	l, ok := q.lookups[digest]
	if !ok {
		l = q.ask(digest)
		q.lookups[digest] = l
	}
	return l
}

func (q *inquiry) ask(digest Digest) *lookup {
	if len(q.lookups) >= MaxDigests {
		return &lookup{incomplete: fmt.Errorf(errDigestsMany, MaxDigests)}
	}
	found, err := q.attestations.Attestations(q.ref.Repository, digest)
	l := &lookup{incomplete: err}
	for i, a := range found {
		if i == MaxAttestations {
			l.incomplete = errors.Join(err, fmt.Errorf(errAttestationsMany, MaxAttestations))
			break
		}
		if len(a.Payload) <= MaxPayload {
			q.payload += len(a.Payload)
		}
		if q.payload > MaxTotalPayload {
			l.incomplete = errors.Join(err, fmt.Errorf(errPayloadTotal, MaxTotalPayload))
			break
		}
		s := readStatement(a, q.ref.Repository, digest)
		if s.unread && l.incomplete == nil {
			l.incomplete = fmt.Errorf(errAttestationUnread, s.failed.why)
		}
		l.statements = append(l.statements, s)
	}
	return l
}

// trouble is the first reason why not everything could be looked at.
func (q *inquiry) trouble() string {
	digests, _ := q.digests()
	for _, d := range digests {
		if l := q.lookups[d]; l != nil && l.incomplete != nil {
			return l.incomplete.Error()
		}
	}
	if q.exhausted != nil {
		return q.exhausted.Error()
	}
	return ""
}
