package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/kritis-node/kritis-node/daemonset/host"
	"github.com/kritis-node/kritis-node/daemonset/require"
	"github.com/kritis-node/kritis-node/plugin"
	"github.com/kritis-node/kritis-node/policyagent/kube"
)

// restartPatience is how long containerd and the plugin may take to find each other again.
const restartPatience = 60 * time.Second

// askStatus asks a plugin what it says of itself.
func askStatus(ctx context.Context, socket string) (plugin.Status, error) {
	var s plugin.Status
	return s, askPlugin(ctx, socket, http.MethodGet, "/v1/status", nil, &s)
}

func newInstallCommand() *cobra.Command {
	defaults := host.Config{}.WithDefaults()
	o := require.Options{Patience: restartPatience}
	var out outputFlag
	var requireIt bool
	socket := plugin.DefaultSocket
	cmd := &cobra.Command{
		Use:   "install --require",
		Short: "make containerd require the plugin, or no longer; install the plugin as a host service",
		Long: `Make containerd deny every container while the plugin is absent, or undo that with --undo.

Without --yes the change is shown as a diff and nothing is done. The plugin has to be a host service that is registered
with the runtime and enabled at boot. The change is a drop-in file in the folder that containerd's config.toml imports,
and a line that imports it if there is none. Run it as root on the node.`,
		Example: `  kritis install --require
  kritis install --require --yes --restart
  kritis install --require --undo --yes --restart`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !requireIt {
				return errors.New("say what to do: kritis install --require, or kritis install host")
			}
			if err := out.check(); err != nil {
				return err
			}
			o.Ask = func(ctx context.Context) (plugin.Status, error) { return askStatus(ctx, socket) }
			o.RestartMark = filepath.Join(filepath.Dir(socket), host.RestartMark)
			result, err := require.Run(cmd.Context(), o)
			if err != nil && len(result.Changes) == 0 {
				return err
			}
			return errors.Join(err, out.print(cmd.OutOrStdout(), result, func(w io.Writer) { installTable(w, result) }))
		},
	}
	f := cmd.Flags()
	f.BoolVar(&requireIt, "require", false, "have containerd require the plugin")
	f.BoolVar(&o.Undo, "undo", false, "undo it instead")
	f.BoolVar(&o.Yes, "yes", false, "do it; without this it is only shown")
	f.BoolVar(&o.Restart, "restart", false, "restart containerd through systemd afterwards; running containers go on")
	f.StringVar(&o.ContainerdConfig, "containerd-config", defaults.ContainerdConfig, "containerd's configuration `file`")
	f.StringVar(&o.ContainerdUnit, "containerd-unit", defaults.ContainerdUnit, "containerd's `unit`")
	f.StringVar(&o.SystemdSocket, "systemd-socket", defaults.SystemdSocket, "`socket` on which systemd speaks D-Bus with root")
	f.StringVar(&socket, "socket", socket, "the plugin's `socket`")
	out.add(cmd)
	cmd.AddCommand(newInstallHostCommand(), newInstallDrainCommand())
	return cmd
}

func installTable(w io.Writer, r require.Result) {
	for _, c := range r.Changes {
		fmt.Fprint(w, c.Diff)
	}
	if r.Applied {
		fmt.Fprintln(w, "changed")
	}
	for _, b := range r.Backups {
		fmt.Fprintf(w, "backup: %s\n", b)
	}
	if r.Restarted {
		fmt.Fprintln(w, "containerd was restarted")
	}
	for _, n := range r.Notes {
		fmt.Fprintf(w, "note: %s\n", n)
	}
	if r.Next != "" {
		fmt.Fprintf(w, "next: %s\n", r.Next)
	}
}

// daemonSetFlags say at which API server to ask for the DaemonSet.
type daemonSetFlags struct {
	inCluster            bool
	kubeconfig           string
	namespace, daemonset string
}

func (c *daemonSetFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&c.inCluster, "in-cluster", false, "ask the cluster that this process is a pod of")
	f.StringVar(&c.kubeconfig, "kubeconfig", "", "ask the cluster of this `file`'s current context")
	f.StringVar(&c.namespace, "namespace", "", "`namespace` of the DaemonSet")
	f.StringVar(&c.daemonset, "daemonset", "", "`name` of the DaemonSet whose pods install the service")
}

// open returns the DaemonSet, or nil if none was named. The second function ends the connections.
func (c *daemonSetFlags) open() (*host.DaemonSet, func(), error) {
	if c.daemonset == "" && c.namespace == "" {
		return nil, func() {}, nil
	}
	if c.daemonset == "" || c.namespace == "" || c.inCluster == (c.kubeconfig != "") {
		return nil, nil, errors.New("--daemonset, --namespace and one of --in-cluster and --kubeconfig belong together")
	}
	agent := "kritis-install/" + version
	var s *kube.Server
	var err error
	if c.inCluster {
		s, err = kube.InCluster(agent)
	} else {
		s, err = kube.Kubeconfig(c.kubeconfig, agent)
	}
	if err != nil {
		return nil, nil, err
	}
	return &host.DaemonSet{Server: s, Namespace: c.namespace, Name: c.daemonset}, s.Close, nil
}

func newInstallHostCommand() *cobra.Command {
	cfg := host.Config{AuditLog: "/var/log/kritis/decisions.jsonl"}.WithDefaults()
	cfg.Log = nil
	var logging logFlags
	var cluster daemonSetFlags
	var remove, once bool
	var listen string
	cmd := &cobra.Command{
		Use:   "host [-- FLAGS OF THE PLUGIN]",
		Short: "install the plugin as a systemd service of this host, and keep it installed",
		Long: `Install this program and a systemd service that runs it as the plugin, and repair both while this process runs. Another
version is replaced without a gap: the new one registers beside the old one before that is stopped.

The end of this process leaves the service as it is, unless --daemonset is named and the API server says that this
DaemonSet is gone, is being deleted, or has its plugin elsewhere: then the service is removed. --remove removes
it at once. A requirement that kritis install --require brought about is undone first; if the runtime requires the plugin by
anything else the service stays, and the exit code is 2.`,
		Example: `  kritis install host --once
  kritis install host --remove`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.ArgsLenAtDash() != 0 && len(args) > 0 {
				return fmt.Errorf("%q is not known: flags of the plugin come after --", args[0])
			}
			log, err := logging.logger(cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if cfg.Program, err = os.Executable(); err != nil {
				return err
			}
			cfg.Log, cfg.PluginArgs, cfg.Ask = log, args, askStatus
			installer, err := host.New(cfg)
			if err != nil {
				return err
			}
			switch {
			case remove:
				return installer.Remove(cmd.Context())
			case once:
				return installer.Ensure(cmd.Context())
			}
			set, end, err := cluster.open()
			if err != nil {
				return err
			}
			defer end()
			var leaving host.Leaving
			if set != nil {
				leaving = set
			}
			return runInstaller(cmd.Context(), host.NewRunner(installer, leaving), listen)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&remove, "remove", false, "remove the service and end")
	f.BoolVar(&once, "once", false, "install the service and end")
	f.StringVar(&listen, "listen", "", "`address` for /healthz and /readyz; empty for none")
	f.StringVar(&cfg.BinDir, "bin-dir", cfg.BinDir, "`folder` on the host for the program")
	f.StringVar(&cfg.UnitDir, "unit-dir", cfg.UnitDir, "`folder` of the host's own unit files")
	f.StringVar(&cfg.RuntimeUnitDir, "runtime-unit-dir", cfg.RuntimeUnitDir, "`folder` of unit files that a reboot forgets")
	f.StringVar(&cfg.SystemdSocket, "systemd-socket", cfg.SystemdSocket, "`socket` on which systemd speaks D-Bus with root")
	f.StringVar(&cfg.PluginSocket, "plugin-socket", cfg.PluginSocket, "`socket` of the plugin's status")
	f.StringVar(&cfg.AuditLog, "plugin-audit-log", cfg.AuditLog, "the plugin's audit `file`; empty for none")
	f.StringVar(&cfg.ContainerdConfig, "containerd-config", cfg.ContainerdConfig, "containerd's configuration `file`")
	f.StringVar(&cfg.ContainerdUnit, "containerd-unit", cfg.ContainerdUnit, "containerd's `unit`")
	f.DurationVar(&cfg.Every, "every", cfg.Every, "`time` between two looks at the installation")
	cluster.add(cmd)
	logging.add(f)
	return cmd
}

// runInstaller serves probes beside the runner.
func runInstaller(ctx context.Context, runner *host.Runner, listen string) error {
	group, probes := errgroup.WithContext(context.WithoutCancel(ctx))
	probes, end := context.WithCancel(probes)
	defer end()
	if listen != "" {
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", listen)
		if err != nil {
			return fmt.Errorf("listen for probes: %w; name another --listen", err)
		}
		group.Go(func() error { return runner.ServeProbes(probes, listener) })
	}
	group.Go(func() error {
		defer end()
		return runner.Run(ctx)
	})
	return group.Wait()
}

func newInstallDrainCommand() *cobra.Command {
	var cluster daemonSetFlags
	limit := 5 * time.Minute
	cmd := &cobra.Command{
		Use:   "drain --daemonset NAME --namespace NAMESPACE (--in-cluster | --kubeconfig FILE)",
		Short: "delete the DaemonSet and wait until its pods have removed the service from every node",
		Long: `Delete the DaemonSet of placement host, and wait until all its pods are gone. Each of them removes the plugin's service from its
node before it ends. The chart runs this before it is uninstalled, while the pods may still ask the API server.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			set, end, err := cluster.open()
			if err != nil {
				return err
			}
			defer end()
			if set == nil {
				return errors.New("--daemonset and --namespace are missing: name the DaemonSet to delete")
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), limit)
			defer cancel()
			return set.Drain(ctx)
		},
	}
	cmd.Flags().DurationVar(&limit, "timeout", limit, "longest `time` to wait for the pods to go")
	cluster.add(cmd)
	return cmd
}
