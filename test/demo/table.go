package main

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"text/tabwriter"
)

// does is what becomes of a container.
type does int

const (
	unknown does = iota
	runs
	denied  // at kubectl
	keptOut // by the node
)

func (d does) String() string {
	switch d {
	case runs:
		return "runs"
	case denied:
		return "denied at kubectl"
	case keptOut:
		return "kept out by the node"
	default:
		return "unknown"
	}
}

// outcome is one row of the table at the end.
type outcome struct {
	what string
	// hook is what kritis-validation-hook does: it is a webhook, so what the API server does not ask about, runs.
	hook, should, did does
	why               string
}

func (d *demo) note(o outcome) {
	d.say("%s: %s", o.what, o.did)
	d.cases = append(d.cases, o)
}

// compare prints all outcomes, and returns an error if one is not as it should be.
func (d *demo) compare() error {
	fmt.Println()
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "WHAT WAS TRIED\tKRITIS-VALIDATION-HOOK\tKRITIS-NODE\tIN ITS WORDS")
	wrong := 0
	for _, o := range d.cases {
		did := o.did.String()
		if o.did != o.should {
			wrong++
			did += ", should be: " + o.should.String()
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", o.what, o.hook, did, d.short(o.why))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if wrong > 0 {
		return fmt.Errorf("%d of %d are not as they should be", wrong, len(d.cases))
	}
	return nil
}

var (
	digest = regexp.MustCompile(`sha256:([0-9a-f]{6})[0-9a-f]{58}`)
	words  = regexp.MustCompile(`image \S+ (is not attested|could not be verified)`)
)

// short leaves out what nobody reads: the registry's address and most of a digest's digits.
func (d *demo) short(text string) string {
	text = strings.ReplaceAll(text, d.site.Registry.Host(), "registry")
	return digest.ReplaceAllString(text, "sha256:$1…")
}

// ownWords is the part of an error that is ours.
func ownWords(text string) string {
	if found := words.FindString(text); found != "" {
		return found
	}
	return strings.TrimSpace(text)
}

// typed prints what a user would type, printed what they would read.
func (d *demo) typed(command string) { fmt.Printf("\n    $ %s\n", d.short(command)) }

func (d *demo) printed(output string) {
	for line := range strings.Lines(d.short(output)) {
		fmt.Print("    ", line)
	}
	fmt.Println()
}

// kubectl runs and prints a command that must succeed.
func (d *demo) kubectl(ctx context.Context, args ...string) error {
	d.typed("kubectl " + strings.Join(args, " "))
	output, err := d.site.KubectlOutput(ctx, args...)
	if err == nil {
		d.printed(output)
	}
	return err
}
