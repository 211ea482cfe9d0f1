package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Group and version of the kinds, and the kinds.
const (
	Group      = "kritis.grafeas.io"
	Version    = "v1beta1"
	APIVersion = Group + "/" + Version

	KindAuthority = "AttestationAuthority"
	KindPolicy    = "GenericAttestationPolicy"
	KindAllowlist = "AdmissionAllowlist"
)

// Values of PolicySpec.TagPolicy. Empty is TagPolicyReject.
const (
	TagPolicyReject  = "Reject"
	TagPolicyResolve = "Resolve"
)

// GenericAttestationPolicy says which authorities must attest the images of its namespace.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=genericattestationpolicies,shortName=gap,categories=kritis
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Authorities",type=string,JSONPath=`.spec.attestationAuthorityNames`
// +kubebuilder:printcolumn:name="DryRun",type=boolean,JSONPath=`.spec.dryRun`
// +kubebuilder:printcolumn:name="Tags",type=string,priority=1,JSONPath=`.spec.tagPolicy`
type GenericAttestationPolicy struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata"`
	// +optional
	Spec PolicySpec `json:"spec"`
	// +optional
	Status PolicyStatus `json:"status,omitzero"`
}

// PolicySpec is the same in both forms.
//
// +kubebuilder:pruning:PreserveUnknownFields
type PolicySpec struct {
	// Authorities of this namespace; all of them must attest an image.
	//
	// +optional
	AttestationAuthorityNames []string `json:"attestationAuthorityNames,omitempty"`
	// Patterns of images that this policy lets run without attestation.
	//
	// +optional
	AdmissionAllowlistPatterns []NamePattern `json:"admissionAllowlistPatterns,omitempty"`
	// What becomes of images named by tag. Reject (also when absent): they are denied. Resolve: the digest that would
	// run on the node decides.
	//
	// +optional
	// +kubebuilder:validation:Enum="";Reject;Resolve
	TagPolicy string `json:"tagPolicy,omitempty"`
	// Let images that fail run all the same, and say so in events, metrics and logs.
	//
	// +optional
	DryRun bool `json:"dryRun,omitempty"`
}

// NamePattern is a pattern of a policy's own.
//
// +kubebuilder:pruning:PreserveUnknownFields
type NamePattern struct {
	// The name of an image as pods write it. At the end, * stands for any characters but /; elsewhere for letters,
	// digits, - and _.
	//
	// +optional
	NamePattern string `json:"namePattern"`
}

// AdmissionAllowlist holds patterns of images that need no attestation.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=admissionallowlists,scope=Cluster,shortName=aal,categories=kritis
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Patterns",type=string,priority=1,JSONPath=`.spec.patterns`
type AdmissionAllowlist struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata"`
	// +optional
	Spec AllowlistSpec `json:"spec"`
	// +optional
	Status AllowlistStatus `json:"status,omitzero"`
}

// AllowlistSpec is a list of patterns.
//
// +kubebuilder:pruning:PreserveUnknownFields
type AllowlistSpec struct {
	// +optional
	Patterns []AllowPattern `json:"patterns,omitempty"`
}

// AllowPattern is one pattern of an AdmissionAllowlist.
//
// +kubebuilder:pruning:PreserveUnknownFields
type AllowPattern struct {
	// The name of an image as pods write it. At the end, * stands for any characters but /; elsewhere for letters,
	// digits, - and _.
	//
	// +optional
	NamePattern string `json:"namePattern"`
	// The one namespace in which the pattern counts; all if absent.
	//
	// +optional
	Namespace string `json:"namespace,omitempty"`
	// From this moment on (RFC 3339) the pattern allows nothing; never if absent.
	//
	// +optional
	Expires *metav1.Time `json:"expires,omitempty"`
	// Why the pattern is there, for people.
	//
	// +optional
	Reason string `json:"reason,omitempty"`
}

// GenericAttestationPolicyList is a list of policies.
//
// +kubebuilder:object:root=true
type GenericAttestationPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`
	Items           []GenericAttestationPolicy `json:"items"`
}

// AdmissionAllowlistList is a list of allow-lists.
//
// +kubebuilder:object:root=true
type AdmissionAllowlistList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`
	Items           []AdmissionAllowlist `json:"items"`
}
