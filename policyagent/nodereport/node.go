package nodereport

import "strings"

// NodeName is the name of the node whose Lease has this name, and whether a node's Lease can have it.
func NodeName(lease string) (string, bool) {
	node, ok := strings.CutPrefix(lease, prefix)
	return node, ok && node != "" && len(lease) <= maxName
}
