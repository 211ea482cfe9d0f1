package registry

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/kritis-node/kritis-node/verifier"
)

// errAbsentImage says that the registry has no such image.
var errAbsentImage = errors.New("the registry has no such image: push it first, and see that the name is right")

// Image is what a reference means in a registry.
type Image struct {
	// Digest is that of the reference: of an index or a manifest.
	Digest verifier.Digest
	// Manifests are the platform manifests under an index; empty for a manifest.
	Manifests []Platform
}

// Platform is one platform manifest of an index.
type Platform struct {
	// Name is "linux/amd64" or "linux/arm64/v8", say; empty if the index does not tell.
	Name   string
	Digest verifier.Digest
}

// Resolve asks the registry itself, no mirror, what a reference means.
func (s *Source) Resolve(ctx context.Context, ref verifier.Reference) (Image, error) {
	repository, options, secrets, err := s.remote(ctx, ref.Repository)
	if err != nil {
		return Image{}, err
	}
	var asked name.Reference = repository.Tag(ref.Tag)
	if ref.Digest != "" {
		asked = repository.Digest(string(ref.Digest))
	}
	desc, err := remote.Get(asked, options...)
	if isAbsent(err) {
		return Image{}, fmt.Errorf("%s: %w", ref.Name(), errAbsentImage)
	}
	if err != nil {
		return Image{}, errors.New(redact(err, secrets))
	}
	digest, err := verifier.ParseDigest(desc.Digest.String())
	if err != nil {
		return Image{}, fmt.Errorf("%s: %w", ref.Name(), err)
	}
	image := Image{Digest: digest}
	if !desc.MediaType.IsIndex() {
		return image, nil
	}
	index, err := v1.ParseIndexManifest(bytes.NewReader(desc.Manifest))
	if err != nil {
		return Image{}, fmt.Errorf("%s: it is not the JSON of an index; push it again", ref.Name())
	}
	for _, m := range index.Manifests {
		if d, err := verifier.ParseDigest(m.Digest.String()); err == nil && m.Platform != nil {
			image.Manifests = append(image.Manifests, Platform{m.Platform.String(), d})
		}
	}
	return image, nil
}

// AddSignature stores a signature in cosign's classic form beside the image, keeping those that are there. It returns
// false if there was already one over the same payload that own recognizes.
func (s *Source) AddSignature(ctx context.Context, repository string, d verifier.Digest, payload, signature []byte, own func(signature []byte) bool) (bool, error) {
	repo, options, secrets, err := s.remote(ctx, repository)
	if err != nil {
		return false, err
	}
	tag := repo.Tag("sha256-" + d.Hex() + ".sig")
	layer := static.NewLayer(payload, simpleSigning)
	statement, err := layer.Digest()
	if err != nil {
		return false, err
	}
	// Registries cannot add to a manifest: of two writers at once the later one wins. So look whether we are in it, and
	// add ourselves again if not.
	const attempts = 3
	for attempt := range attempts {
		have, err := readSignatures(tag, options)
		if err != nil {
			return false, errors.New(redact(err, secrets))
		}
		present, count, err := contains(have, statement, own)
		if err != nil {
			return false, errors.New(redact(err, secrets))
		}
		if present {
			return attempt > 0, nil
		}
		if count >= verifier.MaxAttestations {
			return false, fmt.Errorf("%s has %d signatures and may have %d: remove old ones", tag, count, verifier.MaxAttestations)
		}
		next, err := mutate.Append(have, mutate.Addendum{
			Layer:       layer,
			Annotations: map[string]string{signatureAnnotation: base64.StdEncoding.EncodeToString(signature)},
		})
		if err != nil {
			return false, err
		}
		if err := remote.Write(tag, next, options...); err != nil {
			return false, errors.New(redact(err, secrets))
		}
	}
	have, err := readSignatures(tag, options)
	if err != nil {
		return false, errors.New(redact(err, secrets))
	}
	if present, _, err := contains(have, statement, own); err != nil || !present {
		return false, fmt.Errorf("%s: others write it at the same time: try again", tag)
	}
	return true, nil
}

// readSignatures returns the image that holds the signatures, or an empty one.
func readSignatures(tag name.Tag, options []remote.Option) (v1.Image, error) {
	image, err := remote.Image(tag, options...)
	if isAbsent(err) {
		return mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON), nil
	}
	return image, err
}

// contains says whether a signature over the statement is own, and how many signatures there are.
func contains(image v1.Image, statement v1.Hash, own func([]byte) bool) (bool, int, error) {
	m, err := image.Manifest()
	if err != nil {
		return false, 0, err
	}
	for _, l := range m.Layers {
		signature, err := base64.StdEncoding.DecodeString(l.Annotations[signatureAnnotation])
		if err == nil && l.Digest == statement && own(signature) {
			return true, len(m.Layers), nil
		}
	}
	return false, len(m.Layers), nil
}

// remote prepares go-containerregistry to read and write one repository by our settings of its host.
func (s *Source) remote(ctx context.Context, repository string) (name.Repository, []remote.Option, []string, error) {
	endpoints, err := s.endpoints(repository)
	if err != nil {
		return name.Repository{}, nil, nil, err
	}
	e := endpoints[len(endpoints)-1] // the host itself
	as, err := s.credentials.resolve(ctx, e.host, e.path)
	if err != nil {
		return name.Repository{}, nil, nil, err
	}
	options := []name.Option{name.StrictValidation}
	if s.transports.settings(e.host).PlainHTTP {
		options = append(options, name.Insecure)
	}
	repo, err := name.NewRepository(e.String(), options...)
	if err != nil {
		return name.Repository{}, nil, nil, fmt.Errorf("%s is not the name of a repository: correct the image's name", oneLine(repository))
	}
	return repo, []remote.Option{remote.WithContext(ctx), remote.WithAuth(as.authenticator()), remote.WithTransport(guard{s.transports, e.host, !as.anonymous()})}, as.secrets, nil
}

func isAbsent(err error) bool {
	var t *transport.Error
	return errors.As(err, &t) && t.StatusCode == http.StatusNotFound
}
