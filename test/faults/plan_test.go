package faults

import (
	"reflect"
	"testing"
	"time"
)

// TestPlanFollowsFromSeed: whoever has the seed has the plan.
func TestPlanFollowsFromSeed(t *testing.T) {
	for number := range 20 {
		if a, b := Plan(7, number, Long()), Plan(7, number, Long()); !reflect.DeepEqual(a, b) {
			t.Fatalf("round %d is %+v, and then %+v", number, a, b)
		}
	}
	if reflect.DeepEqual(Plan(7, 1, Long()).Faults, Plan(8, 1, Long()).Faults) || reflect.DeepEqual(Plan(7, 1, Long()).Faults, Plan(7, 2, Long()).Faults) {
		t.Error("another seed, or another round, has the same faults")
	}
}

// TestPlanHasEverything: in many rounds every fault and every way happens, and never more at once than is allowed.
func TestPlanHasEverything(t *testing.T) {
	faults, ways := map[string]bool{}, map[Way][2]bool{}
	for number := range 400 {
		round := Plan(1, number, Long())
		if n := len(round.Faults); n < 3 || n > Long().Faults {
			t.Errorf("round %d has %d faults", number, n)
		}
		if !fit(round.Faults) {
			t.Errorf("round %d has faults that do not fit together: %v", number, round.Faults)
		}
		for _, f := range round.Faults {
			faults[f.name()] = true
		}
		for _, l := range round.Loads {
			seen := ways[l.Way]
			if l.Attested {
				seen[0] = true
			} else {
				seen[1] = true
			}
			ways[l.Way] = seen
		}
	}
	// Seven processes fail in three ways; then there are the cloud, the disk, the state and the clock.
	if want := 7*3 + len(cloudKinds) + 1 + 4 + 2; len(faults) != want {
		t.Errorf("there are %d kinds of faults, want %d: %v", len(faults), want, faults)
	}
	for _, way := range []Way{Admitted, Bare, InCloud, Static, Direct} {
		if ways[way] != [2]bool{true, true} {
			t.Errorf("%s: attested and unattested: %v", way, ways[way])
		}
	}
	if ways[Forged] != [2]bool{false, true} {
		t.Errorf("forged calls, attested and unattested: %v", ways[Forged])
	}
}

// TestClockFitsInstalledGo: the overlay is made of the source of the installed Go, which may change.
func TestClockFitsInstalledGo(t *testing.T) {
	changed, err := clockOverlay(t.Context())
	if err != nil || len(changed) != 2 {
		t.Errorf("%d files, %v", len(changed), err)
	}
}

// TestLeaks: what goes beyond the slack is told, and what does not is not.
func TestLeaks(t *testing.T) {
	before := map[Target]use{Agent: {Goroutines: 40, Files: 13, Mounts: 34}, nodeMounts: {Mounts: 60}}
	for _, row := range []struct {
		name string
		now  map[Target]use
		want int
	}{
		{"the same", before, 0},
		{"less", map[Target]use{Agent: {Goroutines: 4}}, 0},
		{"within the slack", map[Target]use{Agent: {Goroutines: 40 + slack.Goroutines, Files: 13 + slack.Files, Mounts: 34}}, 0},
		{"goroutines", map[Target]use{Agent: {Goroutines: 41 + slack.Goroutines}}, 1},
		{"files", map[Target]use{Agent: {Files: 14 + slack.Files}}, 1},
		{"a mount of the agent", map[Target]use{Agent: {Mounts: 35}}, 1},
		{"a mount of the node", map[Target]use{nodeMounts: {Mounts: 61}}, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := compare(before, row.now); len(got) != row.want {
				t.Errorf("%q, want %d leaks", got, row.want)
			}
		})
	}
}

// TestMountsAreNamed: a leak that nobody can find is half a finding.
func TestMountsAreNamed(t *testing.T) {
	table := "25 1 0:22 / /sys rw shared:7 - sysfs sysfs rw\n31 1 0:26 / /run/new rw - tmpfs tmpfs rw\n\n"
	before, now := use{Mounts: 1, points: []string{"/sys"}}, use{Mounts: 2, points: mountPoints([]byte(table))}
	got := compare(map[Target]use{nodeMounts: before}, map[Target]use{nodeMounts: now})
	if want := "the node has 2 mounts, and had 1: /run/new"; len(got) != 1 || got[0] != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestFit(t *testing.T) {
	of := func(target Target, at, lasts int) Fault {
		return Fault{Target: target, At: time.Duration(at) * time.Second, For: time.Duration(lasts) * time.Second}
	}
	for _, row := range []struct {
		name   string
		faults []Fault
		want   bool
	}{
		{"none", nil, true},
		{"three together", []Fault{of(Plugin, 0, 9), of(Agent, 1, 9), of(Disk, 2, 9)}, true},
		{"four together", []Fault{of(Plugin, 0, 9), of(Agent, 1, 9), of(Disk, 2, 9), of(Cloud, 3, 9)}, false},
		{"four, one after another", []Fault{of(Plugin, 0, 1), of(Agent, 4, 1), of(Disk, 8, 1), of(Cloud, 12, 1)}, true},
		{"a target twice at a time", []Fault{of(Plugin, 0, 9), of(Plugin, 3, 0)}, false},
		{"a target before it has settled", []Fault{of(Plugin, 0, 1), of(Plugin, 2, 1)}, false},
		{"a target again", []Fault{of(Plugin, 0, 1), of(Plugin, 4, 1)}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := fit(row.faults); got != row.want {
				t.Errorf("fit: %t", got)
			}
		})
	}
}
