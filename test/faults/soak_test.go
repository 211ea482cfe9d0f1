package faults

import (
	"slices"
	"testing"
	"time"
)

// The seed's first round strikes what the short soak is to strike in any case.
const shortSeed = 278

var shortShape = Shape{Span: 12 * time.Second, Faults: 9, Loads: 12}

// TestShortSoak is a soak of one round. `make soak` is the long one.
func TestShortSoak(t *testing.T) {
	round := Plan(shortSeed, 1, shortShape)
	for _, target := range []Target{Plugin, Agent, Containerd, State} {
		if !slices.ContainsFunc(round.Faults, func(f Fault) bool { return f.Target == target }) {
			t.Fatalf("nothing strikes the %s: choose another seed", target)
		}
	}
	report, err := Run(t.Context(), Options{
		Seed: shortSeed, For: time.Hour, Rounds: 1, Shape: shortShape, Dir: t.ArtifactDir(), Progress: func(line string) { t.Log(line) },
	})
	if report != nil {
		t.Log("\n" + report.String())
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range report.Violations {
		t.Error(v)
	}
}
