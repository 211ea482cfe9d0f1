// Package v1beta1 holds the three kinds of kritis.grafeas.io/v1beta1: AttestationAuthority, GenericAttestationPolicy and
// AdmissionAllowlist, in both forms that exist in the wild: that of grafeas/kritis ("upstream") and that of Alibaba
// Cloud's kritis-validation-hook ("ACK"). Manifests of either work unchanged. What is added is optional: dryRun and
// tagPolicy of a policy, repositoryBound and algorithm of an authority, expires and reason of a pattern.
//
// The types say what may be written; Document turns them into what verifier understands, in this one place. Whether keys
// and patterns can be used verifier says, by name, so that one bad key does not take the others with it.
//
// Metadata is the part of Kubernetes' that matters here. With the cluster's client metav1.TypeMeta and
// metav1.ObjectMeta take its place.
package v1beta1
