package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/kritis-node/kritis-node/plugin"
	"github.com/kritis-node/kritis-node/policyagent"
	"github.com/kritis-node/kritis-node/policyagent/attestations/folder"
	"github.com/kritis-node/kritis-node/policyagent/attestations/registry"
	"github.com/kritis-node/kritis-node/policyagent/kube"
	"github.com/kritis-node/kritis-node/policyagent/nodestate"
)

func newPolicyAgentCommand() *cobra.Command {
	cfg := policyagent.Config{StateDir: nodestate.DefaultDir, Socket: nodestate.DefaultSocket, MaxRecords: policyagent.DefaultMaxRecords}
	var attestationDir string
	var fromRegistries, pullSecrets bool
	var policies policyFlags
	var objects attestationFlags
	var logins loginFlags
	var reportNamespace string
	var registries registryFlags
	var logging logFlags
	cmd := &cobra.Command{
		Use:   "policyagent (--policy-dir DIR | --kubeconfig FILE | --in-cluster)",
		Short: "supply the plugin of this node with policy and attestations",
		Long: `Read policy from a folder of YAML or from a cluster, and again whenever it changes; fetch attestations from registries and
from a folder when the plugin asks, and in a cluster as soon as a pod is bound to this node; write both to the state folder,
where they survive a reboot.

The agent never decides. While it or the cluster is down, everything that is known goes on as before.`,
		Example: `  kritis policyagent --policy-dir /etc/kritis/policies
  kritis policyagent --in-cluster --node-name "$NODE_NAME" --listen :9464`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := logging.logger(cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if cfg.Policies, cfg.Pods, err = policies.sources(); err != nil {
				return err
			}
			asked, err := logins.open()
			if err != nil {
				return err
			}
			defer asked.Close()
			if fromRegistries {
				hosts, err := registries.config()
				if err != nil {
					return err
				}
				secrets, err := pullSecretsOf(cfg.Pods, pullSecrets)
				if err != nil {
					return err
				}
				hosts.Further = joined(secrets, asked.keychain())
				reg, err := registry.New(hosts)
				if err != nil {
					return err
				}
				defer reg.Close()
				cfg.Sources = append(cfg.Sources, reg)
			}
			if attestationDir != "" {
				dir, err := folder.New(attestationDir)
				if err != nil {
					return err
				}
				cfg.Sources = append(cfg.Sources, dir)
			}
			if asked != nil && policies.dir != "" {
				// Without a cluster there is no controller that asks for all nodes.
				kept, err := asked.attestations(nil)
				if err != nil {
					return err
				}
				cfg.Sources = append(cfg.Sources, kept)
			}
			if kept, err := objects.source(&policies); err != nil {
				return err
			} else if kept != nil {
				cfg.Sources = append(cfg.Sources, kept)
			}
			cfg.Logger, cfg.Version = log, version
			if err := policies.tellCluster(&cfg, reportNamespace, log); err != nil {
				return err
			}
			agent, err := policyagent.New(cfg)
			if err != nil {
				return err
			}
			return agent.Run(cmd.Context())
		},
	}
	f := cmd.Flags()
	policies.add(f)
	f.StringVar(&cfg.Listen, "listen", "", "TCP `address` of /metrics, /healthz and /readyz, such as :9464; empty for none")
	f.BoolVar(&fromRegistries, "registry", true, "fetch attestations from the registries of the images")
	f.BoolVar(&pullSecrets, "pull-secrets", false, "where the node's own credentials do not suffice, use image pull secrets of pods on this node, for their images' repositories; the account must be allowed to get secrets")
	f.StringVar(&attestationDir, "attestation-dir", "", "`folder` with attestations, besides registries")
	objects.add(f)
	logins.add(f)
	f.StringVar(&cfg.StateDir, "state-dir", cfg.StateDir, "`folder` to write for the plugin")
	f.StringVar(&cfg.Socket, "socket", cfg.Socket, "`socket` on which the plugin asks for attestations")
	f.StringVar(&cfg.PluginSocket, "plugin-socket", plugin.DefaultSocket, "the plugin's `socket`, whose metrics are served beside the agent's; empty for none")
	f.StringVar(&reportNamespace, "report-namespace", "", "`namespace` in which the node reports its enforcement in a Lease; empty for none")
	f.IntVar(&cfg.MaxRecords, "max-records", cfg.MaxRecords, "`number` of images whose attestations are kept")
	f.BoolVar(&cfg.UnsafeDryRun, "unsafe-dry-run", false, "let images that fail run all the same on this node, and say so")
	registries.add(f)
	logging.add(f)
	return cmd
}

// pullSecretsOf returns the image pull secrets of the node's pods, or nothing if they are not wanted.
func pullSecretsOf(source policyagent.PodSource, wanted bool) (registry.Keychain, error) {
	if !wanted {
		return nil, nil
	}
	pods, ok := source.(*kube.Pods)
	if !ok {
		return nil, errors.New("--pull-secrets needs a cluster and the node's name: give --in-cluster or --kubeconfig, and --node-name")
	}
	return pods.PullSecrets(), nil
}
