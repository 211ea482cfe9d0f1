package v1beta1

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// KindAttestation is the kind that attestations of one digest are kept in, and ResourceAttestations its resource.
const (
	KindAttestation      = "Attestation"
	ResourceAttestations = "attestations"
)

// States of a RepositoryAnswer.
const (
	// AnswerComplete: the source answered. The statements are all that it has; there may be none.
	AnswerComplete = "Complete"
	// AnswerFailed: the source could not tell. What it said all the same is among the statements.
	AnswerFailed = "Failed"
	// AnswerNotCovered: the controller has no source for the repository.
	AnswerNotCovered = "NotCovered"
)

// Limits of an Attestation, so that etcd takes it (1.5 MiB with everything beside it): at worst 1.1 MiB. The markers below
// repeat them.
const (
	MaxStatements          = 50
	MaxStatementSignatures = 8
	MaxWanted              = 50
	// Bytes in base64.
	maxPayloadText, maxBundleText, maxSignatureText = 8 << 10, 16 << 10, 1 << 10
)

// LookInterval is how long the controller's last look for a repository and digest is good enough even for those for whom
// what it found did not suffice.
const LookInterval = 10 * time.Second

// LabelAsked marks objects that somebody made by asking.
const (
	LabelAsked      = "kritis.grafeas.io/attestation"
	LabelAskedValue = "asked"
)

// askerPrefix and fetcherPrefix begin the names of the field managers of questions and of what the controller fetched.
const (
	askerPrefix   = "kritis-asks-"
	fetcherPrefix = "kritis-controller-attestations-"
)

// AskerFor is the field manager of questions about a repository. Each has its own, so that no question takes another back.
func AskerFor(repository string) string { return askerPrefix + shortHash(repository) }

// FetcherFor is the field manager of statements that the controller fetched for a repository.
func FetcherFor(repository string) string { return fetcherPrefix + shortHash(repository) }

// IsProductManager says whether a field manager is one of ours: what it wrote can be fetched again.
func IsProductManager(manager string) bool {
	return strings.HasPrefix(manager, askerPrefix) || strings.HasPrefix(manager, fetcherPrefix)
}

func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:8])
}

// Attestation holds signed statements about one digest, and who waits for more. Statements prove themselves: whoever wrote
// them here is trusted for nothing.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=attestations,scope=Cluster,categories=kritis
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Repository",type=string,JSONPath=`.spec.wanted[0].repository`
// +kubebuilder:printcolumn:name="State",type=string,JSONPath=`.status.answers[0].state`
// +kubebuilder:printcolumn:name="Statements",type=integer,JSONPath=`.status.answers[0].statements`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.answers[0].message`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^sha256-[0-9a-f]{64}$')",message="the name is that of a digest: sha256- and 64 hexadecimal digits in lower case"
type Attestation struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata"`
	// +optional
	Spec AttestationSpec `json:"spec"`
	// +optional
	Status AttestationStatus `json:"status,omitzero"`
}

// AttestationSpec is what is known, and what is asked.
type AttestationSpec struct {
	// Signed statements about the digest.
	//
	// +optional
	// +listType=map
	// +listMapKey=id
	// +kubebuilder:validation:MaxItems=50
	Statements []Statement `json:"statements,omitempty"`
	// Repositories for which the controller shall look for statements.
	//
	// +optional
	// +listType=map
	// +listMapKey=repository
	// +kubebuilder:validation:MaxItems=50
	Wanted []Wanted `json:"wanted,omitempty"`
}

// Statement is one signed statement: a payload with detached signatures, or a bundle.
//
// +kubebuilder:validation:XValidation:rule="has(self.bundle) != has(self.serializedPayload) && has(self.bundle) != has(self.signatures)",message="a statement is either serializedPayload and signatures, or a bundle"
type Statement struct {
	// The first 16 hexadecimal digits of the SHA-256 of the statement: any other word would do, if it is the statement's own.
	//
	// +kubebuilder:validation:Pattern=`^[0-9a-f]{16}$`
	ID string `json:"id"`
	// What was signed, in base64: the payload of kritis or cosign.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=8192
	SerializedPayload []byte `json:"serializedPayload,omitempty"`
	// Signatures over it.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	Signatures []StatementSignature `json:"signatures,omitempty"`
	// A sigstore bundle, in base64.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=16384
	Bundle []byte `json:"bundle,omitempty"`
}

// StatementSignature is a detached signature.
type StatementSignature struct {
	// What the signer calls the key.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^[ !#-\[\]-~]*$`
	PublicKeyID string `json:"publicKeyId,omitempty"`
	// In base64.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Signature []byte `json:"signature"`
}

// Wanted says that somebody needs to know about a repository.
type Wanted struct {
	// As images are named, without tag and digest.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Repository string `json:"repository"`
	// By the clock of whoever asked last. The controller answers each moment once.
	AskedAt metav1.Time `json:"askedAt"`
	// What is known did not suffice: the controller looks again even if its last answer would hold for longer.
	//
	// +optional
	Insufficient bool `json:"insufficient,omitempty"`
}

// AttestationStatus is what the controller found.
type AttestationStatus struct {
	// +optional
	// +listType=map
	// +listMapKey=repository
	// +kubebuilder:validation:MaxItems=50
	Answers []RepositoryAnswer `json:"answers,omitempty"`
}

// RepositoryAnswer is what became of looking for statements about a repository.
type RepositoryAnswer struct {
	// +kubebuilder:validation:MaxLength=512
	Repository string `json:"repository"`
	// Where the controller looked.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Source string `json:"source,omitempty"`
	// +kubebuilder:validation:Enum=Complete;Failed;NotCovered
	State string `json:"state"`
	// How many statements it found.
	//
	// +optional
	Statements int `json:"statements"`
	// What failed, and what to do.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
	// The spec.wanted[].askedAt that this answers.
	AskedAt metav1.Time `json:"askedAt"`
	// When the controller looked.
	ObservedAt metav1.Time `json:"observedAt"`
	// Before that moment it does not look again, unless what it found did not suffice.
	NextAt metav1.Time `json:"nextAt"`
}

// AttestationList is a list of attestations.
//
// +kubebuilder:object:root=true
type AttestationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`
	Items           []Attestation `json:"items"`
}
