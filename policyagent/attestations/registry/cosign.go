package registry

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/kritis-node/kritis-node/policyagent/attestations"
	"github.com/kritis-node/kritis-node/verifier"
)

// Names of cosign's classic form: https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md
const (
	simpleSigning       = "application/vnd.dev.cosign.simplesigning.v1+json"
	signatureAnnotation = "dev.cosignproject.cosign/signature"
)

// classic adds cosign's classic signatures to the list. What can be read is added even if the rest cannot.
func (s *session) classic(ctx context.Context, d verifier.Digest, list *attestations.List) error {
	tag := "sha256-" + d.Hex() + ".sig"
	data, err := s.manifest(ctx, tag, types.OCIManifestSchema1, types.DockerManifestSchema2)
	if err != nil || data == nil {
		return err
	}
	layers, err := signatureLayers(data)
	if err != nil {
		return fmt.Errorf("manifest %s: %w", tag, err)
	}
	// Signatures of one image have one payload, so a manifest of hundreds needs one read. The bound on layers
	// bounds what is kept.
	payloads := map[v1.Hash][]byte{}
	var errs []error
	for _, l := range layers {
		a, err := s.classicLayer(ctx, l, payloads)
		if err == nil {
			a.Source = source(s.endpoint, tag)
			err = list.Add(a)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("manifest %s: %w", tag, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return first(errs)
}

// signatureLayers returns the layers of a classic signature manifest that are signatures.
func signatureLayers(manifest []byte) ([]v1.Descriptor, error) {
	m, err := parseManifest(manifest)
	if err != nil {
		return nil, err
	}
	var layers []v1.Descriptor
	for _, l := range m.Layers {
		if l.MediaType == simpleSigning {
			layers = append(layers, l)
		}
	}
	if len(layers) > verifier.MaxAttestations {
		return nil, fmt.Errorf("it has %d signatures and may have %d: remove old ones", len(layers), verifier.MaxAttestations)
	}
	return layers, nil
}

func (s *session) classicLayer(ctx context.Context, l v1.Descriptor, payloads map[v1.Hash][]byte) (verifier.Attestation, error) {
	signature, err := base64.StdEncoding.DecodeString(l.Annotations[signatureAnnotation])
	if err != nil || len(signature) == 0 {
		return verifier.Attestation{}, fmt.Errorf("layer %s has no signature in annotation %s; sign the image again", l.Digest, signatureAnnotation)
	}
	payload, ok := payloads[l.Digest]
	if !ok {
		if payload, err = s.blob(ctx, l, verifier.MaxPayload); err != nil {
			return verifier.Attestation{}, err
		}
		payloads[l.Digest] = payload
	}
	return verifier.Attestation{
		Format: verifier.FormatCosign, Payload: payload,
		Signatures: []verifier.Signature{{Value: signature}},
	}, nil
}

// source names a place for people, within the limit of such texts.
func source(e endpoint, where string) string {
	text := e.String() + where
	if len(where) > 0 {
		text = e.String() + ":" + where
	}
	if len(text) > attestations.MaxText {
		text = text[:attestations.MaxText]
	}
	return text
}

// first returns the first error and how many follow: one broken layer often comes with a hundred.
func first(errs []error) error {
	switch len(errs) {
	case 0:
		return nil
	case 1:
		return errs[0]
	default:
		return errors.New(errs[0].Error() + fmt.Sprintf(" (and %d more like this)", len(errs)-1))
	}
}
