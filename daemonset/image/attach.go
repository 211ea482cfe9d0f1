package image

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// nothing is the config of an artifact that has none, as the OCI image specification wants it.
const (
	nothing     = "{}"
	nothingType = types.MediaType("application/vnd.oci.empty.v1+json")
)

// artifact is a manifest that is its own bytes.
type artifact []byte

// RawManifest implements remote.Taggable.
func (a artifact) RawManifest() ([]byte, error) { return a, nil }

// MediaType tells what the bytes are.
func (artifact) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }

// AttachBill pushes a bill of materials as a referrer of an index that is in the repository, where `oras discover` and
// others find it. Where a registry has no API for referrers, they are listed under the tag that the OCI distribution
// specification names for that.
func AttachBill(repository name.Repository, index v1.ImageIndex, bill []byte, options ...remote.Option) error {
	raw, err := billManifest(index, bill)
	if err != nil {
		return fmt.Errorf("attaching the bill of materials: %w", err)
	}
	for _, blob := range []v1.Layer{static.NewLayer(bill, BillType), static.NewLayer([]byte(nothing), nothingType)} {
		if err := remote.WriteLayer(repository, blob, options...); err != nil {
			return fmt.Errorf("attaching the bill of materials: %w", err)
		}
	}
	digest, _, err := v1.SHA256(bytes.NewReader(raw))
	if err != nil {
		return fmt.Errorf("attaching the bill of materials: %w", err)
	}
	if err := remote.Put(repository.Digest(digest.String()), artifact(raw), options...); err != nil {
		return fmt.Errorf("attaching the bill of materials: %w", err)
	}
	return nil
}

// billManifest returns the manifest of a bill of materials whose subject is an index.
func billManifest(index v1.ImageIndex, bill []byte) ([]byte, error) {
	digest, err := index.Digest()
	if err != nil {
		return nil, err
	}
	size, err := index.Size()
	if err != nil {
		return nil, err
	}
	blob := func(content []byte, of types.MediaType) v1.Descriptor {
		hash := sha256.Sum256(content)
		return v1.Descriptor{MediaType: of, Size: int64(len(content)), Digest: v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(hash[:])}}
	}
	content := blob(bill, BillType)
	// The name under which it is pulled into a folder.
	content.Annotations = map[string]string{"org.opencontainers.image.title": "kritis-node.cdx.json"}
	return json.Marshal(v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: BillType,
		Config: blob([]byte(nothing), nothingType), Layers: []v1.Descriptor{content},
		Subject: &v1.Descriptor{MediaType: types.OCIImageIndex, Size: size, Digest: digest},
	})
}
