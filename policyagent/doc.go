// Package policyagent is the process on a node that knows the outside world: it supplies the plugin with policy and
// attestations, and never decides anything.
//
// It has two jobs. It watches a source of policies (a folder, see policydir; the API server, see kube) and writes each
// change to the state folder as a snapshot with a new generation. And when the plugin asks over the socket, or a pod with
// an image named by digest is bound to the node, it asks the sources of attestations (attestations/registry,
// attestations/folder) about the image and writes down what they say. Files and socket are nodestate's. If the agent is
// down the plugin works on with what is written.
//
// Three rules hold everywhere. A policy that cannot be loaded changes nothing: the last good one stays in force, and
// log and status say so. A source that fails is noted in the record: "nobody could tell" and "there are none" are
// different answers. And a failure never takes away attestations that were known before.
//
// It also tells the cluster what happens on the node, which the plugin, without a network, cannot: what the plugin reports
// over the socket becomes events and a report of the node, and its metrics are served beside the agent's.
//
// The parts: agent.go (construction, life), policy.go (snapshots), fetch.go (what a request needs), record.go (one
// fetch), pool.go (how many at once), prefetch.go (before the plugin asks), enforcement.go (what is known of the plugin),
// incidents.go (events), scrape.go (its metrics), status.go, metrics.go, telemetry.go.
package policyagent
