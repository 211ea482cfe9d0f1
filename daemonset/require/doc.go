// Package require makes containerd require the plugin, and undoes that: by a drop-in file in the folder that config.toml
// imports, and, if it imports none, a line in config.toml that does so.
//
//	require.go   what has to be changed so that the plugin is required, or why that is refused
//	undo.go      what has to be changed so that it no longer is
//	config.go    config.toml as text and as values: everything else in it stays as it is
//	plan.go      a plan: the changes, their diff, carrying them out
//	run.go       the whole step on a node: conditions, plan, restart, looking whether it took
//
// What must stay true: containerd's own loader judges every plan before anything is written; nothing that is not
// understood is touched; each file is the old or the new one, whenever the power goes; and a node on which the plugin is
// not a registered host service that starts at boot is never made to require it.
package require
