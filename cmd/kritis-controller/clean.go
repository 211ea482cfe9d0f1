package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/kritis-node/kritis-node/policyagent/controller"
)

// cleanPerSecond is what clean may ask of the API server: it is over soon, and thousands of nodes want two requests each.
const cleanPerSecond = 100

func newClean() *cobra.Command {
	var f flags
	var timeout, patience time.Duration
	cmd := &cobra.Command{
		Use:   "clean",
		Short: "remove what an uninstallation leaves in the cluster",
		Long: `Remove the condition KritisEnforcing from all Nodes, from the namespace the Leases with node reports and the controller's
own, and the Attestations that nodes made by asking for them, and policy reports. Nothing else is touched. Before that, wait for pods of the product to end: they would write anew.

The chart runs it when it is uninstalled. It can be repeated. Exit code 0: all is gone; 2: something may be left.`,
		Example: `  kritis-controller clean --kubeconfig FILE --namespace kritis-system`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if timeout <= 0 || patience < 0 {
				return fmt.Errorf("--timeout is %s and --wait %s: give the first more than nothing, and the second no less", timeout, patience)
			}
			log, err := newLogger(f, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			setLibraryLoggers(log)
			what := controller.Cleaning{Patience: patience}
			if what.REST, err = restConfig(f.kubeconfig); err != nil {
				return err
			}
			what.REST.QPS, what.REST.Burst = cleanPerSecond, cleanPerSecond
			if what.Namespace, err = namespace(f); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			done, err := controller.Clean(ctx, what)
			fmt.Fprintf(cmd.OutOrStdout(), "removed: conditions of nodes %d, leases %d, attestations %d, policy reports %d\n", done.Conditions, done.Leases, done.Attestations, done.Reports)
			return err
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig `file`; default: the cluster that this process is a pod of")
	fs.StringVar(&f.namespace, "namespace", "", "`namespace` that the product was in; default: this pod's")
	fs.DurationVar(&timeout, "timeout", 2*time.Minute, "how long all of it may take")
	fs.DurationVar(&patience, "wait", time.Minute, "how long pods of the product may take to end")
	fs.StringVar(&f.logLevel, "log-level", "warn", "debug, info, warn or error")
	fs.StringVar(&f.logFormat, "log-format", "text", "text or json")
	return cmd
}
