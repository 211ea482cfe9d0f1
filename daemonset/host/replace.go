package host

import (
	"context"
	"fmt"

	"github.com/kritis-node/kritis-node/daemonset/systemd"
	"github.com/kritis-node/kritis-node/policyagent/nodestate/durable"
)

// replace puts this version in place of another one that runs. A version that does not come up changes nothing: the old
// one goes on.
func (i *Installer) replace(ctx context.Context, bus *systemd.Conn) error {
	old, oldErr := i.cfg.Ask(ctx, i.cfg.PluginSocket)
	i.log.Info("replacing the plugin", "from", old.Version, "fromRevision", old.Revision, "revision", i.units.revision)
	if err := i.beginNext(ctx, bus); err != nil {
		return fmt.Errorf("start the new version beside the old one, which goes on: %w", err)
	}
	next, err := i.awaitStatus(ctx, i.cfg.nextSocket())
	if err == nil && next.Registered {
		err = i.awaitAsked(ctx, i.cfg.nextSocket(), next)
	}
	if err == nil && !next.Registered && oldErr == nil && old.Registered {
		err = fmt.Errorf("the runtime does not have it, as it has the old one: %s; see journalctl -u %s", next.LastError, systemd.NextUnit)
	}
	if err != nil {
		if stopped := i.endNext(ctx, bus); stopped != nil {
			i.log.Warn("cannot stop the stand-in", "error", stopped)
		}
		return fmt.Errorf("the new version does not enforce, the old one goes on: %w", err)
	}
	// From here on the new version has a say in every create, until the last line of this function and after it.
	state, err := bus.State(ctx, systemd.PluginUnit)
	if err != nil {
		return err
	}
	if err := i.putUnit(ctx, bus, state); err != nil {
		return err
	}
	if err := bus.Restart(ctx, systemd.PluginUnit); err != nil {
		return fmt.Errorf("%w; %s enforces meanwhile", err, systemd.NextUnit)
	}
	now, err := i.awaitStatus(ctx, i.cfg.PluginSocket)
	if err == nil && !now.Registered && next.Registered {
		err = fmt.Errorf("the runtime does not have it: %s", now.LastError)
	}
	if err != nil {
		return fmt.Errorf("%w; %s enforces meanwhile", err, systemd.NextUnit)
	}
	i.log.Info("the plugin is replaced", "revision", i.units.revision, "registered", now.Registered, "mode", now.Mode)
	return nil
}

// beginNext starts the stand-in, if it does not run.
func (i *Installer) beginNext(ctx context.Context, bus *systemd.Conn) error {
	state, err := bus.State(ctx, systemd.NextUnit)
	if err != nil {
		return err
	}
	if state.Active == active && i.runs(ctx, i.cfg.nextSocket()) {
		return nil
	}
	if state.Load == "loaded" {
		// Of another version, or broken. The old plugin runs: this one is not needed yet.
		if err := bus.Stop(ctx, systemd.NextUnit); err != nil {
			return err
		}
	}
	if _, err := writeIfOther(i.cfg.nextUnitPath(), i.units.next); err != nil {
		return err
	}
	if err := bus.Reload(ctx); err != nil {
		return err
	}
	if err := bus.Start(ctx, systemd.NextUnit); err != nil {
		// It would be tried again for ever.
		if stopped := i.endNext(ctx, bus); stopped != nil {
			i.log.Warn("cannot stop the stand-in", "error", stopped)
		}
		return err
	}
	return nil
}

// relieveNext ends the stand-in, if there is one, once the service itself is asked.
func (i *Installer) relieveNext(ctx context.Context, bus *systemd.Conn) error {
	state, err := bus.State(ctx, systemd.NextUnit)
	if err != nil {
		return err
	}
	if state.Active == active {
		status, err := i.awaitStatus(ctx, i.cfg.PluginSocket)
		if err == nil && status.Registered {
			err = i.awaitAsked(ctx, i.cfg.PluginSocket, status)
		}
		if err != nil {
			return fmt.Errorf("%w; %s enforces meanwhile", err, systemd.NextUnit)
		}
	}
	return i.endNext(ctx, bus)
}

// endNext stops the stand-in and forgets it. It is called when the service itself is asked, and when it is removed.
func (i *Installer) endNext(ctx context.Context, bus *systemd.Conn) error {
	state, err := bus.State(ctx, systemd.NextUnit)
	if err != nil {
		return err
	}
	if state.Load == "not-found" && state.Active == "inactive" {
		return nil
	}
	if err := bus.Stop(ctx, systemd.NextUnit); err != nil {
		return err
	}
	if err := durable.Remove(i.cfg.nextUnitPath()); err != nil {
		return err
	}
	return bus.Reload(ctx)
}
