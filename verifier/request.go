package verifier

import "time"

// Request is one image that wants to run in a namespace.
type Request struct {
	Namespace string
	// Image is the reference exactly as the user wrote it. What it claims is checked against Content.
	Image string
	// RuntimeHandler is the pod's runtime handler; empty is the runtime's default.
	RuntimeHandler string
	// Restored: the container is made from a checkpoint, and need not hold what the image says.
	Restored bool
	Now      time.Time
}

// Content relates names to what really runs. On a node the runtime's own stores answer; off the node, a registry.
// An error means that nobody could tell.
type Content interface {
	// Digests returns the digests under the reference's repository that lead to the content: for a reference with a
	// digest that digest, then the platform manifest selected under it; for a reference without one, all that this
	// node knows under the repository, best first. Empty: the reference leads elsewhere or nowhere.
	Digests(Reference) ([]Digest, error)
	// Named says whether the name as written is, on this node, a name of this content.
	Named(Reference) (bool, error)
}

// Attestations supplies what is known about a digest of a repository. An error means that not everything could be
// had: what is returned beside it is used, what is missing is not held against the image.
type Attestations interface {
	Attestations(repository string, digest Digest) ([]Attestation, error)
}
