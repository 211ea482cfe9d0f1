// Package attestations says what a source of attestations is, and bounds what sources return.
//
// The sources stand in folders of their own: registry (any OCI registry: cosign's classic signatures and sigstore
// bundles) and folder (files on the node). None of them is trusted: what they return proves itself by its signatures,
// and verifier checks them. A source has two duties only: not to be talked into reading without end, and to say so when
// it could not tell, because "there are none" denies an image for good and "could not tell" does not.
package attestations
