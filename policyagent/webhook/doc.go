// Package webhook is the validating admission webhook: it tells users early, at kubectl time, that an image will not run.
//
// It keeps nothing but caches, and is not what protects a cluster: the plugin on the node has the last word about what
// runs, also about what never passed here. So the webhook may be configured with failurePolicy: Ignore.
//
// # What is judged
//
// Pods, ephemeral containers, and every kind with a pod template that it was told of: those of Kubernetes, and further
// ones by configuration (ParseTemplate). Created objects wholly; updated ones as far as their images are new: a container
// whose list, name and image are in the old object is not judged again, so that nothing that runs is in the way of being
// scaled, labelled or deleted. Nothing else excuses an image: no owner, annotation, label, subresource or deletion
// timestamp.
//
// A node's account of a static pod (a mirror pod) is admitted: no kubelet starts anything from it, and without it nobody
// would see at kubectl why the static pod does not run. mirror.go says how it is told from what merely looks like one.
//
// An object of a kind that it does not know is not answered (HTTP 422): the API server's configuration named a kind for
// which this one has no --pod-template, and that configuration's failurePolicy says what then happens. Kinds that hold no
// images (Scale, Eviction, Binding), and deleting and connecting, are always allowed.
//
// # What is answered
//
// Who knows kritis knows the denial by heart, so it holds "image NAME is not attested" about the first image that fails,
// and nothing else. "image NAME could not be verified" says that nobody could tell. Why, what to do, and which other
// images fail is in warnings, which kubectl prints as lines of their own. Whatever the webhook answers in doubt is a
// denial; only if it cannot answer (HTTP 4xx, 5xx, or never) does failurePolicy decide. Dry run admits, with the same
// warnings.
//
// # Which content
//
// Which node, and so which platform, will run an image is unknown here. An image passes if the digest as written is
// attested, or if every Linux platform manifest under it is (--platform narrows that to the cluster's own): one platform's
// signature must not admit what another platform's nodes will then refuse. Names on allow-lists are believed; a node will
// look at their content. Tags under tagPolicy Resolve mean what the registry says now.
//
// # Parts
//
// json.go, review.go (requests), kinds.go, images.go (which images), rules.go (policies), cache.go, evidence.go (what is
// known about an image), mirror.go, judge.go (verdicts), answer.go, text.go (words), handler.go, budget.go, listener.go,
// certificate.go, webhook.go (the server), events.go, metrics.go.
package webhook
