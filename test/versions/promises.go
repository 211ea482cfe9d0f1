package versions

import (
	"fmt"
	"strings"
)

// Runtime is a release of containerd that the promises are tried on: the tool containerd-Line of test/tools.
type Runtime struct {
	// Line is what releases of one kind have in common ("2.4"), Release the one that is built ("2.4.2").
	Line, Release string
	// NRI is the version of the interface inside it.
	NRI string
	// Validators: the runtime can be told to require the plugin, and a plugin that does not answer denies.
	Validators bool
	// ImageField: a create call says which image the runtime binds.
	ImageField bool
}

// Runtimes returns the oldest release that is told of at all, the oldest with validators, and one of each line since.
func Runtimes() []Runtime {
	return []Runtime{
		{Line: "2.1", Release: "2.1.9", NRI: "0.8.0"},
		{Line: "2.2", Release: "2.2.0", NRI: "0.10.0", Validators: true},
		{Line: "2.3", Release: "2.3.7", NRI: "0.12.0", Validators: true},
		{Line: "2.4", Release: "2.4.2", NRI: "0.12.3", Validators: true, ImageField: true},
	}
}

// Promise is something that a node with the plugin required does, as far as its runtime can.
type Promise struct {
	// Text is the row's name in docs/versions.md, and the test's.
	Text string
	// On says whether a runtime can keep it.
	On func(Runtime) bool
}

// Promises returns all promises, in the order in which they are tried.
func Promises() []Promise {
	always := func(Runtime) bool { return true }
	validators := func(r Runtime) bool { return r.Validators }
	return []Promise{
		{"an attested image starts", always},
		{"an image without attestation does not start", always},
		{"other content under an attested name does not start", always},
		{"a policy made between create and start is asked at start", always},
		{"status says that nothing starts unchecked", validators},
		{"the runtime says which image it binds", func(r Runtime) bool { return r.ImageField }},
		{"plugin absent: nothing starts", validators},
		{"created while the plugin was absent: does not start when it is back", always},
		{"plugin stalled past the runtime's timeout: nothing starts", validators},
		{"plugin killed during the call: the container does not start", validators},
		{"plugin absent and not required: nothing starts", func(Runtime) bool { return false }},
	}
}

// Table returns the rows of docs/versions.md: each promise, and which release keeps it.
func Table() string {
	var b strings.Builder
	row := func(cells ...string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	head, rule, nri := []string{"containerd"}, []string{"---"}, []string{"NRI inside"}
	for _, r := range Runtimes() {
		head, rule, nri = append(head, r.Release), append(rule, "---"), append(nri, r.NRI)
	}
	row(head...)
	row(rule...)
	row(nri...)
	for _, p := range Promises() {
		cells := []string{p.Text}
		for _, r := range Runtimes() {
			cells = append(cells, map[bool]string{true: "yes", false: "**no**"}[p.On(r)])
		}
		row(cells...)
	}
	return b.String()
}
