// Package inventory asks containerd what runs on a node: containers and pods of CRI, and tasks of every containerd namespace.
//
// It speaks the same socket as the rest of the plugin, and reads the few fields that are used straight from the messages: the
// generated types of CRI alone would cost every node more memory than everything that is read here (see wire.go). Field numbers
// are those of containerd's api module and of k8s.io/cri-api; the tests compare with the generated types.
package inventory
