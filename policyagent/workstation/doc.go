// Package workstation is what a person with a kubeconfig learns from a cluster: what an object runs and what became of it
// (Subject), and how each node enforces (Fleet).
//
// Nothing here decides. What the cluster says is shown beside what `kritis explain` finds out by itself; nodes decide by
// what they know. Each read is bounded, and what may not be read is said with the right that is missing, not left out.
package workstation
