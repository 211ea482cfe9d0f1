//go:build !linux

package plugin

import "errors"

// GiveUpNetwork fails: there is no runtime to enforce in but on Linux. The program's other commands work elsewhere too.
func GiveUpNetwork() error {
	return errors.New("the plugin runs on Linux, inside a node's container runtime: run it there")
}
