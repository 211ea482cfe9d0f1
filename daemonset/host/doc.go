// Package host installs the plugin on a node as a systemd service, keeps it there, replaces it without a gap in
// enforcement, and removes it when told so.
//
//	config.go    what is installed, and where
//	program.go   the binary, under a name made of its content
//	unit.go      the unit file's text
//	install.go   one pass: compare, and do what is missing
//	replace.go   another version in place of the one that runs
//	remove.go    away with everything, without leaving a node that starts nothing
//	run.go       pass after pass, until told to end
//	leave.go     was that end an upgrade, or an uninstallation: the API server knows
//
// What must stay true:
//
//   - A cut at any moment leaves a unit file that is complete, naming a binary that is complete. The next pass goes on
//     from whatever it finds; there is no record of steps.
//   - While a version is replaced, the new one runs beside the old one first, as a unit of its own that a reboot forgets.
//     The runtime asks both, and either denial denies. Only one that has registered lets the old one be stopped.
//   - A plugin that the runtime requires is never stopped for good: requirement goes first, and if it is not ours to
//     take away, the service stays.
//   - The end of this process means nothing. Only an answer of the API server, or a person, has the service removed.
package host
