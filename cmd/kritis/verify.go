package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/kritis-node/kritis-node/plugin"
	"github.com/kritis-node/kritis-node/policyagent/attestations"
	"github.com/kritis-node/kritis-node/policyagent/attestations/folder"
	"github.com/kritis-node/kritis-node/policyagent/attestations/registry"
	"github.com/kritis-node/kritis-node/policyagent/offnode"
	"github.com/kritis-node/kritis-node/policyagent/policydir"
	"github.com/kritis-node/kritis-node/verifier"
)

type verifyFlags struct {
	policyDir, floor, attestationDir, namespace, platform, handler string
	registries                                                     registryFlags
}

func newVerifyCommand() *cobra.Command {
	var out outputFlag
	var f verifyFlags
	cmd := &cobra.Command{
		Use:   "verify --policy-dir DIR -n NAMESPACE REFERENCE",
		Short: "decide on an image off the node, by a folder of policies",
		Long: `Decide as a node would that has the policies of the folder and runs what the registry holds now. In a pipeline this
tells before a rollout what a node will say. Exit codes: 0 allowed, 1 denied, 2 could not tell or misuse.`,
		Example: "  kritis verify --policy-dir policies -n prod registry.example/app@sha256:…",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			f.registries.useDefaults()
			a, err := verify(cmd.Context(), f, args[0])
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
	fs.StringVar(&f.policyDir, "policy-dir", "", "`folder` with policies in YAML")
	_ = cmd.MarkFlagRequired("policy-dir")
	fs.StringVarP(&f.namespace, "namespace", "n", "default", "`namespace` that the image would run in")
	fs.StringVar(&f.floor, "floor", "", "`file` with the node's minimum policy")
	fs.StringVar(&f.attestationDir, "attestation-dir", "", "`folder` with attestations, besides the registry")
	fs.StringVar(&f.platform, "platform", "linux/"+runtime.GOARCH, "`platform` of the node, for images of several")
	fs.StringVar(&f.handler, "runtime-handler", "", "runtime `handler` of the pod")
	f.registries.addForUser(fs)
	out.add(cmd)
	return cmd
}

func verify(ctx context.Context, f verifyFlags, image string) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	rules, err := readRules(f.policyDir, f.floor)
	if err != nil {
		return answer{}, err
	}
	cfg, err := f.registries.config()
	if err != nil {
		return answer{}, err
	}
	reg, err := registry.New(cfg)
	if err != nil {
		return answer{}, err
	}
	defer reg.Close()
	sources := []attestations.Source{reg}
	if f.attestationDir != "" {
		dir, err := folder.New(f.attestationDir)
		if err != nil {
			return answer{}, err
		}
		sources = append(sources, dir)
	}
	req := verifier.Request{Namespace: f.namespace, Image: image, RuntimeHandler: f.handler, Now: time.Now()}
	v := offnode.Judge(ctx, rules, req, f.platform, reg, sources...)
	a := answer{Namespace: f.namespace, Image: image, Admitted: v.Admits(), Verdict: v, Basis: "the registry, for " + f.platform}
	if v.Outcome != verifier.Allowed {
		a.Message = verifier.Message(image, v)
	}
	return a, nil
}

// readRules reads a policy folder and, if named, a floor. Problems in the policies do not stop it: they attest, allow
// and satisfy nothing.
func readRules(policyDir, floorFile string) (verifier.Rules, error) {
	doc, err := policydir.Load(policyDir)
	if err != nil {
		return verifier.Rules{}, err
	}
	var rules verifier.Rules
	rules.Cluster, _ = verifier.Compile(doc)
	if floorFile == "" {
		return rules, nil
	}
	floor, text, err := plugin.LoadFloor(floorFile)
	if err == nil && text == "" {
		err = fmt.Errorf("floor file %s: %w", floorFile, errors.New("it does not exist or is empty"))
	}
	rules.Floor = floor
	return rules, err
}
