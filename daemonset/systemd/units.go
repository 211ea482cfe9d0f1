// Package systemd holds the units of host services, and starts and stops them through systemd's own D-Bus socket.
package systemd

import _ "embed"

//go:embed kritis-plugin.service
var pluginUnit string

// Names of the plugin's unit, and of the one that stands in for it while it is replaced.
const (
	PluginUnit = "kritis-plugin.service"
	NextUnit   = "kritis-plugin-next.service"
)

// PluginUnitText is the unit file of the plugin as an administrator installs it.
func PluginUnitText() string { return pluginUnit }

// ExecStart is the line of that file that a generated unit replaces.
const ExecStart = "ExecStart=/usr/local/bin/kritis plugin $KRITIS_PLUGIN_ARGS\n"
