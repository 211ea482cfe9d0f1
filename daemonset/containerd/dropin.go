// Package containerd holds the part of containerd's configuration that makes it require the plugin.
package containerd

import _ "embed"

//go:embed 90-kritis-required.toml
var dropIn string

// DropInName is the file's name in the folder that config.toml imports.
const DropInName = "90-kritis-required.toml"

// RequiredPlugins is the line of the file that a generated one replaces.
const RequiredPlugins = "  required_plugins = [\"kritis\"]\n"

// DropIn is the file as an administrator installs it.
func DropIn() string { return dropIn }
