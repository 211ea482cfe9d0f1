package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/nodereport"
	"github.com/kritis-node/kritis-node/policyagent/workstation"
	"github.com/kritis-node/kritis-node/verifier"
)

// fleetTimeout bounds all that is asked of a cluster.
const fleetTimeout = time.Minute

// fleetStatus shows how all nodes of a cluster enforce, or one of them in detail.
func fleetStatus(ctx context.Context, w io.Writer, out outputFlag, cluster *clusterFlags, reportNamespace, node string) error {
	ctx, cancel := context.WithTimeout(ctx, fleetTimeout)
	defer cancel()
	server, _, err := cluster.server("")
	if err != nil {
		return err
	}
	defer server.Close()
	now := time.Now()
	fleet, err := workstation.ReadFleet(ctx, server, reportNamespace, now)
	if err != nil {
		return err
	}
	if node != "" {
		i := slices.IndexFunc(fleet.Nodes, func(n workstation.Node) bool { return n.Name == node })
		if i < 0 {
			return fmt.Errorf("there is no Linux node %s: correct --node%s", node, inBrackets(strings.Join(fleet.Untold, "; ")))
		}
		n := fleet.Nodes[i]
		if err := out.print(w, n, func(w io.Writer) { nodeTable(w, n, now) }); err != nil {
			return err
		}
		if n.Mode != nodereport.ModeEnforcing {
			return errDenied
		}
		return nil
	}
	if err := out.print(w, fleet, func(w io.Writer) { fleetTable(w, fleet, now) }); err != nil {
		return err
	}
	switch {
	case len(fleet.Nodes) != fleet.Modes[nodereport.ModeEnforcing]:
		return errDenied
	case len(fleet.Untold) > 0:
		return errUntold
	case len(fleet.Nodes) == 0:
		return errors.New("the cluster has no Linux node")
	}
	return nil
}

func fleetTable(w io.Writer, f workstation.Fleet, now time.Time) {
	if len(f.Nodes) > 0 {
		fmt.Fprint(w, "NODE\tMODE\tWHY\tPLUGIN\tPOLICY\tDENIED\tLAST DENIAL\n")
	}
	for _, n := range f.Nodes {
		plugin, policy, denied, last := "-", "-", "-", "-"
		if r := n.Report; r != nil {
			if r.Plugin != nil {
				plugin = cmp.Or(r.Plugin.Version, "unknown") + inBrackets(r.Plugin.Placement)
				denied = fmt.Sprint(r.Plugin.Decisions[verifier.Denied.String()] + r.Plugin.Decisions[verifier.CouldNotTell.String()])
			}
			policy = policyCell(r.Policy, now)
			if d := r.LastDenial; d != nil {
				last = fmt.Sprintf("%s, %s/%s: %s", age(d.At, now), d.Namespace, d.Pod, d.Image)
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", clean(n.Name), n.Mode, cmp.Or(codes(n.Gaps), "-"), clean(plugin), clean(policy), denied, clean(last))
	}
	if len(f.Nodes) > 0 {
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w, fleetSummary(f))
	fleetRunning(w, f)
	for _, line := range f.Untold {
		fmt.Fprintln(w, "not told: "+clean(line))
	}
}

// fleetSummary is one line: how many nodes enforce, and what the others do.
func fleetSummary(f workstation.Fleet) string {
	line := fmt.Sprintf("%d of %d nodes enforce", f.Modes[nodereport.ModeEnforcing], len(f.Nodes))
	if len(f.Nodes) == 1 {
		line = fmt.Sprintf("%d of 1 node enforces", f.Modes[nodereport.ModeEnforcing])
	}
	for _, mode := range []string{nodereport.ModeBestEffort, nodereport.ModeWaiting, nodereport.ModeAbsent, nodereport.ModeSilent} {
		if n := f.Modes[mode]; n > 0 {
			line += fmt.Sprintf(", %d %s", n, mode)
		}
	}
	if f.Namespace == "" {
		return line + "; no node reports: are policy agents run with --report-namespace?"
	}
	return line + "; reports of namespace " + f.Namespace
}

func policyCell(p nodereport.Policy, now time.Time) string {
	if p.Generation == 0 {
		return "none yet"
	}
	cell := fmt.Sprintf("%d, not confirmed since the agent's start", p.Generation)
	if !p.ConfirmedAt.IsZero() {
		cell = fmt.Sprintf("%d, confirmed %s", p.Generation, age(p.ConfirmedAt, now))
	}
	if p.Problems > 0 {
		cell += fmt.Sprintf(", problems: %d", p.Problems)
	}
	return cell
}

// codes are those of the gaps, bounded: reports come from nodes.
func codes(gaps []nodereport.Gap) string {
	var all []string
	for _, g := range gaps[:min(len(gaps), 8)] {
		all = append(all, clean(g.Code))
	}
	return strings.Join(all, ", ")
}

func gapCodes(gaps []nodereport.Gap) string { return inBrackets(codes(gaps)) }

// nodeTable is one node in detail.
func nodeTable(w io.Writer, n workstation.Node, now time.Time) {
	fmt.Fprintf(w, "NODE\t%s\nMODE\t%s\n", clean(n.Name), n.Mode)
	for _, g := range n.Gaps {
		fmt.Fprintf(w, "\t%s: %s\n", clean(g.Code), clean(g.Text))
	}
	if n.RenewedAt.IsZero() {
		return
	}
	fmt.Fprintf(w, "AGENT\theard of %s\n", age(n.RenewedAt, now))
	r := n.Report
	if r == nil {
		return
	}
	fmt.Fprintf(w, "\tversion %s\n", clean(cmp.Or(r.Version, "unknown")))
	if p := r.Plugin; p == nil {
		fmt.Fprint(w, "PLUGIN\tthe agent has not heard of one\n")
	} else {
		fmt.Fprintf(w, "PLUGIN\tversion %s, placement %s, on %s, started %s, heard of %s\n", clean(cmp.Or(p.Version, "unknown")),
			clean(cmp.Or(p.Placement, "unknown")), clean(cmp.Or(p.Runtime, "an unknown runtime")), age(p.Started, now), age(p.HeardAt, now))
		fmt.Fprintf(w, "DECISIONS\t%d allowed, %d denied, %d could not tell\n", p.Decisions[verifier.Allowed.String()],
			p.Decisions[verifier.Denied.String()], p.Decisions[verifier.CouldNotTell.String()])
	}
	fmt.Fprintf(w, "POLICY\tgeneration %s\n", policyCell(r.Policy, now))
	if r.Policy.Error != "" {
		fmt.Fprintf(w, "\tproblem: %s\n", clean(r.Policy.Error))
	}
	if r.Running != nil {
		runningRows(w, nodeRunning(r.Running), now)
	}
	if d := r.LastDenial; d != nil {
		fmt.Fprintf(w, "LAST DENIAL\t%s, pod %s/%s, image %s: %s\n", age(d.At, now), clean(d.Namespace), clean(d.Pod), clean(d.Image), clean(d.Reason))
	}
}
