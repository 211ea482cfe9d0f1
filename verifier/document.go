package verifier

import "time"

// Document is policy in plain strings, as its authors wrote it: the form in which policy travels between
// processes. Nothing in it has been checked; Compile does that.
type Document struct {
	Authorities []AuthoritySpec `json:"authorities,omitempty"`
	Policies    []PolicySpec    `json:"policies,omitempty"`
	Allowlist   []AllowSpec     `json:"allowlist,omitempty"`
	// DryRun lets every failing request through, loudly. It never changes a verdict, only what becomes of it.
	DryRun bool `json:"dryRun,omitempty"`
}

// AuthoritySpec is one AttestationAuthority.
type AuthoritySpec struct {
	Namespace     string    `json:"namespace"`
	Name          string    `json:"name"`
	NoteReference string    `json:"noteReference,omitempty"`
	Keys          []KeySpec `json:"keys,omitempty"`
	// RepositoryBound refuses attestations that name a digest but no repository (sigstore bundles).
	RepositoryBound bool `json:"repositoryBound,omitempty"`
}

// KeySpec is one public key of an authority.
type KeySpec struct {
	// ID is what attestations call the key (a KMS key ID, say). A hint for reading, never a proof.
	ID string `json:"id,omitempty"`
	// PEM is a PKIX public key ("BEGIN PUBLIC KEY"). Keys that cannot be used are kept here too, so that
	// Compile can say by name what is wrong with them.
	PEM string `json:"pem"`
	// Algorithms are the signature algorithms that this key may be used with. Empty: RSA_PKCS1_SHA_256 and
	// RSA_PSS_SHA_256 with a 2048 bit RSA key, and nothing else.
	Algorithms []string `json:"algorithms,omitempty"`
}

// PolicySpec is one GenericAttestationPolicy.
type PolicySpec struct {
	Namespace      string   `json:"namespace"`
	Name           string   `json:"name"`
	AuthorityNames []string `json:"authorityNames,omitempty"`
	// Allow are the policy's own allow-list patterns.
	Allow []string `json:"allow,omitempty"`
	// TagPolicy says what becomes of images named without a digest: "Reject" (also when empty) or "Resolve".
	TagPolicy string `json:"tagPolicy,omitempty"`
	DryRun    bool   `json:"dryRun,omitempty"`
}

// AllowSpec is one pattern of an AdmissionAllowlist.
type AllowSpec struct {
	// List is the name of the AdmissionAllowlist.
	List    string `json:"list,omitempty"`
	Pattern string `json:"pattern"`
	// Namespace restricts the pattern to one namespace; empty means all.
	Namespace string `json:"namespace,omitempty"`
	// Expires ends the pattern at that moment; zero means never.
	Expires time.Time `json:"expires,omitzero"`
	Reason  string    `json:"reason,omitempty"`
}

// Problem is something in a Document that cannot be used as written. The rest of the document stays in force; what
// the problem concerns attests, allows and satisfies nothing.
type Problem struct {
	// Object is "AttestationAuthority default/qa", say.
	Object string `json:"object"`
	// Field is the path of the field, such as "keys[0].pem".
	Field string `json:"field,omitempty"`
	// Code is a stable word for conditions and metrics, such as "KeyNotSupported" or "AuthorityMissing".
	Code string `json:"code"`
	// Text says what is wrong and what to do, in one line.
	Text string `json:"text"`
}
