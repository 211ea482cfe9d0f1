// Command kritis keeps unattested container images from running: see README.md, and `kritis help`.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes of every subcommand.
const (
	exitAllowed = 0
	exitDenied  = 1
	// exitUnknown: could not tell, or the command was used wrongly.
	exitUnknown = 2
)

// errDenied ends a command that has already printed its answer, which is no.
var errDenied = errors.New("denied")

// errUntold ends a command that has already printed that it could not tell.
var errUntold = errors.New("could not tell")

// version is set by the linker.
var version = "development"

func main() {
	os.Exit(runAs(calledAs(os.Args[0]), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// program is what the program was called as.
type program struct {
	// name is what people write: "kritis" or "kubectl kritis".
	name string
	// kubectl is true if kubectl called it as its plugin.
	kubectl bool
}

// calledAs reads the first word of a command line. kubectl finds its plugins by their names.
func calledAs(path string) program {
	base := strings.TrimSuffix(filepath.Base(path), ".exe")
	if base == "kubectl-kritis" {
		return program{"kubectl kritis", true}
	}
	return program{"kritis", false}
}

// lines are examples of command lines.
func (p program) lines(all ...string) string {
	return "  " + p.name + " " + strings.Join(all, "\n  "+p.name+" ")
}

// run executes one command line of kritis and returns its exit code.
func run(args []string, in io.Reader, out, errOut io.Writer) int {
	return runAs(program{name: "kritis"}, args, in, out, errOut)
}

// runAs is run for either name.
func runAs(p program, args []string, in io.Reader, out, errOut io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot(p)
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return exitAllowed
	case errors.Is(err, errDenied):
		return exitDenied
	case errors.Is(err, errUntold):
		return exitUnknown
	default:
		fmt.Fprintf(errOut, "%s: %v\n", p.name, err)
		return exitUnknown
	}
}

func newRoot(p program) *cobra.Command {
	root := &cobra.Command{
		Use:   strings.ReplaceAll(p.name, " ", "-"),
		Short: "keep unattested container images from running",
		Long: `kritis keeps unattested container images from running.

Exit codes: 0 allowed or done, 1 denied, 2 could not tell or misuse.`,
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: p.name},
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.DisableSuggestions = true // they take several lines
	images := &cobra.Group{ID: "images", Title: "Images and policies:"}
	enforcement := &cobra.Group{ID: "enforcement", Title: "What is enforced, and why:"}
	processes := &cobra.Group{ID: "processes", Title: "Processes, on a node and in a cluster:"}
	add := func(g *cobra.Group, commands ...*cobra.Command) {
		root.AddGroup(g)
		for _, c := range commands {
			c.GroupID = g.ID
			root.AddCommand(c)
		}
	}
	add(enforcement, newExplainCommand(p), newStatusCommand(p), newReportCommand(p))
	add(images, newVerifyCommand(p), newLintCommand(p), newResolveCommand(p), newSignCommand(p), newProbeCommand(p))
	if !p.kubectl {
		add(processes, newPluginCommand(), newPolicyAgentCommand(), newWebhookCommand(), newInstallCommand(), newReadyCommand())
	}
	return root
}
