package main

import (
	"errors"
	"os"

	"github.com/spf13/pflag"

	"github.com/kritis-node/kritis-node/policyagent"
	"github.com/kritis-node/kritis-node/policyagent/kube"
	"github.com/kritis-node/kritis-node/policyagent/policydir"
)

// policyFlags say where the agent's policy comes from.
type policyFlags struct {
	dir, kubeconfig, node string
	inCluster             bool
}

func (p *policyFlags) add(f *pflag.FlagSet) {
	f.StringVar(&p.dir, "policy-dir", "", "`folder` with policies in YAML")
	f.StringVar(&p.kubeconfig, "kubeconfig", "", "kubeconfig `file` of the cluster whose policies apply")
	f.BoolVar(&p.inCluster, "in-cluster", false, "take policies from the cluster that this process is a pod of")
	f.StringVar(&p.node, "node-name", os.Getenv("NODE_NAME"), "`name` of this node in the cluster: attestations for its pods are fetched in advance; default: NODE_NAME")
}

// sources returns the source of policies, and that of pods if there is one.
func (p *policyFlags) sources() (policyagent.PolicySource, policyagent.PodSource, error) {
	named := 0
	for _, set := range []bool{p.dir != "", p.kubeconfig != "", p.inCluster} {
		if set {
			named++
		}
	}
	if named != 1 {
		return nil, nil, errors.New("policy comes from one place: name it with --policy-dir, --kubeconfig or --in-cluster, and only one of them")
	}
	if p.dir != "" {
		return policydir.Folder(p.dir), nil, nil
	}
	server, err := p.server()
	if err != nil {
		return nil, nil, err
	}
	policies := kube.NewPolicies(server)
	if p.node == "" {
		return policies, nil, nil
	}
	pods, err := kube.NewPods(server, p.node)
	if err != nil {
		return nil, nil, err
	}
	return policies, pods, nil
}

func (p *policyFlags) server() (*kube.Server, error) {
	userAgent := "kritis-policyagent/" + version
	if p.inCluster {
		return kube.InCluster(userAgent)
	}
	return kube.Kubeconfig(p.kubeconfig, userAgent)
}
