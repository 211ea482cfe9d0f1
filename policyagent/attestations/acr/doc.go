// Package acr finds the attestations that Alibaba Cloud's Container Registry, Enterprise Edition, keeps beside its images,
// where its signature rules put them; and temporary logins at its instances.
//
// It is experimental: the action behind it, ListMetadataOccurrences, is public as a right only. What it takes and answers
// is our guess, never checked against the real service. Nothing depends on the guess being right but that attestations are
// found: what is found proves itself by its signatures.
//
// An instance is known by the host of the image: NAME-registry.REGION.cr.aliyuncs.com, NAME-registry-vpc.REGION.…, and
// NAME.REGION.…; further hosts, of custom domains, are configured. Any region will do. A name of our account's instances
// only: that of another account's is "could not tell".
//
// An attestation names a repository with its host. To verifier an instance's public and VPC host are one name; any other
// pair, such as NAME.REGION.… or a custom domain, is not. The source asks for the name as the pod has it.
//
// The action has a quota of the account. So nodes of a cluster do not ask: the controller does, once for a digest and note, and keeps
// the answer in the cluster (kind Attestation).
package acr
