// Package systemd stands in for systemd on machines that have none, in tests of what installs host services. It speaks
// D-Bus on a socket as systemd does on /run/systemd/private, reads unit files, and really runs and supervises what they
// name. Use it inside cluster.Isolate only; it touches nothing but the folders that it is given.
//
//	manager.go   units, loading, jobs
//	service.go   one service's life
//	unitfile.go  the text of unit files
//	bus.go       the socket, authentication, methods and properties
//
// As documented (org.freedesktop.systemd1(5), systemd.service(5), systemd.exec(5), systemd.syntax(7)):
//
//   - A unit that was loaded stays as it was loaded until Reload, whatever the file says (NeedDaemonReload). A unit in the
//     folder of the administrator hides one of the same name in the runtime folder.
//   - Starting an active unit does nothing, stopping an inactive one neither. An unknown unit is NoSuchUnit, a unit file
//     without ExecStart, or with a relative program, is BadUnitSetting, a mode that does not exist InvalidArgs.
//   - A job's end is told by the signal JobRemoved. Type=notify: started once the main process sends READY=1; messages of
//     other processes are ignored (NotifyAccess=main). The start times out after TimeoutStartSec, the stop after
//     TimeoutStopSec, then the process is killed.
//   - Restart=always starts again after RestartSec, but not after StopUnit.
//   - $NAME as a word of its own is split at spaces, EnvironmentFile with a leading dash may be missing, %% is %.
//   - Enabling makes symbolic links in the folders of WantedBy, and needs the unit file to exist.
//
// Guesses, where the documentation leaves room: a start that fails ends its job with "failed", also when it timed out,
// and the service is started again beside that. AddMatch is answered with an error on a connection without a bus.
//
// Not done: sandboxing, users, cgroups, ordering, dependencies, conditions, drop-ins, masks, generators. Type=exec and
// simple count as started when the program runs.
package systemd
