// Package faults is the soak: a whole cluster under load, in which everything fails again and again, and eyes that do not belong to
// the product look whether anything ran that should not have, and whether everything ran that should. docs/soak.md says how to read it.
//
// A [Plan] says what happens in each round, and follows from a seed alone. [Run] starts the cluster, plays the plan and returns a
// [Report]. A round has two parts: while faults strike and containers are started at random; then everything is repaired, and within
// [Patience] all that is attested has to run, with no more goroutines, files and mounts in use than before.
//
// The parts: plan.go (what happens), place.go and images.go (the cluster), load.go and api.go (who starts containers), strike.go and
// spoil.go (what fails), eyes.go (what ran), leaks.go (what is left), probe.go and clock.go (what the product's programs are built with
// besides), soak.go and calm.go (the order of all that), telling.go, report.go.
package faults
