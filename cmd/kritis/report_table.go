package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/kritis-node/kritis-node/policyagent/impact"
	"github.com/kritis-node/kritis-node/verifier"
)

// report is what `kritis report` says.
type report struct {
	// Outcomes counts images of namespaces: one name and digest in one namespace is one, in however many pods.
	Outcomes   impact.Outcomes   `json:"outcomes"`
	Namespaces []namespaceReport `json:"namespaces"`
	Images     []impact.Image    `json:"images"`
	// Allowlists would let the denied images run.
	Allowlists []impact.Allowlist `json:"allowlists"`
	Pods       int                `json:"pods"`
	// Notes are what could not be read; NotSeen is what a report of this kind does not see.
	Notes   []string `json:"notes,omitempty"`
	NotSeen []string `json:"notSeen"`
}

type namespaceReport struct {
	Namespace string `json:"namespace"`
	// Policies are the names of those that apply. Without any, nothing is denied.
	Policies []string        `json:"policies"`
	Outcomes impact.Outcomes `json:"outcomes"`
}

func newReport(images []impact.Image, policies verifier.Document, lists []impact.Allowlist, inventory impact.Inventory) report {
	r := report{Outcomes: impact.Count(images), Namespaces: []namespaceReport{}, Images: images, Allowlists: lists, Pods: inventory.Pods}
	if r.Allowlists == nil {
		r.Allowlists = []impact.Allowlist{}
	}
	names := map[string][]string{}
	for _, p := range policies.Policies {
		names[p.Namespace] = append(names[p.Namespace], p.Name)
	}
	for begin := 0; begin < len(images); {
		end := begin
		for end < len(images) && images[end].Namespace == images[begin].Namespace {
			end++
		}
		n := namespaceReport{Namespace: images[begin].Namespace, Policies: names[images[begin].Namespace], Outcomes: impact.Count(images[begin:end])}
		slices.Sort(n.Policies)
		if n.Policies == nil {
			n.Policies = []string{}
		}
		r.Namespaces = append(r.Namespaces, n)
		begin = end
	}
	for _, line := range inventory.Untold {
		r.Notes = append(r.Notes, "not read: "+line)
	}
	r.NotSeen = []string{
		"containers that were made past the API server: the re-check on each node finds those",
		"pause containers, and static pods without a mirror at the API server",
		"workloads that have no pod now, as CronJobs between their runs",
	}
	if inventory.Ended > 0 {
		r.NotSeen = append(r.NotSeen, fmt.Sprintf("%s that ended: see --include-ended", plural(inventory.Ended, "pod")))
	}
	return r
}

func (r report) table(w io.Writer) {
	if len(r.Images) > 0 {
		fmt.Fprint(w, "NAMESPACE\tPOLICIES\tIMAGES\tALLOWED\tDENIED\tCOULD NOT TELL\n")
		for _, n := range r.Namespaces {
			o := n.Outcomes
			fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\n", clean(n.Namespace), cmp.Or(few(n.Policies), "none"), o.Allowed+o.Denied+o.CouldNotTell, o.Allowed, o.Denied, o.CouldNotTell)
		}
		fmt.Fprint(w, "\nNAMESPACE\tIMAGE\tRUNS\tPODS\tNODES\tVERDICT\tBY\n")
		for _, i := range r.Images {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s (%s)\t%s\n", clean(i.Namespace), clean(i.Image), runsCell(i), podsCell(i), cmp.Or(few(i.Nodes), "-"),
				i.Verdict.Outcome, i.Verdict.Reason, clean(byCell(i)))
		}
		fmt.Fprintln(w)
	}
	if r.Outcomes.Denied+r.Outcomes.CouldNotTell > 0 {
		fmt.Fprint(w, "NAMESPACE\tIMAGE\tWHY\n")
		for _, i := range r.Images {
			for _, line := range whyLines(i) {
				fmt.Fprintf(w, "%s\t%s\t%s\n", clean(i.Namespace), clean(i.Image), clean(line))
			}
		}
		fmt.Fprintln(w)
	}
	for _, line := range r.summary() {
		fmt.Fprintln(w, clean(line))
	}
}

// summary is what stands at the end, in lines.
func (r report) summary() []string {
	o := r.Outcomes
	lines := []string{fmt.Sprintf("%s in %s: %d would be allowed, %d denied, %d could not be told", plural(o.Allowed+o.Denied+o.CouldNotTell, "image"), plural(r.Pods, "pod"), o.Allowed, o.Denied, o.CouldNotTell)}
	if o.NoPolicy > 0 {
		lines = append(lines, fmt.Sprintf("%d of the allowed have no policy in their namespace, so nothing is required of them: try one with --policy FILE --everywhere", o.NoPolicy))
	}
	if n := len(r.Allowlists); n > 0 {
		entries := 0
		for _, l := range r.Allowlists {
			entries += len(l.Spec.Patterns)
		}
		lines = append(lines, fmt.Sprintf("%d allow-list %s would let the denied run: -o yaml prints them", entries, map[bool]string{true: "entry", false: "entries"}[entries == 1]))
	}
	for _, line := range r.Notes {
		lines = append(lines, "note: "+line)
	}
	for _, line := range r.NotSeen {
		lines = append(lines, "not seen: "+line)
	}
	return lines
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

// few are the first of many names.
func few(all []string) string {
	const most = 3
	if len(all) <= most {
		return clean(strings.Join(all, ","))
	}
	return fmt.Sprintf("%s and %d more", clean(strings.Join(all[:most], ",")), len(all)-most)
}

func runsCell(i impact.Image) string {
	if i.Runs == "" {
		return "unknown"
	}
	cell := "as written"
	if !strings.HasSuffix(i.Image, "@"+string(i.Runs)) {
		cell = "sha256:" + i.Runs.Hex()[:12]
	}
	if i.RunsAs != "" {
		cell += " of " + clean(i.RunsAs)
	}
	return cell
}

func podsCell(i impact.Image) string {
	if i.StaticPods == 0 {
		return fmt.Sprint(i.Pods)
	}
	return fmt.Sprintf("%d (%d static)", i.Pods, i.StaticPods)
}

// byCell says who lets an image run, or would.
func byCell(i impact.Image) string {
	if m := i.Verdict.AllowedBy; m != nil {
		return m.Object
	}
	attested, before := i.AttestedBy, ""
	if i.ByDigest != nil {
		attested, before = i.ByDigest.AttestedBy, "by digest: "
	}
	var names []string
	for _, a := range attested {
		names = append(names, a.Policy+": "+a.Authority)
	}
	if names == nil {
		return "-"
	}
	return before + strings.Join(names, ", ")
}

// whyLines say why an image would not be allowed, and what would help.
func whyLines(i impact.Image) []string {
	if i.Verdict.Outcome == verifier.Allowed {
		return nil
	}
	lines := []string{cmp.Or(i.Verdict.Detail, i.Verdict.Outcome.String())}
	if d := i.ByDigest; d != nil {
		lines = append(lines, fmt.Sprintf("written as %s: %s (%s)", d.Image, d.Verdict.Outcome, d.Verdict.Reason))
	}
	if i.NoEntry != "" && i.NoEntry != i.Verdict.Detail {
		lines = append(lines, "no allow-list entry would do: "+i.NoEntry)
	}
	return append(lines, i.Notes...)
}
