package require

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/kritis-node/kritis-node/daemonset/systemd"
	"github.com/kritis-node/kritis-node/plugin"
	"github.com/kritis-node/kritis-node/plugin/runtimeconfig"
	"github.com/kritis-node/kritis-node/policyagent/nodestate/durable"
)

// Options say what to do on a node.
type Options struct {
	// Undo takes the requirement away instead of making it.
	Undo bool
	// Yes carries the change out; without it, it is shown only.
	Yes bool
	// Restart restarts containerd afterwards; without it, a person has to.
	Restart bool

	ContainerdConfig, ContainerdUnit string
	SystemdSocket                    string
	// RestartMark is a file that is there between the change and containerd's restart; a reboot forgets it.
	RestartMark string
	// Patience is how long containerd and the plugin may take to find each other after a restart.
	Patience time.Duration
	// Ask returns what the plugin says of itself.
	Ask func(context.Context) (plugin.Status, error)
}

// FileChange is one file in a Result.
type FileChange struct {
	Path string `json:"path"`
	Diff string `json:"diff"`
}

// Result is what was found and done.
type Result struct {
	// Action is "require" or "undo".
	Action  string       `json:"action"`
	Changes []FileChange `json:"changes"`
	Notes   []string     `json:"notes,omitempty"`
	Backups []string     `json:"backups,omitempty"`
	// Applied says whether the changes were made, Restarted whether containerd was restarted since.
	Applied   bool `json:"applied"`
	Restarted bool `json:"restarted"`
	// Required is what containerd's configuration files say now.
	Required bool `json:"required"`
	// Next is what to do now; empty: nothing.
	Next string `json:"next,omitempty"`
}

// Run does the step, or shows what it would do. The result is valid beside an error, too.
func Run(ctx context.Context, o Options) (Result, error) {
	r := Result{Action: "require", Changes: []FileChange{}}
	if o.Undo {
		r.Action = "undo"
	}
	p, err := o.plan(ctx)
	for _, c := range p.Changes {
		r.Changes = append(r.Changes, FileChange{c.Path, c.Diff()})
	}
	r.Notes = p.Notes
	if err != nil && (!errors.Is(err, ErrNotOurs) || len(p.Changes) == 0) {
		return r, err
	}
	left := err // something else requires the plugin as well
	now, err := runtimeconfig.Load(ctx, o.ContainerdConfig)
	if err != nil {
		return r, err
	}
	r.Required = now.Requires(plugin.Name)
	if !o.Yes {
		if len(p.Changes) > 0 {
			r.Next = "nothing was changed: run the command again with --yes"
		}
		return r, left
	}
	if r.Backups, err = o.apply(p); err != nil {
		return r, err
	}
	r.Applied = len(p.Changes) > 0
	if now, err = runtimeconfig.Load(ctx, o.ContainerdConfig); err != nil || now.Requires(plugin.Name) == o.Undo && left == nil {
		return r, fmt.Errorf("containerd's loader does not see the change, which was taken back: %w", errors.Join(err, p.Revert()))
	}
	r.Required = now.Requires(plugin.Name)
	if _, err := os.Stat(o.RestartMark); err != nil {
		return r, left // nothing changed, now or since containerd's last restart
	}
	if !o.Restart {
		r.Next = fmt.Sprintf("run `systemctl restart %s`: until then nothing changes; running containers go on", strings.TrimSuffix(o.ContainerdUnit, ".service"))
		return r, left
	}
	if err := o.restart(ctx, r.Required); err != nil {
		if o.Undo || !r.Applied {
			return r, err
		}
		return r, fmt.Errorf("%w; the change was taken back: %w", err, o.takeBack(ctx, p))
	}
	r.Restarted = true
	return r, errors.Join(left, durable.Remove(o.RestartMark))
}

// plan returns the plan, after a look at whether this node may be changed.
func (o Options) plan(ctx context.Context) (Plan, error) {
	if o.Undo {
		return PlanUndo(ctx, o.ContainerdConfig)
	}
	if err := o.fit(ctx); err != nil {
		return Plan{}, err
	}
	return PlanRequire(ctx, o.ContainerdConfig)
}

// fit refuses nodes on which nothing would start, now or after a reboot.
func (o Options) fit(ctx context.Context) error {
	status, err := o.Ask(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("the plugin has to run before it is required: %w", err)
	case status.Placement != plugin.PlacementHost:
		return fmt.Errorf("the plugin runs in a pod, which could not start after a reboot once the plugin is required: install it as a host service first (chart value plugin.placement: host)")
	case !status.Registered:
		return fmt.Errorf("the plugin is not registered with the runtime: %s; see kritis status", cmp.Or(status.LastError, "it has no policy yet"))
	case !status.Runtime.Validators:
		return fmt.Errorf("%s %s cannot require plugins: upgrade containerd to 2.2 or later", status.Runtime.Name, status.Runtime.Version)
	}
	if _, err := os.Stat(o.SystemdSocket); err != nil {
		return fmt.Errorf("systemd does not answer at %s, so nobody knows whether the plugin starts at boot: %w; run this on the host itself", o.SystemdSocket, err)
	}
	bus, err := systemd.Dial(ctx, o.SystemdSocket)
	if err != nil {
		return err
	}
	defer bus.Close()
	state, err := bus.State(ctx, systemd.PluginUnit)
	if err != nil {
		return err
	}
	if state.Active != "active" || state.File != "enabled" {
		return fmt.Errorf("the service %s is %s and %s: it has to be active, and enabled at boot; see kritis install host", systemd.PluginUnit,
			cmp.Or(state.Active, "unknown"), cmp.Or(state.File, "not installed"))
	}
	return nil
}

// apply marks the restart that will be needed, then changes the files. The other way round a power cut, or somebody who
// kills this process, would leave a containerd of which nobody knows that its configuration is an older one.
func (o Options) apply(p Plan) ([]string, error) {
	if len(p.Changes) == 0 {
		return nil, nil
	}
	if err := os.MkdirAll(filepath.Dir(o.RestartMark), 0o755); err != nil {
		return nil, err
	}
	if err := durable.Write(o.RestartMark, strings.NewReader(""), 0o600, durable.Self()); err != nil {
		return nil, err
	}
	return p.Apply(time.Now())
}

// restart restarts containerd and waits until the plugin has registered again and sees the configuration.
func (o Options) restart(ctx context.Context, required bool) error {
	before, askErr := o.Ask(ctx)
	bus, err := systemd.Dial(ctx, o.SystemdSocket)
	if err != nil {
		return err
	}
	defer bus.Close()
	if err := bus.Restart(ctx, o.ContainerdUnit); err != nil {
		return err
	}
	if askErr != nil {
		return nil // it did not run before either
	}
	ctx, cancel := context.WithTimeout(ctx, o.Patience)
	defer cancel()
	for {
		now, err := o.Ask(ctx)
		if err == nil && now.Registered && now.Since.After(before.Since) && now.Required == required {
			return nil
		}
		if !before.Registered && !required {
			return nil // nothing will register
		}
		if err == nil {
			err = fmt.Errorf("registered %t, required %t", now.Registered, now.Required)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("after the restart of containerd the plugin is not as it should be: %w", err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// takeBack undoes a requirement with which containerd did not come up well.
func (o Options) takeBack(ctx context.Context, p Plan) error {
	if err := p.Revert(); err != nil {
		return err
	}
	bus, err := systemd.Dial(ctx, o.SystemdSocket)
	if err != nil {
		return err
	}
	defer bus.Close()
	if err := bus.Restart(ctx, o.ContainerdUnit); err != nil {
		return err
	}
	return durable.Remove(o.RestartMark)
}
