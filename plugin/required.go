package plugin

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/containerd/containerd/v2/cmd/containerd/server/config"
	"github.com/containerd/log"
	"github.com/sirupsen/logrus"
)

// Required is whether the runtime refuses containers while the plugin is absent.
type Required string

const (
	// RequiredAuto reads it from the runtime's configuration file.
	RequiredAuto Required = "auto"
	// RequiredYes states that it is.
	RequiredYes Required = "yes"
	// RequiredNo states that it is not.
	RequiredNo Required = "no"
)

// nriPlugin is the name of NRI in containerd's configuration.
const nriPlugin = "io.containerd.nri.v1.nri"

// gap is a reason why enforcement is best effort.
type gap struct {
	Code string `json:"code"`
	Text string `json:"text"`
}

// requiredBy reads containerd's configuration, as containerd does, imports included. It says whether the named
// plugin is required, and what speaks against relying on that.
func requiredBy(ctx context.Context, path, plugin string) (bool, []gap) {
	quiet := logrus.New() // what containerd would log here, its own start has logged; errors are returned
	quiet.SetOutput(io.Discard)
	ctx = log.WithLogger(ctx, logrus.NewEntry(quiet))
	cfg := config.Config{Version: 3}
	if err := config.LoadConfig(ctx, path, &cfg); err != nil {
		return false, []gap{{codeUnknown, textRequiredError + err.Error() + "; name the runtime's configuration file with --containerd-config"}}
	}
	nri, _ := cfg.Plugins[nriPlugin].(map[string]any)
	if off, _ := nri["disable"].(bool); off || slices.Contains(cfg.DisabledPlugins, nriPlugin) {
		return false, []gap{{codeDisabled, textDisabled}}
	}
	validator, _ := nri["default_validator"].(map[string]any)
	enabled, _ := validator["enable"].(bool)
	names, _ := validator["required_plugins"].([]any)
	if !enabled || !slices.ContainsFunc(names, func(n any) bool { return fmt.Sprint(n) == plugin }) {
		return false, []gap{{codeNotRequired, textNotRequired}}
	}
	if tolerate, _ := validator["tolerate_missing_plugins_annotation"].(string); tolerate != "" {
		return true, []gap{{codeTolerated, textTolerated}}
	}
	return true, nil
}

// required resolves the choice of the operator.
func (c *Config) required(ctx context.Context) (bool, []gap) {
	switch c.Required {
	case RequiredYes:
		return true, nil
	case RequiredNo:
		return false, []gap{{codeNotRequired, textNotRequired}}
	default:
		return requiredBy(ctx, c.ContainerdConfig, Name)
	}
}
