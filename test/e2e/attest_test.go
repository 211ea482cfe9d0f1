package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/kritis-node/kritis-node/test/stack"
)

// repositoryOf is a reference by digest without the digest.
func repositoryOf(reference string) string {
	repository, _, _ := strings.Cut(reference, "@")
	return repository
}

// hexOf is the digest of a reference, without its algorithm.
func hexOf(reference string) string {
	_, hex, _ := strings.Cut(reference, "@sha256:")
	return hex
}

// kritisPayload is what kritis, and Security Center, sign for an image.
func kritisPayload(reference string) string {
	return fmt.Sprintf(`{"critical":{"identity":{"docker-reference":%q},"image":{"docker-manifest-digest":"sha256:%s"},"type":"atomic container signature"}}`,
		repositoryOf(reference), hexOf(reference))
}

// signWithOpenSSL signs the payload of kritis' form with openssl and puts the attestation into the agent's folder.
func (s *site) signWithOpenSSL(t *testing.T, key stack.Key, reference string, sigopt ...string) {
	t.Helper()
	payload := kritisPayload(reference)
	args := []string{"dgst", "-sha256", "-sign", key.Private}
	for _, o := range sigopt {
		args = append(args, "-sigopt", o)
	}
	cmd := exec.CommandContext(t.Context(), "openssl", args...)
	cmd.Stdin = strings.NewReader(payload)
	signature, err := cmd.Output()
	check(t, err)
	type signed struct {
		PublicKeyID string `json:"publicKeyId"`
		Signature   []byte `json:"signature"`
	}
	attestation, err := json.Marshal(map[string]any{"serializedPayload": []byte(payload), "signatures": []signed{{"a key", signature}}})
	check(t, err)
	check(t, os.WriteFile(filepath.Join(s.AttestationDir(), "sha256-"+hexOf(reference)+".json"), attestation, 0o644))
}

// copySignatures copies what is attached to one image to another one, by the tags that registries without the referrers
// API have for it. suffix is ".sig" for the classic form, empty for bundles.
func (s *site) copySignatures(t *testing.T, from, to, suffix string) {
	t.Helper()
	tag := func(reference string) name.Tag {
		tag, err := name.NewTag(repositoryOf(reference) + ":sha256-" + hexOf(reference) + suffix)
		check(t, err)
		return tag
	}
	options := s.Registry.RemoteOptions(t.Context())
	descriptor, err := remote.Get(tag(from), options...)
	check(t, err)
	if descriptor.MediaType.IsIndex() {
		index, err := descriptor.ImageIndex()
		check(t, err)
		check(t, remote.WriteIndex(tag(to), index, options...))
		return
	}
	image, err := descriptor.Image()
	check(t, err)
	check(t, remote.Write(tag(to), image, options...))
}

// imageOf returns an image as the registry has it.
func (s *site) imageOf(t *testing.T, reference string) v1.Image {
	t.Helper()
	digest, err := name.NewDigest(reference)
	check(t, err)
	image, err := remote.Image(digest, s.Registry.RemoteOptions(t.Context())...)
	check(t, err)
	return image
}
