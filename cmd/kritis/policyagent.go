package main

import (
	"github.com/spf13/cobra"

	"github.com/kritis-node/kritis-node/policyagent"
	"github.com/kritis-node/kritis-node/policyagent/attestations/folder"
	"github.com/kritis-node/kritis-node/policyagent/attestations/registry"
	"github.com/kritis-node/kritis-node/policyagent/nodestate"
	"github.com/kritis-node/kritis-node/policyagent/policydir"
)

func newPolicyAgentCommand() *cobra.Command {
	cfg := policyagent.Config{StateDir: nodestate.DefaultDir, Socket: nodestate.DefaultSocket, MaxRecords: policyagent.DefaultMaxRecords}
	var policyDir, attestationDir string
	var fromRegistries bool
	var registries registryFlags
	var logging logFlags
	cmd := &cobra.Command{
		Use:   "policyagent --policy-dir DIR",
		Short: "supply the plugin of this node with policy and attestations",
		Long: `Read policy from a folder of YAML, and again whenever it changes; fetch attestations from registries and from a folder
when the plugin asks; write both to the state folder, where they survive a reboot.

The agent never decides. While it is down, everything that is known goes on as before.`,
		Example: "  kritis policyagent --policy-dir /etc/kritis/policies",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := logging.logger(cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if fromRegistries {
				hosts, err := registries.config()
				if err != nil {
					return err
				}
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
			cfg.Policies, cfg.Logger, cfg.Version = policydir.Folder(policyDir), log, version
			agent, err := policyagent.New(cfg)
			if err != nil {
				return err
			}
			return agent.Run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringVar(&policyDir, "policy-dir", "", "`folder` with policies in YAML")
	_ = cmd.MarkFlagRequired("policy-dir")
	f.BoolVar(&fromRegistries, "registry", true, "fetch attestations from the registries of the images")
	f.StringVar(&attestationDir, "attestation-dir", "", "`folder` with attestations, besides registries")
	f.StringVar(&cfg.StateDir, "state-dir", cfg.StateDir, "`folder` to write for the plugin")
	f.StringVar(&cfg.Socket, "socket", cfg.Socket, "`socket` on which the plugin asks for attestations")
	f.IntVar(&cfg.MaxRecords, "max-records", cfg.MaxRecords, "`number` of images whose attestations are kept")
	f.BoolVar(&cfg.UnsafeDryRun, "unsafe-dry-run", false, "let images that fail run all the same on this node, and say so")
	registries.add(f)
	logging.add(f)
	return cmd
}
