package main

import (
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"github.com/kritis-node/kritis-node/plugin"
)

// settled is how long after a registration the plugin has done for the first time what it does again and again.
const settled = 5 * time.Second

// gcPercent is the garbage that the plugin's heap may grow by, in percent of what is in use.
const gcPercent = 12

func newPluginCommand() *cobra.Command {
	cfg := plugin.Config{StatusSocket: plugin.DefaultSocket, AuditLog: "/var/log/kritis/decisions.jsonl",
		Recheck: plugin.Recheck{Interval: 10 * time.Minute, StopGrace: 30 * time.Second}}.WithDefaults()
	cfg.Log = nil
	var logging logFlags
	cmd := &cobra.Command{
		Use:   "plugin",
		Short: "enforce policy inside the container runtime of this node",
		Long: `Register with the container runtime over NRI and decide on every container before it is created.

The plugin runs as root and gives up the network and every capability at start. It reads policy and attestations from
the state folder that the policy agent writes, and verifies every signature itself.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := logging.logger(cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			// Before anything else is started: the process executes itself again.
			if err := plugin.GiveUpNetwork(); err != nil {
				return err
			}
			cfg.Log, cfg.Version = log, version
			cfg.OnReady = func() {
				notifySystemd(log)
				releaseStartPages(log)
				// The first decisions and the first report need pages once more that are not needed again.
				time.AfterFunc(settled, func() { releaseStartPages(log) })
			}
			// A small heap that is collected often costs less than memory on every node of a cluster.
			debug.SetGCPercent(gcPercent)
			p, err := plugin.New(cfg)
			if err != nil {
				return err
			}
			log.Info("starting", "version", version, "stateDir", cfg.StateDir, "floor", cfg.FloorFile)
			return p.Run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.StateDir, "state-dir", cfg.StateDir, "`folder` that the policy agent writes")
	f.StringVar(&cfg.FloorFile, "floor", cfg.FloorFile, "`file` with this node's minimum policy; need not exist")
	f.StringVar(&cfg.NRISocket, "nri-socket", cfg.NRISocket, "the runtime's NRI `socket`")
	f.StringVar(&cfg.ContainerdSocket, "containerd-socket", cfg.ContainerdSocket, "containerd's `socket`")
	f.StringVar(&cfg.ContainerdConfig, "containerd-config", cfg.ContainerdConfig, "containerd's configuration `file`, to see whether it requires the plugin")
	f.StringVar(&cfg.AgentSocket, "agent-socket", cfg.AgentSocket, "the policy agent's `socket`")
	f.StringVar(&cfg.StatusSocket, "socket", cfg.StatusSocket, "`socket` for kritis status, kritis explain and metrics; empty for none")
	f.StringVar(&cfg.AuditLog, "audit-log", cfg.AuditLog, "`file` for decisions, one JSON line each, rotated; empty for none")
	f.StringSliceVar(&cfg.Snapshotters, "snapshotter", cfg.Snapshotters, "accepted `snapshotters`, the usual one first; lazy ones do not verify what they serve")
	f.DurationVar(&cfg.FetchBudget, "fetch-budget", cfg.FetchBudget, "longest `time` that one container waits for attestations to be fetched")
	f.StringVar((*string)(&cfg.Required), "required", string(cfg.Required), "whether the runtime requires the plugin: auto (read --containerd-config), yes or no")
	f.StringSliceVar(&cfg.BootstrapExempt, "bootstrap-exempt", nil, "`patterns` of namespaces, besides kube-system, that run while there is no policy snapshot, unless the floor says which")
	f.StringVar(&cfg.Revision, "revision", "", "`name` of this installation, shown in the status; set by kritis install host")
	f.StringVar((*string)(&cfg.Placement), "placement", string(cfg.Placement), "where this process lives: host (a service) or pod; only a host service may be required by the runtime")
	f.DurationVar(&cfg.Recheck.Interval, "recheck-interval", cfg.Recheck.Interval, "`time` between two looks at the containers that run, besides those after changes; 0 for none at all")
	f.StringVar((*string)(&cfg.Recheck.OnViolation), "on-violation", string(cfg.Recheck.OnViolation), "what is done about a running container that would be denied now: Report or Stop")
	f.DurationVar(&cfg.Recheck.StopGrace, "stop-grace-period", cfg.Recheck.StopGrace, "`time` that a container that is stopped has to end by itself")
	f.IntVar(&cfg.Recheck.StopsPerMinute, "stops-per-minute", cfg.Recheck.StopsPerMinute, "largest `number` of containers that are stopped in a minute")
	f.StringSliceVar(&cfg.Recheck.NeverStop, "never-stop", nil, "`patterns` of namespaces whose containers are never stopped, besides kube-system and those that the floor exempts")
	logging.add(f)
	return cmd
}

// notifySystemd tells a supervisor that asked for it that the plugin is registered, or has nothing to register for yet. Without one it does nothing.
func notifySystemd(log *slog.Logger) {
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		log.Warn("cannot tell systemd that the plugin is ready", "error", err)
	}
}

func releaseStartPages(log *slog.Logger) {
	if err := plugin.ReleaseStartPages(); err != nil {
		log.Debug("more memory stays in use than needed", "error", err)
	}
}
