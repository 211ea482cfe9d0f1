package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/kritis-node/kritis-node/policyagent/attestations/registry"
	"github.com/kritis-node/kritis-node/policyagent/signing"
	"github.com/kritis-node/kritis-node/verifier"
)

// signed is what sign did.
type signed struct {
	Image string `json:"image"`
	// Reference names the image by digest: write this into manifests.
	Reference   string          `json:"reference"`
	Digest      verifier.Digest `json:"digest"`
	Fingerprint string          `json:"fingerprint"`
	Algorithm   string          `json:"algorithm"`
	// Stored is where the signature is; New says whether it was put there now.
	Stored string `json:"stored"`
	New    bool   `json:"new"`
	Note   string `json:"note,omitempty"`
}

func newSignCommand(p program) *cobra.Command {
	var out outputFlag
	var reg registryFlags
	var key keyFlags
	cmd := &cobra.Command{
		Use:   "sign --key KEY REFERENCE",
		Short: "attest an image: sign its digest and store the signature beside it",
		Long: `Sign the digest of an image with a private key and store the signature in the image's repository, in the form that
cosign calls classic: "cosign verify --key" accepts it too. Signing twice changes nothing. The key is in a file, or stays in
Alibaba Cloud KMS (` + kmsScheme + `…), which signs then.

An image that is named by tag is signed under the digest that the tag has now. Of a multi-platform image the index is
signed, which covers every platform in it.

With -o yaml nothing is stored: the attestation is printed as an object of kind Attestation, for kubectl, a Git repository or
a USB stick. If the image is named by digest, its registry is not asked.`,
		Example: p.lines("sign --key team.pem registry.example/app:v1", "sign --key "+kmsScheme+"alias/team --alicloud-config alicloud.yaml registry.example/app:v1"),
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if out.format == formatObject {
				reg.useDefaults()
				return signObject(cmd.Context(), cmd.OutOrStdout(), reg, key, args[0])
			}
			if err := out.check(); err != nil {
				return fmt.Errorf("%w, or yaml", err)
			}
			reg.useDefaults()
			s, err := sign(cmd.Context(), reg, key, args[0])
			if err != nil {
				return err
			}
			return out.print(cmd.OutOrStdout(), s, s.table)
		},
	}
	key.add(cmd.Flags())
	_ = cmd.MarkFlagRequired("key")
	reg.addForUser(cmd.Flags())
	out.add(cmd)
	cmd.Flags().Lookup("output").Usage += ", or yaml: an object of kind Attestation, instead of storing the signature"
	return cmd
}

func sign(ctx context.Context, reg registryFlags, k keyFlags, image string) (signed, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	ref, err := verifier.ParseReference(image)
	if err != nil {
		return signed{}, fmt.Errorf("image %s: %w", image, err)
	}
	key, done, err := k.open(ctx)
	if err != nil {
		return signed{}, err
	}
	defer done()
	cfg, err := reg.config()
	if err != nil {
		return signed{}, err
	}
	source, err := registry.New(cfg)
	if err != nil {
		return signed{}, err
	}
	defer source.Close()
	resolved, err := source.Resolve(ctx, ref)
	if err != nil {
		return signed{}, fmt.Errorf("look the image up: %w", err)
	}
	payload, err := signing.Payload(ref.Repository, resolved.Digest)
	if err != nil {
		return signed{}, err
	}
	s := signed{Image: image, Digest: resolved.Digest, Algorithm: key.Algorithm(), Fingerprint: key.Fingerprint(), Reference: ref.Repository + "@" + string(resolved.Digest),
		Stored: ref.Repository + ":sha256-" + resolved.Digest.Hex() + ".sig"}
	if key.NeedsNaming() {
		s.Note = "authorities accept this key only if they name the algorithm " + key.Algorithm()
	}
	signature, err := key.Sign(ctx, payload)
	if err != nil {
		return signed{}, err
	}
	// Signatures of EC keys differ every time, so ask the key which are its own.
	own := func(signature []byte) bool { return key.Made(payload, signature) }
	s.New, err = source.AddSignature(ctx, ref.Repository, resolved.Digest, payload, signature, own)
	if err != nil {
		return signed{}, fmt.Errorf("store the signature: %w", err)
	}
	return s, nil
}

func (s signed) table(w io.Writer) {
	fmt.Fprintf(w, "SIGNED\t%s\nKEY\t%s (%s)\nSTORED\t%s", s.Reference, s.Fingerprint, s.Algorithm, s.Stored)
	if !s.New {
		fmt.Fprint(w, " (was there already)")
	}
	fmt.Fprintln(w)
	if s.Note != "" {
		fmt.Fprintf(w, "NOTE\t%s\n", s.Note)
	}
}
