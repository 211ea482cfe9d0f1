// Package securitycenter turns what Security Center holds into objects: its witnesses into AttestationAuthorities, its
// enabled policies into GenericAttestationPolicies, in each namespace that a policy names for this cluster. It is a part of
// the controller; nodes and webhook see the objects only, and go on with them while Security Center or this is away.
//
// What may not happen is that a failure over there takes protection away here. So there are two steps with a plain state
// in between. A sync (sync.go) asks for a complete listing and moves the state on (state.go, pure): what is added counts at
// once; what could loosen (a policy, a namespace, a witness or a key that is gone or another one) counts when two
// consecutive listings agree on it. A listing that failed, that is entirely empty or that contradicts itself removes nothing.
// Making objects like the state (reconcile.go) is done whenever a listing, an object or a namespace changes, and asks the API
// server only.
//
// The state is not stored: the objects are it. Their annotations tell a restarted controller which witness, keys and policy
// each stands for, so that a restart needs no KMS and forgets nothing but the first of two listings.
//
// Objects are ours if they have our label or our annotation, and the name that we would give them; users' objects are never
// written. Ours are written by server-side apply as FieldManager, by force: fields that users add and that could loosen
// (dryRun, tagPolicy, patterns, keys) are put right too.
//
// # Rights
//
// Beyond those of the controller, in all namespaces:
//
//	kritis.grafeas.io  attestationauthorities, genericattestationpolicies                  get, create, patch, delete
//	""                 namespaces                                                          list, watch
//	events.k8s.io      events                                                              create, patch
package securitycenter
