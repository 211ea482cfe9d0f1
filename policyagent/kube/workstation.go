package kube

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"k8s.io/client-go/tools/clientcmd"
)

// Workstation is what a person said about the cluster that is meant: the flags of kubectl. The zero value is what
// kubectl does without flags.
type Workstation struct {
	// Kubeconfig is a file; empty: those of KUBECONFIG, or ~/.kube/config, or in a pod its service account.
	Kubeconfig string
	// Context is one of the kubeconfig's; empty: the current one.
	Context string
	// Namespace is what -n says; empty: the context's.
	Namespace string
}

// Server returns the API server that is meant, and the namespace. Other than agents, people have credentials that a
// program gives: those that the kubeconfig names are run.
func (w Workstation) Server(userAgent string) (*Server, string, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = w.Kubeconfig
	rules.WarnIfAllMissing = false
	overrides := &clientcmd.ConfigOverrides{CurrentContext: w.Context}
	overrides.Context.Namespace = w.Namespace
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides)
	config, err := loader.ClientConfig()
	switch {
	case clientcmd.IsEmptyConfig(err) && w.Kubeconfig != "":
		return nil, "", fmt.Errorf("kubeconfig %s names no cluster: correct it, or name another file or a --context", w.Kubeconfig)
	case clientcmd.IsEmptyConfig(err):
		return nil, "", errors.New("no kubeconfig names a cluster: name a file with --kubeconfig or KUBECONFIG")
	case err != nil:
		return nil, "", fmt.Errorf("reading the kubeconfig: %w; correct it, or name another with --kubeconfig or --context", oneLine(err))
	}
	namespace, _, err := loader.Namespace()
	if err != nil {
		return nil, "", fmt.Errorf("reading the kubeconfig: %w; name a namespace with -n", oneLine(err))
	}
	server, err := NewServer(config, userAgent)
	return server, namespace, err
}

// HasKubeconfig says whether there is a kubeconfig where kubectl looks for one.
func HasKubeconfig() bool {
	return slices.ContainsFunc(clientcmd.NewDefaultClientConfigLoadingRules().GetLoadingPrecedence(), func(file string) bool {
		_, err := os.Stat(file)
		return err == nil
	})
}
