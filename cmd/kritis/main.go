// Command kritis keeps unattested container images from running: see README.md, and `kritis help`.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
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
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run executes one command line and returns its exit code.
func run(args []string, in io.Reader, out, errOut io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot()
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
		fmt.Fprintf(errOut, "kritis: %v\n", err)
		return exitUnknown
	}
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "kritis",
		Short: "keep unattested container images from running",
		Long: `kritis keeps unattested container images from running.

On a node:          kritis plugin, kritis policyagent, kritis status, kritis explain
In a cluster:       kritis webhook
From a workstation: kritis sign, kritis verify, kritis lint, kritis resolve

Exit codes: 0 allowed or done, 1 denied, 2 could not tell or misuse.`,
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.DisableSuggestions = true // they take several lines
	root.AddCommand(newPluginCommand(), newPolicyAgentCommand(), newSignCommand(), newVerifyCommand(), newLintCommand(), newResolveCommand(), newExplainCommand(), newStatusCommand(), newWebhookCommand())
	return root
}
