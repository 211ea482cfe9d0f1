package plugin

import (
	"context"

	"github.com/kritis-node/kritis-node/plugin/runtimeconfig"
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

// gap is a reason why enforcement is best effort.
type gap struct {
	Code string `json:"code"`
	Text string `json:"text"`
}

// requiredBy reads containerd's configuration. It says whether the named plugin is required, and what speaks against
// relying on that.
func requiredBy(ctx context.Context, path, plugin string) (bool, []gap) {
	cfg, err := runtimeconfig.Load(ctx, path)
	switch {
	case err != nil:
		return false, []gap{{codeUnknown, textRequiredError + err.Error() + "; name the runtime's configuration file with --containerd-config"}}
	case cfg.Disabled:
		return false, []gap{{codeDisabled, textDisabled}}
	case !cfg.Requires(plugin):
		return false, []gap{{codeNotRequired, textNotRequired}}
	case cfg.Tolerate != "":
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
