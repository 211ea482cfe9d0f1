package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/kritis-node/kritis-node/verifier"
)

// outputFlag is -o: a table for people or JSON for programs.
type outputFlag struct{ format string }

func (o *outputFlag) add(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&o.format, "output", "o", "table", "table or json")
}

func (o *outputFlag) check() error {
	if o.format != "table" && o.format != "json" {
		return fmt.Errorf("--output is %q, must be table or json", o.format)
	}
	return nil
}

// print writes v as JSON, or as a table by calling table.
func (o *outputFlag) print(out io.Writer, v any, table func(io.Writer)) error {
	if o.format == "json" {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	}
	var text bytes.Buffer
	w := tabwriter.NewWriter(&text, 0, 4, 2, ' ', 0)
	table(w)
	if err := w.Flush(); err != nil {
		return err
	}
	// Images, events and reports are what somebody wrote: nothing of that may command a terminal.
	_, err := out.Write(bytes.Map(func(r rune) rune {
		if r != '\n' && (unicode.IsControl(r) || r == '\u202e' || r == '\u2066' || r == '\u2067') {
			return '?'
		}
		return r
	}, text.Bytes()))
	return err
}

// clean makes one cell of a table of what somebody wrote.
func clean(s string) string { return strings.Join(strings.Fields(s), " ") }

// answer is what verify and explain say about an image.
type answer struct {
	Namespace string `json:"namespace"`
	Image     string `json:"image"`
	// Admitted differs from the verdict's outcome in dry run only.
	Admitted bool             `json:"admitted"`
	Message  string           `json:"message,omitempty"`
	Basis    string           `json:"basis,omitempty"`
	Verdict  verifier.Verdict `json:"verdict"`
	// Notes are what else to know, a line each.
	Notes []string `json:"notes,omitempty"`
}

// err is the exit code's error: the answer itself has been printed.
func (a answer) err() error {
	switch {
	case a.Admitted:
		return nil
	case a.Verdict.Outcome == verifier.CouldNotTell:
		return errUntold
	default:
		return errDenied
	}
}

func (a answer) table(w io.Writer) {
	fmt.Fprintf(w, "IMAGE\t%s\nNAMESPACE\t%s\nVERDICT\t%s (%s)\n", a.Image, a.Namespace, a.Verdict.Outcome, a.Verdict.Reason)
	if a.Verdict.DryRun && a.Verdict.Outcome != verifier.Allowed {
		fmt.Fprint(w, "DRY RUN\tthe container would be let through all the same\n")
	}
	if a.Verdict.Detail != "" {
		fmt.Fprintf(w, "WHY\t%s\n", a.Verdict.Detail)
	}
	if m := a.Verdict.AllowedBy; m != nil {
		fmt.Fprintf(w, "ALLOWED BY\t%s, pattern %s%s\n", m.Object, m.Pattern, inBrackets(clean(m.Reason)))
		if !m.Expires.IsZero() {
			fmt.Fprintf(w, "BREAK-GLASS\tends to apply at %s\n", m.Expires.UTC().Format(time.RFC3339))
		}
	}
	if a.Basis != "" {
		fmt.Fprintf(w, "BASIS\t%s\n", a.Basis)
	}
	notes(w, a.Notes)
	if len(a.Verdict.Policies) == 0 {
		return
	}
	fmt.Fprint(w, "\nPOLICY\tAUTHORITY\tATTESTATION\tRESULT\n")
	for _, p := range a.Verdict.Policies {
		policyRows(w, p)
	}
}

func policyRows(w io.Writer, p verifier.PolicyResult) {
	name := p.Namespace + "/" + p.Name
	if p.Why != "" || len(p.Authorities) == 0 {
		fmt.Fprintf(w, "%s\t-\t-\t%s\n", name, cmp.Or(p.Why, "not looked at"))
	}
	for _, auth := range p.Authorities {
		switch {
		case auth.Attested:
			bound := "digest only"
			if auth.RepositoryBound {
				bound = "repository and digest"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\tattested: %s, %s, key %s\n", name, auth.Name, cmp.Or(auth.Source, string(auth.Format)), bound, auth.Algorithm, auth.Fingerprint)
		case auth.Why != "" || len(auth.Attempts) == 0:
			fmt.Fprintf(w, "%s\t%s\t-\t%s\n", name, auth.Name, cmp.Or(auth.Why, "no attestation found"))
		}
		for _, t := range auth.Attempts {
			fmt.Fprintf(w, "%s\t%s\t%s\tno: %s: %s\n", name, auth.Name, cmp.Or(t.Source, string(t.Format)), t.Check, t.Why)
		}
	}
}

func inBrackets(s string) string {
	if s == "" {
		return ""
	}
	return " (" + s + ")"
}

// age says how long ago something was, coarsely.
func age(t, now time.Time) string {
	if t.IsZero() {
		return "never"
	}
	d := now.Sub(t)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s ago", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	default:
		return fmt.Sprintf("%d days ago", int(d.Hours()/24))
	}
}
