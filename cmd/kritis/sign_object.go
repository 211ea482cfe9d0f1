package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/kritis-node/kritis-node/policyagent/api/v1beta1"
	"github.com/kritis-node/kritis-node/policyagent/attestations/registry"
	"github.com/kritis-node/kritis-node/policyagent/signing"
	"github.com/kritis-node/kritis-node/verifier"
)

// formatObject is what -o says to have the attestation as an object instead of in the registry.
const formatObject = "yaml"

// attestationObject is an Attestation without what only the API server and the controller write.
type attestationObject struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec v1beta1.AttestationSpec `json:"spec"`
}

// signObject writes the attestation of an image as YAML, and stores nothing. An image that is named by digest need not be
// within reach.
func signObject(ctx context.Context, out io.Writer, reg registryFlags, k keyFlags, image string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	ref, err := verifier.ParseReference(image)
	if err != nil {
		return fmt.Errorf("image %s: %w", image, err)
	}
	key, done, err := k.open(ctx)
	if err != nil {
		return err
	}
	defer done()
	digest := ref.Digest
	if digest == "" {
		if digest, err = lookUp(ctx, reg, ref); err != nil {
			return err
		}
	}
	payload, err := signing.Payload(ref.Repository, digest)
	if err != nil {
		return err
	}
	signature, err := key.Sign(ctx, payload)
	if err != nil {
		return err
	}
	statement, err := v1beta1.StatementOf(verifier.Attestation{Format: verifier.FormatCosign, Payload: payload, Signatures: []verifier.Signature{{KeyID: key.Fingerprint(), Value: signature}}})
	if err != nil {
		return fmt.Errorf("writing the attestation: %w", err)
	}
	o := attestationObject{APIVersion: v1beta1.APIVersion, Kind: v1beta1.KindAttestation, Spec: v1beta1.AttestationSpec{Statements: []v1beta1.Statement{statement}}}
	o.Metadata.Name = v1beta1.AttestationName(digest)
	text, err := yaml.Marshal(o)
	if err != nil {
		return fmt.Errorf("writing the attestation: %w", err)
	}
	// kubectl takes away what the same manager applied before: two signers, or two repositories, must not be one.
	sum := sha256.Sum256([]byte(key.Fingerprint() + "\n" + ref.Repository))
	_, err = fmt.Fprintf(out, "# %s@%s, signed with %s\n# kubectl apply --server-side --field-manager=kritis-sign-%s -f FILE\n%s",
		ref.Repository, digest, key.Fingerprint(), hex.EncodeToString(sum[:4]), text)
	return err
}

func lookUp(ctx context.Context, reg registryFlags, ref verifier.Reference) (verifier.Digest, error) {
	cfg, err := reg.config()
	if err != nil {
		return "", err
	}
	source, err := registry.New(cfg)
	if err != nil {
		return "", err
	}
	defer source.Close()
	resolved, err := source.Resolve(ctx, ref)
	if err != nil {
		return "", fmt.Errorf("look the image up: %w", err)
	}
	return resolved.Digest, nil
}
