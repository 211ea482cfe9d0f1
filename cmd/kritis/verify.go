package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kritis-node/kritis-node/policyagent/kube"
	"github.com/kritis-node/kritis-node/policyagent/policydir"
	"github.com/kritis-node/kritis-node/policyagent/workstation"
	"github.com/kritis-node/kritis-node/verifier"
)

func newVerifyCommand(p program) *cobra.Command {
	var out outputFlag
	var f judgeFlags
	var cluster *clusterFlags
	var policyDir, namespace string
	var remote remoteFlags
	var logins loginFlags
	cmd := &cobra.Command{
		Use:   "verify REFERENCE -n NAMESPACE",
		Short: "decide on an image off the node, by the policies of a folder or of a cluster",
		Long: `Decide as a node would that has these policies and runs what the registry holds now. In a pipeline this tells before a
rollout what a node will say. The policies are those of a folder (--policy-dir) or of a cluster (--kubeconfig, --context).
What a node's floor demands besides is known if it is named with --floor.

Attestations are those in the image's registry; of a cluster, its objects of kind Attestation, too; with --policy-dir and
--alicloud-config, those that Alibaba Cloud's Container Registry keeps (experimental).

Signatures are verified here. With --remote Alibaba Cloud KMS is asked too whether they are its keys'; the answer counts only
against an image.

Exit codes: 0 allowed, 1 denied, 2 could not tell or misuse.`,
		Example: p.lines("verify --policy-dir policies -n prod registry.example/app@sha256:…", "verify --context production -n prod registry.example/app@sha256:…"),
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), time.Minute)
			defer cancel()
			f.recorded = remote.record()
			account, err := logins.open()
			if err != nil {
				return err
			}
			defer account.Close()
			a, err := verify(ctx, f, cluster, account, policyDir, namespace, args[0])
			if err == nil {
				err = remote.check(ctx, &a, f.recorded)
			}
			if err != nil {
				return err
			}
			if err := out.print(cmd.OutOrStdout(), a, a.table); err != nil {
				return err
			}
			return a.err()
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&policyDir, "policy-dir", "", "`folder` with policies in YAML")
	fs.StringVarP(&namespace, "namespace", "n", "", "`namespace` that the image would run in; default: the context's, or default")
	cluster = newClusterFlags(cmd, p.kubectl)
	f.add(fs)
	logins.add(fs)
	remote.add(fs, &logins.cloud)
	out.add(cmd)
	return cmd
}

func verify(ctx context.Context, f judgeFlags, cluster *clusterFlags, account *account, policyDir, namespace, image string) (answer, error) {
	if policyDir != "" {
		if cluster.flagged() {
			return answer{}, errors.New("policy comes from one place: name either --policy-dir or a cluster")
		}
		document, err := policydir.Load(policyDir)
		if err != nil {
			return answer{}, err
		}
		return judgeImage(ctx, f, grounds{policies: document, account: account}, cmp.Or(namespace, "default"), image)
	}
	if !cluster.named() {
		return answer{}, errors.New("no policies to decide by: name a folder with --policy-dir, or a cluster with --kubeconfig or --context")
	}
	server, namespace, err := cluster.server(namespace)
	if err != nil {
		return answer{}, err
	}
	defer server.Close()
	policies, err := namespacePolicies(ctx, server, namespace)
	if err != nil {
		return answer{}, err
	}
	// Who may not list nodes gets the answer for this machine's platform, and is told which.
	platforms, _ := workstation.Platforms(ctx, server, "")
	a, err := judgeImage(ctx, f, grounds{policies.Document, platforms, server, account}, namespace, image)
	a.Notes = append(policyNotes(policies), a.Notes...)
	return a, err
}

// namespacePolicies are the policies that apply in a namespace that exists: to a name that is misspelt none would apply, and
// everything would be allowed.
func namespacePolicies(ctx context.Context, s *kube.Server, namespace string) (kube.Read, error) {
	var ignored struct{}
	err := s.ReadObject(ctx, kube.Objects{Version: "v1", Resource: "namespaces"}, namespace, &ignored)
	switch {
	case kube.IsNotFound(err):
		return kube.Read{}, fmt.Errorf("namespace %s does not exist in this cluster: correct -n, or create it", namespace)
	case err != nil && !kube.IsForbidden(err):
		return kube.Read{}, err
	}
	return kube.ReadPolicies(ctx, s, namespace)
}

// policyNotes tell what policies do not say.
func policyNotes(r kube.Read) []string {
	var lines []string
	if len(r.Missing) > 0 {
		lines = append(lines, "not installed in this cluster, so nothing is required by them: "+strings.Join(r.Missing, ", "))
	}
	_, problems := verifier.Compile(r.Document)
	if n := len(r.Problems) + len(problems); n > 0 {
		lines = append(lines, fmt.Sprintf("%d problems are in the policies that apply: see lint", n))
	}
	return lines
}
