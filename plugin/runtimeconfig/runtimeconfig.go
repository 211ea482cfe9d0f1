// Package runtimeconfig reads of containerd's configuration whether it requires an NRI plugin. The loader is containerd's
// own, imports included.
package runtimeconfig

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/containerd/containerd/v2/cmd/containerd/server/config"
	"github.com/containerd/log"
	"github.com/sirupsen/logrus"
)

// Plugin is the name of NRI in containerd's configuration.
const Plugin = "io.containerd.nri.v1.nri"

// Config is what containerd will do about NRI plugins when it next starts. The zero value requires nothing.
type Config struct {
	// Disabled: NRI is off.
	Disabled bool
	// Enabled: the default validator is on. Required are the plugins without which it denies every container.
	Enabled  bool
	Required []string
	// Tolerate names the annotation by which a pod does without required plugins; empty: there is none.
	Tolerate string
	// Dormant are further settings of a default validator that is off: turning it on would turn them on too.
	Dormant []string
}

// Requires says whether containers are denied while the plugin is absent.
func (c Config) Requires(plugin string) bool {
	return !c.Disabled && c.Enabled && slices.Contains(c.Required, plugin)
}

// Load reads the configuration file and what it imports.
func Load(ctx context.Context, path string) (Config, error) {
	quiet := logrus.New() // what containerd would log here, its own start has logged; errors are returned
	quiet.SetOutput(io.Discard)
	ctx = log.WithLogger(ctx, logrus.NewEntry(quiet))
	loaded := config.Config{Version: 3}
	if err := config.LoadConfig(ctx, path, &loaded); err != nil {
		return Config{}, err
	}
	nri, _ := loaded.Plugins[Plugin].(map[string]any)
	validator, _ := nri["default_validator"].(map[string]any)
	off, _ := nri["disable"].(bool)
	c := Config{Disabled: off || slices.Contains(loaded.DisabledPlugins, Plugin)}
	c.Enabled, _ = validator["enable"].(bool)
	c.Tolerate, _ = validator["tolerate_missing_plugins_annotation"].(string)
	names, _ := validator["required_plugins"].([]any)
	for _, n := range names {
		c.Required = append(c.Required, fmt.Sprint(n))
	}
	if !c.Enabled {
		for key, value := range validator {
			if on, _ := value.(bool); on {
				c.Dormant = append(c.Dormant, key)
			}
		}
		slices.Sort(c.Dormant)
	}
	return c, nil
}
