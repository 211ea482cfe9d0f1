package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kritis-node/kritis-node/plugin"
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

func newLintCommand() *cobra.Command {
	var out outputFlag
	var floor string
	cmd := &cobra.Command{
		Use:   "lint [POLICY-DIR]",
		Short: "check a folder of policies, and a floor file, before they are rolled out",
		Long: `Read policies as the policy agent does, and a floor file as the plugin does, and say what is wrong with them: with file,
line and field where the text is wrong, with the object where it means less than it says.

Exit codes: 0 nothing to say but warnings, 1 errors, 2 misuse.`,
		Example: "  kritis lint /etc/kritis/policies --floor /etc/kritis/floor.yaml",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			if len(args) == 0 && floor == "" {
				return fmt.Errorf("nothing to check: name a folder of policies, or a floor with --floor")
			}
			findings := []finding{}
			if len(args) > 0 {
				findings = lintPolicies(args[0], time.Now())
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
	_, problems := verifier.Compile(c.Document)
	for _, p := range problems {
		findings = append(findings, finding{severityError, p.Object, p.Field, p.Code, p.Text})
	}
	return append(findings, lintDocument(c.Document, now)...)
}

// lintDocument warns of what works and may not be meant.
func lintDocument(doc verifier.Document, now time.Time) []finding {
	var findings []finding
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
		if !a.Expires.IsZero() && now.After(a.Expires) {
			warn(object, a.Pattern, "has expired: remove it")
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
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", f.Severity, f.Object, orElse(f.Field, "-"), f.Text)
	}
}
