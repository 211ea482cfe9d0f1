package main

import (
	"net/http"

	"github.com/spf13/cobra"

	"github.com/kritis-node/kritis-node/plugin"
)

func newExplainCommand() *cobra.Command {
	var out outputFlag
	var q plugin.Question
	socket := plugin.DefaultSocket
	cmd := &cobra.Command{
		Use:   "explain -n NAMESPACE REFERENCE",
		Short: "say what this node would decide on an image, and why",
		Long: `Ask the plugin of this node what it would decide on an image now: each policy, each authority, each attestation that
was found, and which check it passed or not. Nothing is started.`,
		Example: "  kritis explain -n prod registry.example/app@sha256:…",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			q.Image = args[0]
			var e plugin.Explanation
			if err := askPlugin(cmd.Context(), socket, http.MethodPost, "/v1/explain", q, &e); err != nil {
				return err
			}
			a := answer{Namespace: e.Namespace, Image: e.Image, Admitted: e.Admitted, Message: e.Message, Basis: e.Basis, Verdict: e.Verdict}
			if err := out.print(cmd.OutOrStdout(), a, a.table); err != nil {
				return err
			}
			return a.err()
		},
	}
	cmd.Flags().StringVarP(&q.Namespace, "namespace", "n", "default", "`namespace` of the pod")
	cmd.Flags().StringVar(&q.RuntimeHandler, "runtime-handler", "", "runtime `handler` of the pod")
	cmd.Flags().StringVar(&socket, "socket", socket, "the plugin's `socket`")
	out.add(cmd)
	return cmd
}
