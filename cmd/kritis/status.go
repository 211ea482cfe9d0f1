package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/kritis-node/kritis-node/plugin"
	"github.com/kritis-node/kritis-node/verifier"
)

func newStatusCommand(p program) *cobra.Command {
	var out outputFlag
	var cluster *clusterFlags
	var reportNamespace, node string
	socket := plugin.DefaultSocket
	cmd := &cobra.Command{
		Use:   "status",
		Short: "show what this node, or each node of a cluster, enforces, and how fresh its policy is",
		Long: `On a node, ask the plugin: whether it enforces or does its best, and why; which policy is in force and how old it is; how
the policy agent does; how many containers passed and which did not.

With a kubeconfig, show the same of all nodes of the cluster, as their policy agents report it.

Exit codes: 0 enforcing, everywhere; 1 best effort or worse, anywhere; 2 could not tell or misuse.`,
		Example: p.lines("status", "status --context production", "status --context production --node node-7"),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			ofCluster := cmd.Flags().Changed("report-namespace") || cmd.Flags().Changed("node")
			if ofCluster || !cluster.onNode(socket) {
				if cmd.Flags().Changed("socket") {
					return errors.New("the answer comes from one place: name either --socket or a cluster")
				}
				return fleetStatus(cmd.Context(), cmd.OutOrStdout(), out, cluster, reportNamespace, node)
			}
			var s plugin.Status
			if err := askPlugin(cmd.Context(), socket, http.MethodGet, "/v1/status", nil, &s); err != nil {
				return err
			}
			if err := out.print(cmd.OutOrStdout(), s, func(w io.Writer) { statusTable(w, s, time.Now()) }); err != nil {
				return err
			}
			if s.Mode != plugin.ModeEnforcing {
				return errDenied
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&socket, "socket", socket, "the plugin's `socket`, on a node")
	f.StringVar(&reportNamespace, "report-namespace", "", "`namespace` in which nodes report; default: it is found")
	f.StringVar(&node, "node", "", "show one `node` of the cluster in detail")
	cluster = newClusterFlags(cmd, p.kubectl)
	out.add(cmd)
	return cmd
}

func statusTable(w io.Writer, s plugin.Status, now time.Time) {
	fmt.Fprintf(w, "MODE\t%s\n", s.Mode)
	for _, g := range s.Gaps {
		fmt.Fprintf(w, "\t%s: %s\n", g.Code, g.Text)
	}
	if s.Placement != "" {
		fmt.Fprintf(w, "PLUGIN\tversion %s, placement %s\n", cmp.Or(s.Version, "unknown"), s.Placement)
	}
	switch {
	case s.Registered:
		fmt.Fprintf(w, "RUNTIME\t%s %s, NRI %s, registered %s\n", s.Runtime.Name, s.Runtime.Version, s.Runtime.NRI, age(s.Since, now))
	default:
		fmt.Fprintf(w, "RUNTIME\tnot registered: %s\n", cmp.Or(s.LastError, "waiting for a first policy snapshot"))
	}
	if s.Policy.Generation == 0 {
		fmt.Fprint(w, "POLICY\tnone has arrived yet\n")
	} else {
		fmt.Fprintf(w, "POLICY\tgeneration %d, written %s, from %s: %d policies, %d authorities, %d allow-list patterns\n", s.Policy.Generation,
			age(s.Policy.WrittenAt, now), cmp.Or(s.Policy.Source, "an unknown source"), s.Policy.Policies, s.Policy.Authorities, s.Policy.Allowlist)
	}
	if s.Policy.DryRun {
		fmt.Fprint(w, "DRY RUN\ton: images that fail are let through\n")
	}
	if s.StateProblem != "" {
		fmt.Fprintf(w, "\tproblem: %s\n", s.StateProblem)
	}
	for _, p := range s.Problems {
		fmt.Fprintf(w, "\t%s\t%s\n", p.Object, p.Text)
	}
	fmt.Fprintf(w, "FLOOR\t%s\n", s.Floor)
	if s.FloorProblem != "" {
		fmt.Fprintf(w, "\tproblem: %s\n", s.FloorProblem)
	}
	agentRows(w, s, now)
	fmt.Fprintf(w, "DECISIONS\t%d allowed, %d denied, %d could not tell, since %s\n", s.Decisions[verifier.Allowed.String()],
		s.Decisions[verifier.Denied.String()], s.Decisions[verifier.CouldNotTell.String()], age(s.Started, now))
	runningRows(w, s.Running, now)
	if len(s.Recent) == 0 {
		return
	}
	fmt.Fprint(w, "\nWHEN\tNAMESPACE\tPOD\tIMAGE\tOUTCOME\tWHY\n")
	for _, d := range s.Recent {
		outcome := d.Verdict.Outcome.String()
		if d.Admitted {
			outcome += " (dry run)"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", age(d.Time, now), d.Namespace, d.Pod, d.Image, outcome, d.Verdict.Detail)
	}
}

func agentRows(w io.Writer, s plugin.Status, now time.Time) {
	if s.Agent == nil {
		fmt.Fprintf(w, "AGENT\tunknown: %s\n", s.AgentProblem)
		return
	}
	fmt.Fprintf(w, "AGENT\tversion %s, last seen %s\n", cmp.Or(s.Agent.Version, "unknown"), age(s.Agent.WrittenAt, now))
	if s.Agent.PolicyError != "" {
		fmt.Fprintf(w, "\tproblem: %s\n", s.Agent.PolicyError)
	}
}
