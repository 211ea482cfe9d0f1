// Package impact says what would happen to the images that run in a cluster if its policies were enforced.
//
// ReadRunning lists what runs: each image as its pods write it, with the digest that nodes say they run. Assess has the
// verifier decide about each, as a node would that makes those containers anew; dry run plays no part. Allow turns what
// would be denied into the entries of allow-lists that would admit it, and tries them before it offers them.
//
// Nothing is written to the cluster. What the API server does not know is not seen: containers that were made past it, and
// the pause container of each pod; nodes find the former (`kritis status`).
//
// The parts: running.go and pod.go (what runs), judge.go and assess.go (what would become of it), policies.go (by which
// policies), allowlist.go (what would admit it).
package impact
