package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/kritis-node/kritis-node/policyagent/kube"
)

// clusterFlags say which cluster a person means, as kubectl's flags do.
type clusterFlags struct {
	kube.Workstation
	// always is true for `kubectl kritis`: a cluster is meant, if need be that of the current context.
	always bool
	cmd    *cobra.Command
}

func newClusterFlags(cmd *cobra.Command, always bool) *clusterFlags {
	c := &clusterFlags{always: always, cmd: cmd}
	f := cmd.Flags()
	f.StringVar(&c.Kubeconfig, "kubeconfig", "", "kubeconfig `file`; default: as kubectl")
	f.StringVar(&c.Context, "context", "", "`context` of the kubeconfig; default: the current one")
	return c
}

// named says whether a cluster was asked for.
func (c *clusterFlags) named() bool { return c.always || c.flagged() }

// flagged says whether a flag names a cluster.
func (c *clusterFlags) flagged() bool {
	return c.cmd.Flags().Changed("kubeconfig") || c.cmd.Flags().Changed("context")
}

// onNode says whether a question that both a node and a cluster can answer is for the node: if its socket is named; or if
// no cluster is named, and the plugin is there or no kubeconfig is.
func (c *clusterFlags) onNode(socket string) bool {
	if c.cmd.Flags().Changed("socket") {
		return true
	}
	if c.named() {
		return false
	}
	_, err := os.Stat(socket)
	return err == nil || !kube.HasKubeconfig()
}

// server returns the API server, and the namespace that is meant: the one named, or the context's.
func (c *clusterFlags) server(namespace string) (*kube.Server, string, error) {
	w := c.Workstation
	w.Namespace = namespace
	return w.Server("kubectl-kritis/" + version)
}
