package v1beta1

import "time"

// Group and version of the kinds, and the kinds.
const (
	Group      = "kritis.grafeas.io"
	Version    = "v1beta1"
	APIVersion = Group + "/" + Version

	KindAuthority = "AttestationAuthority"
	KindPolicy    = "GenericAttestationPolicy"
	KindAllowlist = "AdmissionAllowlist"
)

// TypeMeta says what an object is.
type TypeMeta struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
}

// ObjectMeta says which object it is.
type ObjectMeta struct {
	Name        string            `json:"name"`
	Namespace   string            `json:"namespace,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// AttestationAuthority is a name and public keys. Security Center calls it a witness. Namespaced.
type AttestationAuthority struct {
	TypeMeta   `json:",inline"`
	ObjectMeta `json:"metadata"`
	Spec       AuthoritySpec `json:"spec"`
}

// AuthoritySpec has either the ACK form (publicKeyData) or the upstream form (publicKeys).
type AuthoritySpec struct {
	// NoteReference is where attestations are found: "namespaces/<name>", or upstream "projects/<p>/notes/<n>".
	NoteReference string `json:"noteReference,omitempty"`

	// PublicKeyData is the base64 of a PEM public key.
	PublicKeyData string `json:"publicKeyData,omitempty"`
	// PublicKeyID is the KMS key's ID.
	PublicKeyID string `json:"publicKeyId,omitempty"`
	// Algorithm restricts, or for other keys than RSA-2048 names, the signature algorithm of PublicKeyData, as KMS
	// calls it: RSA_PKCS1_SHA_256, say. Ours.
	Algorithm string `json:"algorithm,omitempty"`

	PublicKeys []PublicKey `json:"publicKeys,omitempty"`

	// RepositoryBound refuses attestations that name a digest but no repository. Ours.
	RepositoryBound bool `json:"repositoryBound,omitempty"`
}

// Types of upstream's public keys.
const (
	KeyTypePGP  = "PGP"
	KeyTypePKIX = "PKIX"
)

// PublicKey is a key in upstream's form.
type PublicKey struct {
	KeyID   string `json:"keyId,omitempty"`
	KeyType string `json:"keyType"`
	// ASCIIArmoredPGPPublicKey goes with KeyTypePGP. Such keys are not supported, and said so by name.
	ASCIIArmoredPGPPublicKey string `json:"asciiArmoredPgpPublicKey,omitempty"`
	// PKIXPublicKey goes with KeyTypePKIX.
	PKIXPublicKey *PKIXPublicKey `json:"pkixPublicKey,omitempty"`
}

// PKIXPublicKey is a PEM public key and the one algorithm it is used with.
type PKIXPublicKey struct {
	PublicKeyPEM       string `json:"publicKeyPem"`
	SignatureAlgorithm string `json:"signatureAlgorithm,omitempty"`
}

// GenericAttestationPolicy says which authorities must attest in its namespace. Namespaced.
type GenericAttestationPolicy struct {
	TypeMeta   `json:",inline"`
	ObjectMeta `json:"metadata"`
	Spec       PolicySpec `json:"spec"`
}

// PolicySpec is the same in both forms.
type PolicySpec struct {
	AttestationAuthorityNames  []string      `json:"attestationAuthorityNames,omitempty"`
	AdmissionAllowlistPatterns []NamePattern `json:"admissionAllowlistPatterns,omitempty"`
	// TagPolicy is "Reject" (also when empty) or "Resolve". Ours.
	TagPolicy string `json:"tagPolicy,omitempty"`
	// DryRun lets failing requests through, loudly. Ours.
	DryRun bool `json:"dryRun,omitempty"`
}

// NamePattern is a pattern of a policy's own.
type NamePattern struct {
	NamePattern string `json:"namePattern"`
}

// AdmissionAllowlist are patterns of images that need no attestation. Cluster-scoped.
type AdmissionAllowlist struct {
	TypeMeta   `json:",inline"`
	ObjectMeta `json:"metadata"`
	Spec       AllowlistSpec `json:"spec"`
}

// AllowlistSpec is a list of patterns.
type AllowlistSpec struct {
	Patterns []AllowPattern `json:"patterns,omitempty"`
}

// AllowPattern is one pattern of an AdmissionAllowlist.
type AllowPattern struct {
	NamePattern string `json:"namePattern"`
	// Namespace restricts the pattern to one namespace. Empty means all.
	Namespace string `json:"namespace,omitempty"`
	// Expires ends the pattern at that moment (RFC 3339). Ours.
	Expires *time.Time `json:"expires,omitempty"`
	// Reason says for people why the pattern is there. Ours.
	Reason string `json:"reason,omitempty"`
}
