package main

import (
	"errors"
	"os"

	"github.com/spf13/pflag"

	"github.com/kritis-node/kritis-node/policyagent"
	"github.com/kritis-node/kritis-node/policyagent/attestations"
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

// attestationFlags say what is taken from the cluster's own objects of kind Attestation.
type attestationFlags struct {
	read  bool
	asked []string
}

// askedOfController are the registries about whose images nodes ask the controller unless they are told otherwise.
func askedOfController() []string { return []string{"*.cr.aliyuncs.com"} }

func (a *attestationFlags) add(f *pflag.FlagSet) {
	f.BoolVar(&a.read, "cluster-attestations", true, "in a cluster, take attestations from its objects of kind Attestation too")
	f.StringSliceVar(&a.asked, "ask-controller", askedOfController(), "`hosts` of registries about whose images the controller is asked, through such an object: it fetches what nodes may not; \"*.\" at the beginning stands for any name")
}

// source returns the cluster's objects, nil without a cluster or if they are not wanted.
func (a *attestationFlags) source(p *policyFlags) (attestations.Source, error) {
	if !a.read || p.dir != "" {
		return nil, nil
	}
	server, err := p.server()
	if err != nil {
		return nil, err
	}
	return kube.NewAttestations(server, a.asked)
}

func (p *policyFlags) server() (*kube.Server, error) {
	userAgent := "kritis-policyagent/" + version
	if p.inCluster {
		return kube.InCluster(userAgent)
	}
	return kube.Kubeconfig(p.kubeconfig, userAgent)
}
