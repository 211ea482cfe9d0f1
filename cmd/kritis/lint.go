package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kritis-node/kritis-node/plugin"
	"github.com/kritis-node/kritis-node/policyagent/kube"
	"github.com/kritis-node/kritis-node/policyagent/policydir"
	"github.com/kritis-node/kritis-node/verifier"
)

// Severities of findings.
const (
	severityError   = "error"   // does not do what was meant
	severityWarning = "warning" // does, and that may not be what was meant
)

// finding is something that lint has to say.
type finding struct {
	Severity string `json:"severity"`
	Object   string `json:"object"`
	Field    string `json:"field,omitempty"`
	Code     string `json:"code,omitempty"`
	Text     string `json:"text"`
}

func newLintCommand(p program) *cobra.Command {
	var out outputFlag
	var floor, namespace string
	var cluster *clusterFlags
	cmd := &cobra.Command{
		Use:   "lint [POLICY-DIR]",
		Short: "check policies in a folder or a cluster, and a floor file",
		Long: `Read policies as the policy agent does, from a folder or from a cluster, and a floor file as the plugin does, and say what
is wrong with them: with file, line and field where the text is wrong, with the object where it means less than it says.

Exit codes: 0 nothing to say but warnings, 1 errors, 2 could not tell or misuse.`,
		Example: p.lines("lint /etc/kritis/policies --floor /etc/kritis/floor.yaml", "lint --context production"),
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			ofCluster := cluster.flagged() || p.kubectl && len(args) == 0 && floor == ""
			switch {
			case len(args) > 0 && ofCluster:
				return errors.New("policies come from one place: name either a folder or a cluster")
			case len(args) == 0 && floor == "" && !ofCluster:
				return errors.New("nothing to check: name a folder of policies, a cluster with --kubeconfig or --context, or a floor with --floor")
			case namespace != "" && !ofCluster:
				return errors.New("--namespace goes with a cluster: name one with --kubeconfig or --context")
			}
			findings := []finding{}
			if len(args) > 0 {
				findings = lintPolicies(args[0], time.Now())
			}
			if ofCluster {
				found, err := lintCluster(cmd.Context(), cluster, namespace, time.Now())
				if err != nil {
					return err
				}
				findings = append(findings, found...)
			}
			if floor != "" {
				findings = append(findings, lintFloor(floor)...)
			}
			if err := out.print(cmd.OutOrStdout(), findings, func(w io.Writer) { lintTable(w, findings) }); err != nil {
				return err
			}
			for _, f := range findings {
				if f.Severity == severityError {
					return errDenied
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&floor, "floor", "", "`file` with a node's minimum policy")
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "", "check only what applies in this `namespace` of the cluster; default: everything")
	cluster = newClusterFlags(cmd, p.kubectl)
	out.add(cmd)
	return cmd
}

func lintPolicies(dir string, now time.Time) []finding {
	c, err := policydir.Read(dir)
	if err != nil {
		var findings []finding
		for line := range strings.Lines(err.Error()) {
			findings = append(findings, finding{Severity: severityError, Object: dir, Text: strings.TrimSpace(line)})
		}
		return findings
	}
	findings := []finding{}
	for _, n := range c.Notices {
		findings = append(findings, finding{Severity: severityWarning, Object: dir, Text: n})
	}
	return append(findings, lintDocument(c.Document, now)...)
}

// lintCluster checks the objects of a cluster, or those that apply in a namespace.
func lintCluster(ctx context.Context, cluster *clusterFlags, namespace string, now time.Time) ([]finding, error) {
	server, _, err := cluster.server("")
	if err != nil {
		return nil, err
	}
	defer server.Close()
	r, err := kube.ReadPolicies(ctx, server, namespace)
	if err != nil {
		return nil, err
	}
	findings := []finding{}
	for _, name := range r.Missing {
		findings = append(findings, finding{Severity: severityError, Object: "cluster", Field: name, Code: "KindMissing",
			Text: "the kind is not installed, so nothing is required by it: install the CRDs"})
	}
	return append(append(findings, problemFindings(r.Problems)...), lintDocument(r.Document, now)...), nil
}

func problemFindings(problems []verifier.Problem) []finding {
	var findings []finding
	for _, p := range problems {
		findings = append(findings, finding{severityError, p.Object, p.Field, p.Code, p.Text})
	}
	return findings
}

// lintDocument says what cannot be used, and warns of what works and may not be meant.
func lintDocument(doc verifier.Document, now time.Time) []finding {
	_, problems := verifier.Compile(doc)
	findings := problemFindings(problems)
	warn := func(object, field, text string) {
		findings = append(findings, finding{Severity: severityWarning, Object: object, Field: field, Text: text})
	}
	for _, p := range doc.Policies {
		object := "GenericAttestationPolicy " + p.Namespace + "/" + p.Name
		if p.DryRun {
			warn(object, "dryRun", "is on: images that fail run all the same")
		}
		for i, pattern := range p.Allow {
			if wide(pattern) {
				warn(object, fmt.Sprintf("admissionAllowlistPatterns[%d]", i), "has no registry host of its own: anybody's images can match")
			}
		}
	}
	for _, a := range doc.Allowlist {
		object := "AdmissionAllowlist " + a.List
		switch {
		case a.Expires.IsZero():
		case !now.Before(a.Expires):
			warn(object, a.Pattern, "has expired: remove it")
		case a.Reason == "":
			warn(object, a.Pattern, "is a break-glass entry without a reason: say in reason why it is needed")
		}
		if wide(a.Pattern) {
			warn(object, a.Pattern, "has no registry host of its own: anybody's images can match")
		}
	}
	return findings
}

// wide says whether a pattern leaves the registry open, so that everybody has names that match.
func wide(pattern string) bool {
	host, _, hasPath := strings.Cut(pattern, "/")
	if !hasPath {
		return strings.HasPrefix(pattern, "*")
	}
	return strings.HasPrefix(host, "*") && !strings.Contains(host, ".")
}

func lintFloor(path string) []finding {
	_, text, err := plugin.LoadFloor(path)
	switch {
	case err != nil:
		return []finding{{Severity: severityError, Object: path, Text: err.Error()}}
	case text == "":
		return []finding{{Severity: severityError, Object: path, Text: "it does not exist or is empty: without it the default floor applies"}}
	}
	return nil
}

func lintTable(w io.Writer, findings []finding) {
	if len(findings) == 0 {
		fmt.Fprintln(w, "nothing to say")
		return
	}
	fmt.Fprint(w, "SEVERITY\tOBJECT\tFIELD\tWHAT\n")
	for _, f := range findings {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", f.Severity, clean(f.Object), clean(cmp.Or(f.Field, "-")), clean(f.Text))
	}
}
