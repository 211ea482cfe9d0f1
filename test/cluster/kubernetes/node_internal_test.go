package kubernetes

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/kritis-node/kritis-node/test/cluster"
)

// Who starts something on a node and forgets it is told so, and what it started ends.
func TestForgottenProcess(t *testing.T) {
	n := &Node{name: "node-1"}
	process, err := cluster.StartProcess(t.Context(), cluster.Command{Path: "/bin/sleep", Args: []string{"1000"}, Log: filepath.Join(t.TempDir(), "log")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	n.processes = append(n.processes, process)
	if err := n.stop(t.Context()); err == nil || !strings.Contains(err.Error(), "sleep still runs on node-1") {
		t.Errorf("the error is %v", err)
	}
	if process.Running() {
		t.Error("it is left")
	}
	if err := n.stop(t.Context()); err != nil {
		t.Errorf("a second time the error is %v", err)
	}
}
