package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/kritis-node/kritis-node/policyagent/attestations"
	"github.com/kritis-node/kritis-node/verifier"
)

const (
	bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"
	// cosign says by this annotation what a bundle states. It is no proof, but saves reading SBOMs of megabytes, which
	// approve nothing: verifier accepts signPredicate only.
	predicateAnnotation = "dev.sigstore.bundle.predicateType"
	signPredicate       = "https://sigstore.dev/cosign/sign/v1"
	// emptyConfig is what registries from before OCI 1.1 list as artifact type: that of the configuration.
	emptyConfig = "application/vnd.oci.empty.v1+json"

	// maxPages is the number of pages of referrers of one digest, maxReferrers that of referrers on them.
	maxPages     = 16
	maxReferrers = 4096
)

// bundles adds the sigstore bundles that refer to the digest to the list.
func (s *session) bundles(ctx context.Context, d verifier.Digest, list *attestations.List) error {
	referrers, err := s.referrers(ctx, d)
	if err != nil {
		return err
	}
	referrers, err = candidates(referrers)
	errs := []error{}
	if err != nil {
		errs = append(errs, err)
	}
	for _, r := range referrers {
		a, err := s.bundle(ctx, r, d)
		if err == nil && a != nil {
			err = list.Add(*a)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("referrer %s: %w", r.Digest, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return first(errs)
}

// candidates are the referrers that may be bundles of signatures. Those without an artifact type may: tools that
// write fallback indexes by hand leave it out. What they are their manifests say.
func candidates(referrers []v1.Descriptor) ([]v1.Descriptor, error) {
	var bundles []v1.Descriptor
	for _, r := range referrers {
		predicate, said := r.Annotations[predicateAnnotation]
		if slices.Contains([]string{bundleType, emptyConfig, ""}, r.ArtifactType) && (!said || predicate == signPredicate) {
			bundles = append(bundles, r)
		}
	}
	if len(bundles) > verifier.MaxAttestations {
		return bundles[:verifier.MaxAttestations], fmt.Errorf("%d bundles refer to the digest, %d are read: remove old ones", len(bundles), verifier.MaxAttestations)
	}
	return bundles, nil
}

// referrers lists what refers to the digest, by the referrers API or by the tag that stands in for it.
// https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-referrers
func (s *session) referrers(ctx context.Context, d verifier.Digest) ([]v1.Descriptor, error) {
	start := s.base
	start.Path += "/referrers/" + string(d)
	start.RawQuery = url.Values{"artifactType": {bundleType}}.Encode()
	var all []v1.Descriptor
	for page, u := 0, &start; u != nil; page++ {
		if page == maxPages {
			return nil, fmt.Errorf("referrers of %s: there are more than %d pages: remove old attestations", d, maxPages)
		}
		// The statuses of registries that do not know the API. A 404 is the one that the specification asks for.
		statuses := []int{http.StatusOK}
		if page == 0 {
			statuses = append(statuses, http.StatusNotFound, http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotAcceptable, http.StatusNotImplemented)
		}
		a, err := s.get(ctx, *u, maxManifest, []types.MediaType{types.OCIImageIndex}, statuses...)
		if err != nil {
			return nil, fmt.Errorf("referrers of %s: %w", d, err)
		}
		if a.status != http.StatusOK {
			return s.fallback(ctx, d)
		}
		index, err := parseIndex(a.body)
		if err != nil {
			return nil, fmt.Errorf("referrers of %s: %w", d, err)
		}
		all = append(all, index.Manifests...)
		if len(all) > maxReferrers {
			return nil, fmt.Errorf("referrers of %s: there are more than %d: remove old ones", d, maxReferrers)
		}
		if u, err = nextPage(*u, a.header); err != nil {
			return nil, fmt.Errorf("referrers of %s: %w", d, err)
		}
	}
	return all, nil
}

// fallback reads the index that stands in for the referrers API.
// https://github.com/opencontainers/distribution-spec/blob/main/spec.md#referrers-tag-schema
func (s *session) fallback(ctx context.Context, d verifier.Digest) ([]v1.Descriptor, error) {
	tag := "sha256-" + d.Hex()
	data, err := s.manifest(ctx, tag, types.OCIImageIndex)
	if err != nil || data == nil {
		return nil, err
	}
	index, err := parseIndex(data)
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", tag, err)
	}
	if len(index.Manifests) > maxReferrers {
		return nil, fmt.Errorf("manifest %s: it has more than %d entries: remove old ones", tag, maxReferrers)
	}
	return index.Manifests, nil
}

// nextLink finds the next page in a Link header: https://www.rfc-editor.org/rfc/rfc8288
var nextLink = regexp.MustCompile(`<([^<>]*)>\s*(?:;[^,<]*)?;\s*rel="?next"?`)

// nextPage returns the next page's address, which must be one of the same list, or nil.
func nextPage(current url.URL, header http.Header) (*url.URL, error) {
	for _, h := range header.Values("Link") {
		m := nextLink.FindStringSubmatch(h)
		if m == nil {
			continue
		}
		next, err := current.Parse(m[1])
		if err != nil || next.Scheme != current.Scheme || next.Host != current.Host || next.Path != current.Path || next.User != nil {
			return nil, errors.New("the next page is elsewhere; see that the host is a registry")
		}
		return next, nil
	}
	return nil, nil
}

// bundle reads one referrer. It is nil if it turns out to be something else than a bundle of a signature.
func (s *session) bundle(ctx context.Context, r v1.Descriptor, d verifier.Digest) (*verifier.Attestation, error) {
	data, err := s.manifest(ctx, r.Digest.String(), types.OCIManifestSchema1)
	if err != nil {
		return nil, err
	}
	if data == nil {
		return nil, errors.New("it is listed and does not exist; remove it from the list")
	}
	layer, err := bundleLayer(data, d)
	if err != nil || layer == nil {
		return nil, err
	}
	payload, err := s.blob(ctx, *layer, verifier.MaxPayload)
	if err != nil {
		return nil, err
	}
	return &verifier.Attestation{Format: verifier.FormatBundle, Payload: payload, Source: source(s.endpoint, "") + "@" + r.Digest.String()}, nil
}

// bundleLayer returns the layer of a bundle's manifest, or nil if the manifest is not one of a bundle of a signature.
func bundleLayer(manifest []byte, d verifier.Digest) (*v1.Descriptor, error) {
	m, err := parseManifest(manifest)
	if err != nil {
		return nil, err
	}
	predicate, said := m.Annotations[predicateAnnotation]
	if m.ArtifactType != bundleType && m.Config.MediaType != bundleType || said && predicate != signPredicate {
		return nil, nil
	}
	if m.Subject == nil || m.Subject.Digest.String() != string(d) {
		return nil, errors.New("it refers to another digest; remove it from the list")
	}
	if len(m.Layers) != 1 || !slices.Contains([]types.MediaType{bundleType}, m.Layers[0].MediaType) {
		return nil, errors.New("it has not the one layer of a bundle; sign the image again")
	}
	return &m.Layers[0], nil
}
