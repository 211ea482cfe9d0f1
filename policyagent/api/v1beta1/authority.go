package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AttestationAuthority is a name and public keys. Security Center calls it a witness.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=attestationauthorities,shortName=aa,categories=kritis
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Keys",type=string,JSONPath=`.status.keyFingerprints`
// +kubebuilder:printcolumn:name="Note",type=string,priority=1,JSONPath=`.spec.noteReference`
type AttestationAuthority struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata"`
	// +optional
	Spec AuthoritySpec `json:"spec"`
	// +optional
	Status AuthorityStatus `json:"status,omitzero"`
}

// AuthoritySpec has either the ACK form (publicKeyData) or the upstream form (publicKeys).
//
// Both at once is refused by the schema already: which of the keys may attest would be a guess. Manifests that work with
// either ancestor have one of them.
//
// +kubebuilder:pruning:PreserveUnknownFields
// +kubebuilder:validation:XValidation:rule="!has(self.publicKeys) || size(self.publicKeys) == 0 || !has(self.publicKeyData) || size(self.publicKeyData) == 0",message="publicKeyData and publicKeys are both set: write the keys in one form, all in publicKeys, say"
// +kubebuilder:validation:XValidation:rule="!has(self.algorithm) || size(self.algorithm) == 0 || !has(self.publicKeys) || size(self.publicKeys) == 0",message="algorithm goes with publicKeyData: with publicKeys, write signatureAlgorithm in each pkixPublicKey"
type AuthoritySpec struct {
	// Where attestations are found: "namespaces/<name>", or "projects/<project>/notes/<note>".
	//
	// +optional
	NoteReference string `json:"noteReference,omitempty"`

	// The base64 of a public key in PEM (BEGIN PUBLIC KEY).
	//
	// +optional
	PublicKeyData string `json:"publicKeyData,omitempty"`
	// The ID of the key in KMS.
	//
	// +optional
	PublicKeyID string `json:"publicKeyId,omitempty"`
	// The signature algorithm of publicKeyData as KMS calls it, such as RSA_PKCS1_SHA_256. RSA keys of 2048 bits need
	// none, others do.
	//
	// +optional
	Algorithm string `json:"algorithm,omitempty"`

	// Several keys, any of which may sign.
	//
	// +optional
	PublicKeys []PublicKey `json:"publicKeys,omitempty"`

	// Refuse attestations that name a digest but no repository.
	//
	// +optional
	RepositoryBound bool `json:"repositoryBound,omitempty"`
}

// Types of upstream's public keys.
const (
	KeyTypePGP  = "PGP"
	KeyTypePKIX = "PKIX"
)

// PublicKey is a key in upstream's form.
//
// +kubebuilder:pruning:PreserveUnknownFields
type PublicKey struct {
	// +optional
	KeyID string `json:"keyId,omitempty"`
	// PKIX. PGP keys are not supported, and the status says so.
	//
	// +optional
	KeyType string `json:"keyType"`
	// Goes with keyType PGP, which is not supported.
	//
	// +optional
	ASCIIArmoredPGPPublicKey string `json:"asciiArmoredPgpPublicKey,omitempty"`
	// Goes with keyType PKIX.
	//
	// +optional
	PKIXPublicKey *PKIXPublicKey `json:"pkixPublicKey,omitempty"`
}

// PKIXPublicKey is a PEM public key and the one algorithm it is used with.
//
// +kubebuilder:pruning:PreserveUnknownFields
type PKIXPublicKey struct {
	// A public key in PEM (BEGIN PUBLIC KEY).
	//
	// +optional
	PublicKeyPEM string `json:"publicKeyPem"`
	// Such as RSA_SIGN_PKCS1_2048_SHA256. RSA keys of 2048 bits need none, others do.
	//
	// +optional
	SignatureAlgorithm string `json:"signatureAlgorithm,omitempty"`
}

// AttestationAuthorityList is a list of authorities.
//
// +kubebuilder:object:root=true
type AttestationAuthorityList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`
	Items           []AttestationAuthority `json:"items"`
}
