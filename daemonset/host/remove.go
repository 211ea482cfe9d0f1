package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/kritis-node/kritis-node/daemonset/require"
	"github.com/kritis-node/kritis-node/daemonset/systemd"
	"github.com/kritis-node/kritis-node/plugin"
	"github.com/kritis-node/kritis-node/plugin/runtimeconfig"
	"github.com/kritis-node/kritis-node/policyagent/nodestate/durable"
)

// ErrStays says that the service was left running, because without it this node would start nothing.
var ErrStays = errors.New("the plugin's service stays on this node, and goes on denying")

// Remove removes the service and the programs. State and configuration stay. If containerd requires the plugin by what
// kritis install --require wrote, that is undone first. If it requires it by anything else, or that cannot be told, the
// service is left as it is: the error is ErrStays.
func (i *Installer) Remove(ctx context.Context) error {
	if err := i.endRequirement(ctx); err != nil {
		return fmt.Errorf("%w: %w", ErrStays, err)
	}
	bus, err := systemd.Dial(ctx, i.cfg.SystemdSocket)
	if err != nil {
		return err
	}
	defer bus.Close()
	state, err := bus.State(ctx, systemd.PluginUnit)
	if err != nil {
		return err
	}
	if state.Load != "not-found" {
		if err := bus.Disable(ctx, systemd.PluginUnit); err != nil {
			return err
		}
	}
	if err := bus.Stop(ctx, systemd.PluginUnit); err != nil {
		return err
	}
	if err := i.endNext(ctx, bus); err != nil {
		return err
	}
	if err := durable.Remove(i.cfg.unitPath()); err != nil {
		return err
	}
	if err := bus.Reload(ctx); err != nil {
		return err
	}
	if err := errors.Join(removePrograms(i.cfg.BinDir, 0, ""), durable.Sweep(i.cfg.BinDir)); err != nil {
		return err
	}
	i.log.Info("the plugin's service and programs are removed; state and configuration stay", "unit", systemd.PluginUnit, "programs", i.cfg.BinDir)
	return nil
}

// endRequirement sees to it that the runtime that runs now does not require the plugin.
func (i *Installer) endRequirement(ctx context.Context) error {
	if _, err := os.Lstat(i.cfg.ContainerdConfig); errors.Is(err, os.ErrNotExist) {
		return nil // containerd runs with its defaults, or is not there: nothing is required
	}
	// What the runtime read when it started, if that is more than its files say now.
	status, err := i.cfg.Ask(ctx, i.cfg.PluginSocket)
	if now, loadErr := runtimeconfig.Load(ctx, i.cfg.ContainerdConfig); err == nil && status.Required && loadErr == nil && !now.Requires(plugin.Name) {
		if err := i.markRestart(); err != nil {
			return err
		}
	}
	result, err := require.Run(ctx, require.Options{
		Undo: true, Yes: true, Restart: true, ContainerdConfig: i.cfg.ContainerdConfig, ContainerdUnit: i.cfg.ContainerdUnit,
		SystemdSocket: i.cfg.SystemdSocket, RestartMark: i.cfg.restartMark(), Patience: i.cfg.Patience,
		Ask: func(ctx context.Context) (plugin.Status, error) { return i.cfg.Ask(ctx, i.cfg.PluginSocket) },
	})
	if result.Applied || result.Restarted {
		i.log.Info("containerd no longer requires the plugin", "changed", result.Applied, "restarted", result.Restarted, "required", result.Required)
	}
	if err == nil && result.Required {
		err = require.ErrNotOurs
	}
	return err
}

func (i *Installer) markRestart() error {
	if err := os.MkdirAll(filepath.Dir(i.cfg.restartMark()), 0o755); err != nil {
		return err
	}
	return os.WriteFile(i.cfg.restartMark(), nil, 0o600)
}
