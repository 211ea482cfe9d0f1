// Package v1beta1 holds the kinds of kritis.grafeas.io/v1beta1. Attestation is ours: signed statements about a digest, and
// questions for more (attestation.go, statement.go). The other three are policy: AttestationAuthority, GenericAttestationPolicy and
// AdmissionAllowlist, in both forms that exist in the wild: that of grafeas/kritis ("upstream") and that of Alibaba
// Cloud's kritis-validation-hook ("ACK"). Manifests of either work unchanged. What is added is optional: dryRun and
// tagPolicy of a policy, repositoryBound and algorithm of an authority, expires and reason of a pattern.
//
// The types say what may be written; Document turns them into what verifier understands, in this one place. Whether keys
// and patterns can be used verifier says, by name, so that one bad key does not take the others with it.
//
// Nothing that kritis accepts is refused: the schemas of the CRDs, generated from these types into daemonset/chart/crds,
// validate what is ours alone, and keep unknown fields. What cannot be used is said in the status (status.go).
//
// +groupName=kritis.grafeas.io
// +kubebuilder:object:generate=true
package v1beta1
