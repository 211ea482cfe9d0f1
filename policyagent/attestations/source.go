package attestations

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/kritis-node/kritis-node/verifier"
)

// Source supplies attestations.
type Source interface {
	// Name says for people which source this is: "registry", say.
	Name() string
	// Attestations returns what the source has about a digest of a repository. An error means that it could not find
	// out everything: what is returned beside it counts, but is not known to be all. Errors are text for people
	// in one line and hold no credentials.
	Attestations(ctx context.Context, repository string, d verifier.Digest) ([]verifier.Attestation, error)
}

type insufficientKey struct{}

// Insufficient marks a question to sources: what they said last did not suffice. A source that answers from what somebody
// asked before looks again then; others need not care.
func Insufficient(ctx context.Context) context.Context {
	return context.WithValue(ctx, insufficientKey{}, true)
}

// IsInsufficient says whether Insufficient marked the question.
func IsInsufficient(ctx context.Context) bool {
	marked, _ := ctx.Value(insufficientKey{}).(bool)
	return marked
}

// MaxBytes bounds what all attestations of one repository and digest weigh together, see List. As JSON they then stay
// below nodestate.MaxRecordSize, because base64 makes 4 bytes of 3.
const MaxBytes = 5 << 20

// MaxText is the length of what attestations carry for people: a key's ID, a source.
const MaxText = 512

// Errors of List.Add. What was added before stays.
var (
	errMany = fmt.Errorf("there are more than %d attestations: remove old ones", verifier.MaxAttestations)
	errBig  = fmt.Errorf("the attestations have more than %d bytes together: remove old ones", MaxBytes)
	errText = fmt.Errorf("an attestation has a key ID or a source of more than %d bytes: sign with a shorter one", MaxText)
	errSize = fmt.Errorf("an attestation has more than %d bytes: it is not one of an image", verifier.MaxPayload)
	errSigs = fmt.Errorf("an attestation has more than %d signatures: split it", verifier.MaxSignatures)
)

// List collects attestations within the limits, and each one once. The zero value is an empty list.
type List struct {
	items []verifier.Attestation
	bytes int
	seen  map[[sha256.Size]byte]struct{}
}

// Add adds an attestation, or says which limit it exceeds.
func (l *List) Add(a verifier.Attestation) error {
	weight, err := weigh(a)
	if err != nil {
		return err
	}
	id, err := identify(a)
	if err != nil {
		return err
	}
	if _, twice := l.seen[id]; twice {
		return nil
	}
	if len(l.items) == verifier.MaxAttestations {
		return errMany
	}
	if l.bytes+weight > MaxBytes {
		return errBig
	}
	if l.seen == nil {
		l.seen = map[[sha256.Size]byte]struct{}{}
	}
	l.seen[id] = struct{}{}
	l.items = append(l.items, a)
	l.bytes += weight
	return nil
}

// Items returns what was added, in that order.
func (l *List) Items() []verifier.Attestation { return l.items }

// weigh returns an upper bound of three quarters of an attestation's size in JSON.
func weigh(a verifier.Attestation) (int, error) {
	const (
		overhead = 96 // names of members and punctuation
		escape   = 6  // bytes of JSON for one byte of text, at worst
	)
	switch {
	case len(a.Payload) > verifier.MaxPayload:
		return 0, errSize
	case len(a.Signatures) > verifier.MaxSignatures:
		return 0, errSigs
	case len(a.Source) > MaxText:
		return 0, errText
	}
	weight := overhead + len(a.Payload) + escape*len(a.Source)
	for _, s := range a.Signatures {
		if len(s.KeyID) > MaxText {
			return 0, errText
		}
		if len(s.Value) > verifier.MaxPayload {
			return 0, errSize
		}
		weight += overhead + len(s.Value) + escape*len(s.KeyID)
	}
	return weight, nil
}

// identify hashes what makes two attestations the same. Where they were found does not: a mirror holds copies.
func identify(a verifier.Attestation) ([sha256.Size]byte, error) {
	a.Source = ""
	b, err := json.Marshal(a)
	if err != nil {
		return [sha256.Size]byte{}, errors.New("an attestation cannot be encoded: it is not one")
	}
	return sha256.Sum256(b), nil
}
