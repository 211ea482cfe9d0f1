// Package controller writes what people see of policy and enforcement: the status of the three kinds, a condition of each
// Node, reports of what nodes found running, and the webhook's certificate. It also fetches, once for all nodes, attestations that not every node shall ask for
// (attestations.go: questions and answers; attestation_objects.go: the objects that they stand in). It decides nothing: while
// it is away, statuses are old, those attestations cannot be told, and nothing else changes, but a certificate that is not
// renewed ends after a year.
//
// It is not for the program that runs on every node: controller-runtime would be in the memory of each of its processes
// (docs/decisions/0007-a-program-for-the-controller.md). It runs as cmd/kritis-controller, as often as wanted; one
// replica at a time leads and works, by a Lease.
//
// What is said of policy comes from the code that nodes run on (kube.Understand), so it cannot differ from what they do.
//
// # Rights
//
// NS is the namespace of the product, SECRET and CONFIGURATION are Config.Certificates'. Everything else it does without.
//
//	ClusterRole
//	  kritis.grafeas.io  attestationauthorities, genericattestationpolicies, admissionallowlists          list, watch
//	  kritis.grafeas.io  attestationauthorities/status, genericattestationpolicies/status,
//	                     admissionallowlists/status                                                       patch
//	  kritis.grafeas.io  attestations                                                                     get, list, watch, patch, delete
//	  kritis.grafeas.io  attestations/status                                                              patch
//	  ""                 nodes                                                                            list, watch
//	  ""                 nodes/status                                                                     patch
//	  wgpolicyk8s.io     policyreports                                                                    list, create, patch, delete
//	  openreports.io     reports                                                                          list, create, patch, delete
//	ClusterRole, with certificates
//	  admissionregistration.k8s.io  validatingwebhookconfigurations, only CONFIGURATION                   list, watch, patch
//	Role in NS
//	  coordination.k8s.io  leases                                                                         list, watch, create
//	  coordination.k8s.io  leases, only kritis-controller                                                 get, update
//	  ""                   events                                                                         create, patch
//	Role in NS, with certificates
//	  ""                   secrets, only SECRET                                                           get, list, watch, create, patch
//	Role in default, where events of Nodes are
//	  events.k8s.io        events                                                                         create, patch
//
// Clean is run once, after an uninstallation, by an account of its own:
//
//	ClusterRole
//	  kritis.grafeas.io  attestations                                                                     list, delete
//	  kritis.grafeas.io    attestations                                                                   list, delete
//	  ""                   nodes                                                                          list
//	  ""                   nodes/status                                                                   patch
//	  wgpolicyk8s.io       policyreports                                                                  list, delete
//	  openreports.io       reports                                                                        list, delete
//	Role in NS
//	  ""                   pods                                                                           list
//	  coordination.k8s.io  leases                                                                         list, delete
//
// The API server honours "only" for list and watch because each asks for one name, and for creating the Secret because
// that is done by server-side apply, which names what it creates. It cannot for leases: their labels select them, and
// their names are those of nodes.
package controller
