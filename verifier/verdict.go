package verifier

import (
	"fmt"
	"time"
)

// Outcome is what was found out about an image. The zero value denies.
type Outcome uint8

const (
	// Denied means that everything needed was at hand, and the image may not run.
	Denied Outcome = iota
	// CouldNotTell means that no verdict was possible (outage, timeout, unreadable state): denied, but never recorded as
	// "not attested", and worth another try.
	CouldNotTell
	// Allowed means that the image may run.
	Allowed
)

// String returns "denied", "could not tell" or "allowed".
func (o Outcome) String() string {
	switch o {
	case Allowed:
		return "allowed"
	case CouldNotTell:
		return "could not tell"
	default:
		return "denied"
	}
}

// MarshalText makes outcomes readable in JSON.
func (o Outcome) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText reads what MarshalText wrote, for verdicts that travel between processes. Other words are an error.
func (o *Outcome) UnmarshalText(text []byte) error {
	for _, known := range []Outcome{Denied, CouldNotTell, Allowed} {
		if string(text) == known.String() {
			*o = known
			return nil
		}
	}
	*o = Denied
	return fmt.Errorf(errOutcome, brief(string(text), maxName))
}

// Reason is the one word for why. It is used in logs, events and metric labels, so the set is closed.
type Reason string

// Reasons of Allowed.
const (
	NoPolicy    Reason = "NoPolicy"
	AllowListed Reason = "AllowListed"
	Attested    Reason = "Attested"
	// Bootstrapping: no policy has arrived yet, and the floor exempts the namespace until then.
	Bootstrapping Reason = "Bootstrapping"
)

// Reasons of Denied.
const (
	NotAttested      Reason = "NotAttested"
	TagReference     Reason = "TagReference"
	DigestMismatch   Reason = "DigestMismatch"
	InvalidReference Reason = "InvalidReference"
	// NoPolicyDenied: the floor denies namespaces that have no policy.
	NoPolicyDenied Reason = "NoPolicyDenied"
	// RuntimeHandler: the floor does not list the pod's runtime handler.
	RuntimeHandler Reason = "RuntimeHandler"
	// Checkpoint: a restored checkpoint does not run what its image says.
	Checkpoint Reason = "Checkpoint"
)

// Reasons of CouldNotTell.
const (
	NoSnapshot    Reason = "NoSnapshot"
	SourceFailed  Reason = "SourceFailed"
	RuntimeFailed Reason = "RuntimeFailed"
	Internal      Reason = "Internal"
)

// Verdict is the truth about one image in one namespace. Dry run does not change it: see Admits.
type Verdict struct {
	Outcome Outcome `json:"outcome"`
	Reason  Reason  `json:"reason"`
	// Detail says why in the words of a person and what to do next, in one line, without the image's name.
	Detail string `json:"detail,omitempty"`
	// DryRun is true when the image fails and dry run lets it pass: dry run is on globally, or in every policy of the
	// namespace, for whatever fails (the floor's failures answer to the floor's own dry run only).
	DryRun bool `json:"dryRun,omitempty"`
	// Policies is the evidence: every policy of the namespace that was looked at, in order of name, the floor's first.
	Policies []PolicyResult `json:"policies,omitempty"`
	// Omitted is the number of policies that were looked at and are not in Policies, because there were too many.
	Omitted int `json:"omitted,omitempty"`
	// AllowedBy is the allow-list pattern that admitted the image, if one did.
	AllowedBy *AllowMatch `json:"allowedBy,omitempty"`
}

// Admits says whether the container may start. This is the one place where dry run is applied.
func (v Verdict) Admits() bool { return v.Outcome == Allowed || v.DryRun }

// AllowMatch names the allow-list entry that applied.
type AllowMatch struct {
	// Object is "AdmissionAllowlist acs" or "GenericAttestationPolicy default/prod".
	Object  string `json:"object"`
	Pattern string `json:"pattern"`
	Reason  string `json:"reason,omitempty"`
	// Expires is when the entry ends to apply; zero if it does not: an entry that does is a break-glass.
	Expires time.Time `json:"expires,omitzero"`
}

func (m *AllowMatch) endsBefore(other *AllowMatch) bool {
	return !m.Expires.IsZero() && (other.Expires.IsZero() || m.Expires.Before(other.Expires))
}

// PolicyResult is what became of one policy.
type PolicyResult struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Floor says whether the policy is the floor's. Namespace is then the pattern that covers the request's.
	Floor       bool              `json:"floor,omitempty"`
	Satisfied   bool              `json:"satisfied"`
	Authorities []AuthorityResult `json:"authorities,omitempty"`
	// Omitted is the number of authorities that were asked and are not in Authorities, because there were too many.
	Omitted int `json:"omitted,omitempty"`
	// Why says why the policy could not be satisfied apart from its authorities: it names none, say.
	Why string `json:"why,omitempty"`
}

// AuthorityResult is what one authority says of the image. The fields after Attested are set only if it attests.
type AuthorityResult struct {
	Name     string `json:"name"`
	Attested bool   `json:"attested"`
	// KeyID and Fingerprint are those of the key whose signature was verified. Fingerprint is "SHA256:" and the
	// base64 of the SHA-256 of the DER encoded public key.
	KeyID       string `json:"keyId,omitempty"`
	Fingerprint string `json:"fingerprint,omitempty"`
	Algorithm   string `json:"algorithm,omitempty"`
	Digest      Digest `json:"digest,omitempty"`
	Format      Format `json:"format,omitempty"`
	// Source is where the attestation came from, as its supplier says.
	Source string `json:"source,omitempty"`
	// RepositoryBound says whether the signed statement names the repository or only the digest.
	RepositoryBound bool `json:"repositoryBound,omitempty"`
	// Why says why the authority does not attest, if no attempt can: it does not exist, it has no usable key.
	Why string `json:"why,omitempty"`
	// Attempts are the attestations that were looked at and did not count, oldest first, bounded by MaxAttempts.
	Attempts []Attempt `json:"attempts,omitempty"`
}

// Attempt is one attestation that did not count.
type Attempt struct {
	Digest Digest `json:"digest"`
	Format Format `json:"format"`
	Source string `json:"source,omitempty"`
	// Check is the check that failed: "format", "type", "repository", "digest", "key", "signature", "bound".
	Check string `json:"check"`
	Why   string `json:"why"`
}
