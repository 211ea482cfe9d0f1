// Package verifier decides whether a container image may run, and does nothing else.
//
// It is pure: it reads no file, opens no connection, knows neither Kubernetes nor containerd, and takes the
// time as an argument. A caller
//
//   - compiles a Document (what the authors of policy wrote) into a PolicySet, and
//   - asks Rules.Decide, which puts the node owner's Floor beside it, about a Request (namespace, image as written),
//     handing over what knows the content that really runs and the attestations that exist, or that nobody knows.
//
// The answer is a Verdict with its evidence. Three outcomes exist and they are never mixed up: Allowed, Denied, and
// CouldNotTell, which is a denial that says "nobody knows", never "not attested". The zero value of every type denies,
// except that the zero Rules exempts kube-system while no policy has ever arrived.
//
// The parts, in the order of a decision: reference.go (images as written), pattern.go and allowlist.go (allow-lists),
// document.go, problem.go, policy.go and floor.go (policies), key.go and algorithm.go (public keys), attestation.go,
// strictjson.go, payload.go and bundle.go (signed statements), decide.go, side.go, inquiry.go and authority.go (the
// rules, from the whole to one signature), verdict.go (the answer), message.go (its words).
package verifier
