// Package kube is what the policy agent learns from the API server: policy (Policies), and the pods of its node (Pods); and
// what it tells it: Events, and how the node enforces (NodeLease). Nothing waits for that, and nothing depends on it.
//
// Policies is a source of policies like a folder is. It watches the three kinds of kritis.grafeas.io, and tells what they
// say once all three are known completely, and after each change, at most 100 ms later. Four things must stay true,
// because "no policy" admits everything:
//
//   - Only a complete list counts. A list that is cut short, of another kind, or without a resource version is an error.
//     Lists are read at the newest version, never from an API server's possibly older cache: policy does not go back in
//     time.
//   - An empty list that is complete counts: the API server is the truth.
//   - A kind that the API server does not know has no objects if, and only if, the API server is ready and its discovery
//     says so. A 404 alone does not.
//   - Any failure changes nothing. The agent keeps the last good policy on disk, for days if need be.
//
// An object that cannot be read is a problem, not a failure: it stays as one that names nothing. So its policy still
// governs its namespace, and its authority attests nothing.
//
// The lists are kept by client-go's Reflectors, which know how to watch, when to list again, and how long to wait. Stores
// and transport are ours: a store holds what matters of an object and no more, each read has a limit and an end, and
// neither controller-runtime nor the types of all of Kubernetes are in memory for three rare kinds and some pods.
//
// The parts: config.go (how the API server is reached), resource.go (one kind: list and watch), page.go and stream.go
// (what comes over the wire), absent.go (discovery), store.go, decode.go (objects), policies.go, pods.go, metrics.go.
// And what is told to it: events.go with event_memory.go and event_metrics.go, and lease.go (how the node enforces).
package kube
