package faults

import (
	"os"
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"testing"

	"github.com/kritis-node/kritis-node/test/cluster"
)

// shortSeed is one whose first round strikes what the short soak is to strike in any case. It takes the policy away while plugin and agent
// fail and the disk is full, after which nothing but the agent's own container can bring the policy back.
const shortSeed = 278

// TestShortSoak is a soak of one round, by the program that `make soak` runs: the race detector, which the test may run with, would
// only make it pack the product's image slowly.
func TestShortSoak(t *testing.T) {
	round := Plan(shortSeed, 1, Short())
	for _, target := range []Target{Plugin, Agent, Containerd, State} {
		if !slices.ContainsFunc(round.Faults, func(f Fault) bool { return f.Target == target }) {
			t.Fatalf("nothing strikes the %s: choose another seed", target)
		}
	}
	program, err := cluster.Build(t.Context(), "./test/faults/soak")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "-short", "-seed", strconv.Itoa(shortSeed), "-dir", t.ArtifactDir())
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
}
