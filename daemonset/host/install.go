package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/kritis-node/kritis-node/daemonset/systemd"
	"github.com/kritis-node/kritis-node/plugin"
	"github.com/kritis-node/kritis-node/policyagent/nodestate/durable"
)

// active is systemd's word for a service that is started.
const active = "active"

// Installer installs one version of the plugin. Use New. Its methods must be called one at a time.
type Installer struct {
	cfg     Config
	log     *slog.Logger
	program *program
	units   units
}

// New returns an installer of the program that the configuration names. It changes nothing yet.
func New(cfg Config) (*Installer, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	p, err := newProgram(cfg.Program, cfg.BinDir)
	if err != nil {
		return nil, err
	}
	return &Installer{cfg: cfg, log: cfg.Log, program: p, units: newUnits(cfg, p.path)}, nil
}

// Ensure makes one pass: it compares the host with what it should be, and does what is missing. Where nothing is missing
// nothing is changed. Afterwards the service runs this version, is enabled, and has registered with the runtime or has
// nothing to register for.
func (i *Installer) Ensure(ctx context.Context) error {
	if added, err := i.program.install(); err != nil {
		return fmt.Errorf("install the program: %w", err)
	} else if added {
		i.log.Info("program installed", "path", i.program.path)
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
	switch {
	case state.Active != active:
		err = i.begin(ctx, bus, state)
	case !i.runs(ctx, i.cfg.PluginSocket):
		err = i.replace(ctx, bus)
	default:
		err = i.keep(ctx, bus, state)
	}
	if err != nil {
		return err
	}
	if err := i.relieveNext(ctx, bus); err != nil {
		return err
	}
	return i.program.removeOld()
}

// runs says whether the plugin that answers there was started from our unit file.
func (i *Installer) runs(ctx context.Context, socket string) bool {
	status, err := i.cfg.Ask(ctx, socket)
	return err == nil && status.Revision == i.units.revision
}

// begin starts a service that does not run.
func (i *Installer) begin(ctx context.Context, bus *systemd.Conn, state systemd.State) error {
	if state.Load == "loaded" {
		i.log.Warn("the plugin's service does not run: starting it", "unit", systemd.PluginUnit, "state", state.Active)
	}
	if err := i.putUnit(ctx, bus, state); err != nil {
		return err
	}
	if err := bus.Start(ctx, systemd.PluginUnit); err != nil {
		return err
	}
	status, err := i.awaitStatus(ctx, i.cfg.PluginSocket)
	if err != nil {
		return err
	}
	i.log.Info("the plugin's service runs", "unit", systemd.PluginUnit, "registered", status.Registered, "mode", status.Mode)
	return nil
}

// keep repairs what does not need a restart.
func (i *Installer) keep(ctx context.Context, bus *systemd.Conn, state systemd.State) error {
	have, err := os.ReadFile(i.cfg.unitPath())
	if err == nil && string(have) == i.units.main && !state.Stale && state.File == "enabled" {
		return nil
	}
	i.log.Warn("somebody changed the plugin's unit: putting it back", "unit", systemd.PluginUnit, "enabled", state.File, "stale", state.Stale)
	return i.putUnit(ctx, bus, state)
}

// putUnit writes the unit file if it is another, and has systemd read and enable it.
func (i *Installer) putUnit(ctx context.Context, bus *systemd.Conn, state systemd.State) error {
	changed, err := writeIfOther(i.cfg.unitPath(), i.units.main)
	if err != nil {
		return err
	}
	if changed || state.Stale || state.Load != "loaded" {
		if err := bus.Reload(ctx); err != nil {
			return err
		}
	}
	if changed || state.File != "enabled" {
		return bus.Enable(ctx, systemd.PluginUnit)
	}
	return nil
}

func writeIfOther(path, text string) (bool, error) {
	info, err := os.Lstat(path)
	if err == nil && info.Mode().IsRegular() && info.Mode().Perm() == 0o644 {
		if have, err := os.ReadFile(path); err == nil && string(have) == text {
			return false, nil
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	return true, durable.Write(path, strings.NewReader(text), 0o644, durable.Owner{})
}

// awaitStatus waits until the plugin at the socket says that it was started from our unit file. systemd has been told by it
// that it is ready, so it answers soon.
func (i *Installer) awaitStatus(ctx context.Context, socket string) (plugin.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, i.cfg.Patience)
	defer cancel()
	for {
		status, err := i.cfg.Ask(ctx, socket)
		if err == nil && status.Revision == i.units.revision {
			return status, nil
		}
		if err == nil {
			err = fmt.Errorf("it says that it is installation %q; is another --socket in /etc/kritis/plugin.env?", status.Revision)
		}
		select {
		case <-ctx.Done():
			return plugin.Status{}, fmt.Errorf("the plugin was started, and is not the one that should answer at %s: %w", socket, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// awaitAsked waits until it is certain that the runtime asks the plugin at the socket. A plugin learns that it is
// registered shortly before the runtime puts it on its list, which takes the lock under which containers are created: at
// most one create is ahead, and each plugin of it has its timeout for two calls. So either it has been asked, or that time
// is over.
func (i *Installer) awaitAsked(ctx context.Context, socket string, status plugin.Status) error {
	settle := 2*max(status.Runtime.RequestTimeout, time.Second) + time.Second
	ctx, cancel := context.WithTimeout(ctx, i.cfg.Patience+settle)
	defer cancel()
	var since, first time.Time // when the runtime told it of its containers, and when we saw that: clocks may be set
	for {
		status, err := i.cfg.Ask(ctx, socket)
		switch {
		case err != nil:
		case status.Revision != i.units.revision:
			err = fmt.Errorf("it says that it is installation %q", status.Revision)
		case !status.Registered || status.Synchronized.IsZero():
			err = fmt.Errorf("the runtime does not have it: %s", status.LastError)
			since = time.Time{}
		case !status.Synchronized.Equal(since):
			since, first = status.Synchronized, time.Now()
		}
		if err == nil && (status.Asked || time.Since(first) > settle) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the runtime does not ask the plugin at %s: %w", socket, errors.Join(err, ctx.Err()))
		case <-time.After(100 * time.Millisecond):
		}
	}
}
