package faults

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Report is what a soak found.
type Report struct {
	Seed   uint64
	Rounds int
	Took   time.Duration
	// Creates is how many containers were wanted, by way; Ran how many attested ones ran.
	Creates map[Way]*Creates
	// Faults is how many there were, and Recover the worst time, after the last fault of a round with such a fault, until all that is
	// attested ran; by kind.
	Faults  map[string]int
	Recover map[string]time.Duration
	// Anew is how many pods were made anew because kubelet waited before pulling again.
	Anew int
	// Seen is how many attested containers each eye saw.
	Seen string
	// Use is what was in use in the beginning and in the end.
	Use [2]map[Target]use
	// Violations are what must not be.
	Violations []string
	// Dir has the logs.
	Dir string
}

// Creates counts containers, and of unattested ones how often they were tried and refused with an answer.
type Creates struct{ Attested, Ran, Unattested, Refused int }

func newReport(o Options) *Report {
	return &Report{Seed: o.Seed, Dir: o.Dir, Creates: map[Way]*Creates{}, Faults: map[string]int{}, Recover: map[string]time.Duration{}}
}

func (r *Report) violation(format string, args ...any) {
	r.Violations = append(r.Violations, fmt.Sprintf(format, args...))
}

func (r *Report) count(items []*item) {
	for _, i := range items {
		c := r.Creates[i.Way]
		if c == nil {
			c = &Creates{}
			r.Creates[i.Way] = c
		}
		said, tries := i.lastSaid()
		switch {
		case !i.Attested && i.started():
			r.violation("the runtime says that it started %s", i)
			fallthrough
		case !i.Attested:
			c.Unattested++
			if said != "" {
				c.Refused += tries
			}
		case i.waits():
			c.Attested++
		default:
			c.Attested++
			c.Ran++
		}
	}
}

func (r *Report) recovered(faults []Fault, took time.Duration) {
	for _, f := range faults {
		r.Faults[f.name()]++
		r.Recover[f.name()] = max(r.Recover[f.name()], took)
	}
}

// String is the table that is printed in the end.
func (r *Report) String() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("seed %d, %d rounds in %s", r.Seed, r.Rounds, r.Took.Round(time.Second))
	line("%-14s %9s %9s %11s %9s", "containers", "attested", "of it ran", "unattested", "refusals")
	var all Creates
	for _, way := range slices.Sorted(maps.Keys(r.Creates)) {
		c := r.Creates[way]
		line("%-14s %9d %9d %11d %9d", way, c.Attested, c.Ran, c.Unattested, c.Refused)
		all.Attested, all.Ran, all.Unattested, all.Refused = all.Attested+c.Attested, all.Ran+c.Ran, all.Unattested+c.Unattested, all.Refused+c.Refused
	}
	line("%-14s %9d %9d %11d %9d", "all", all.Attested, all.Ran, all.Unattested, all.Refused)
	line("%-26s %5s %s", "faults", "times", "worst until all attested ran, after the round's last fault")
	times := 0
	for _, name := range slices.Sorted(maps.Keys(r.Faults)) {
		line("%-26s %5d %6.1f s", name, r.Faults[name], r.Recover[name].Seconds())
		times += r.Faults[name]
	}
	line("%-26s %5d", "all", times)
	line("%-12s %11s %11s %11s", "in use", "goroutines", "files", "mounts")
	for _, t := range append(slices.Clone(product), nodeMounts) {
		before, after := r.Use[0][t], r.Use[1][t]
		line("%-12s %4d → %4d %4d → %4d %4d → %4d", t, before.Goroutines, after.Goroutines, before.Files, after.Files, before.Mounts, after.Mounts)
	}
	line("attested containers seen: %s", r.Seen)
	line("pods made anew because kubelet waited before pulling again: %d", r.Anew)
	line("violations: %d", len(r.Violations))
	for _, v := range r.Violations {
		line("  %s", v)
	}
	line("logs: %s", r.Dir)
	return b.String()
}
