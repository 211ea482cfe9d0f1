package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"
)

const (
	// DefaultSocket is where systemd itself speaks D-Bus with root, with or without a bus daemon on the host.
	DefaultSocket = "/run/systemd/private"

	// jobLimit bounds one job. A unit's own limits are shorter.
	jobLimit = 2 * time.Minute
	// callLimit bounds one call.
	callLimit = 20 * time.Second
)

// State is what systemd says of a unit.
type State struct {
	// Load is "loaded", "not-found", "bad-setting" or "masked"; Active "active", "inactive", "activating", …
	Load, Active string
	// File is "enabled", "disabled" and so on.
	File string
	// Stale means that the unit file changed since systemd read it.
	Stale bool
}

// Conn is a connection to systemd. Close it.
type Conn struct{ bus *dbus.Conn }

// Dial connects to systemd's private socket. The process must be root.
func Dial(ctx context.Context, socket string) (*Conn, error) {
	bus, err := dbus.NewConnection(func() (*godbus.Conn, error) {
		c, err := godbus.Dial("unix:path="+godbus.EscapeBusAddressValue(socket), godbus.WithContext(ctx))
		if err != nil {
			return nil, err
		}
		if err := c.Auth([]godbus.Auth{godbus.AuthExternal(strconv.Itoa(os.Getuid()))}); err != nil {
			return nil, errors.Join(err, c.Close())
		}
		return c, nil
	})
	if err != nil {
		return nil, fmt.Errorf("connect to systemd at %s: %w; run as root on a host that systemd runs, with its socket mounted", socket, err)
	}
	c := &Conn{bus}
	if err := bus.Subscribe(); err != nil {
		c.Close()
		return nil, fmt.Errorf("subscribe to systemd's signals: %w", err)
	}
	return c, nil
}

// Close hangs up.
func (c *Conn) Close() { c.bus.Close() }

// Start starts a unit and waits until it is started: for one that notifies, until it said that it is ready.
func (c *Conn) Start(ctx context.Context, unit string) error {
	return c.job(ctx, "start", unit, c.bus.StartUnitContext)
}

// Stop stops a unit and waits until its processes are gone. One that does not exist is stopped.
func (c *Conn) Stop(ctx context.Context, unit string) error {
	err := c.job(ctx, "stop", unit, c.bus.StopUnitContext)
	var failed godbus.Error
	if errors.As(err, &failed) && failed.Name == "org.freedesktop.systemd1.NoSuchUnit" {
		return nil
	}
	return err
}

// Restart stops and starts a unit and waits for both.
func (c *Conn) Restart(ctx context.Context, unit string) error {
	return c.job(ctx, "restart", unit, c.bus.RestartUnitContext)
}

func (c *Conn) job(ctx context.Context, verb, unit string, begin func(context.Context, string, string, chan<- string) (int, error)) error {
	ctx, cancel := context.WithTimeout(ctx, jobLimit)
	defer cancel()
	result := make(chan string, 1)
	if _, err := begin(ctx, unit, "replace", result); err != nil {
		return fmt.Errorf("%s %s: %w", verb, unit, err)
	}
	// A connection that is lost ends no job: look at it now and then.
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case r := <-result:
			if r != "done" {
				return fmt.Errorf("%s %s: systemd says %q; see journalctl -u %s", verb, unit, r, unit)
			}
			return nil
		case <-ctx.Done():
			return fmt.Errorf("%s %s: %w", verb, unit, ctx.Err())
		case <-tick.C:
			if !c.bus.Connected() {
				return fmt.Errorf("%s %s: systemd closed the connection", verb, unit)
			}
		}
	}
}

// Reload makes systemd read its unit files again.
func (c *Conn) Reload(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, jobLimit)
	defer cancel()
	if err := c.bus.ReloadContext(ctx); err != nil {
		return fmt.Errorf("make systemd read its unit files: %w", err)
	}
	return nil
}

// Enable makes a unit start at boot.
func (c *Conn) Enable(ctx context.Context, unit string) error {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	if _, _, err := c.bus.EnableUnitFilesContext(ctx, []string{unit}, false, true); err != nil {
		return fmt.Errorf("enable %s: %w", unit, err)
	}
	return nil
}

// Disable makes a unit no longer start at boot.
func (c *Conn) Disable(ctx context.Context, unit string) error {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	if _, err := c.bus.DisableUnitFilesContext(ctx, []string{unit}, false); err != nil {
		return fmt.Errorf("disable %s: %w", unit, err)
	}
	return nil
}

// State says how a unit is doing. One that does not exist is "not-found".
func (c *Conn) State(ctx context.Context, unit string) (State, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	all, err := c.bus.GetUnitPropertiesContext(ctx, unit)
	if err != nil {
		return State{}, fmt.Errorf("ask systemd about %s: %w", unit, err)
	}
	text := func(key string) string { s, _ := all[key].(string); return s }
	stale, _ := all["NeedDaemonReload"].(bool)
	return State{Load: text("LoadState"), Active: text("ActiveState"), File: text("UnitFileState"), Stale: stale}, nil
}
