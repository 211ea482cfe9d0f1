// Package offnode judges images where no node is involved: `kritis verify`, in a pipeline say. A registry answers what a
// node's runtime would, so the answer is what a node decides if it runs what the registry holds now.
package offnode

import (
	"context"
	"errors"
	"strings"

	"github.com/kritis-node/kritis-node/policyagent/attestations"
	"github.com/kritis-node/kritis-node/policyagent/attestations/registry"
	"github.com/kritis-node/kritis-node/verifier"
)

// Resolver says what a reference means.
type Resolver interface {
	Resolve(ctx context.Context, ref verifier.Reference) (registry.Image, error)
}

// Judge decides on an image for nodes of a platform such as "linux/amd64", with the attestations of the sources.
func Judge(ctx context.Context, rules verifier.Rules, req verifier.Request, platform string, resolver Resolver, sources ...attestations.Source) verifier.Verdict {
	found := &collected{ctx: ctx, sources: sources, seen: map[string]result{}}
	// The digest as written needs no registry; only if that does not suffice, see what is under it.
	if ref, err := verifier.ParseReference(req.Image); err == nil && ref.Digest != "" {
		if v := rules.Decide(req, written{ref.Digest}, found); v.Outcome == verifier.Allowed {
			return v
		}
	}
	return rules.Decide(req, &resolved{ctx: ctx, resolver: resolver, platform: platform}, found)
}

// JudgeAll is Judge for nodes of several platforms. The verdict is that of the platform that fares worst, and an image that
// is denied on one of them is denied; the platform is returned with it. Without platforms nobody can tell.
func JudgeAll(ctx context.Context, rules verifier.Rules, req verifier.Request, platforms []string, resolver Resolver, sources ...attestations.Source) (verifier.Verdict, string) {
	worst, at := verifier.Verdict{Outcome: verifier.CouldNotTell, Reason: verifier.RuntimeFailed, Detail: "no platform is named"}, ""
	for i, platform := range platforms {
		v := Judge(ctx, rules, req, platform, resolver, sources...)
		if i == 0 || badness(v) > badness(worst) {
			worst, at = v, platform
		}
	}
	return worst, at
}

// badness orders verdicts: what is admitted, what nobody could tell, what is denied.
func badness(v verifier.Verdict) int {
	switch {
	case v.Outcome == verifier.Allowed:
		return 0
	case v.Admits(): // dry run
		return 1
	case v.Outcome == verifier.CouldNotTell:
		return 2
	default:
		return 3
	}
}

// written believes that the digest leads to what runs.
type written struct{ digest verifier.Digest }

func (w written) Digests(verifier.Reference) ([]verifier.Digest, error) {
	return []verifier.Digest{w.digest}, nil
}
func (written) Named(verifier.Reference) (bool, error) { return true, nil }

// resolved asks the registry.
type resolved struct {
	ctx      context.Context
	resolver Resolver
	platform string
}

func (r *resolved) Digests(ref verifier.Reference) ([]verifier.Digest, error) {
	image, err := r.resolver.Resolve(r.ctx, ref)
	if err != nil {
		return nil, err
	}
	digests := []verifier.Digest{image.Digest}
	for _, m := range image.Manifests {
		if m.Name == r.platform || strings.HasPrefix(m.Name, r.platform+"/") {
			digests = append(digests, m.Digest)
			break // a runtime selects one
		}
	}
	return digests, nil
}

// Named trusts the registry: a name is what it says.
func (r *resolved) Named(verifier.Reference) (bool, error) { return true, nil }

// collected asks all sources, once for each digest.
type collected struct {
	ctx     context.Context
	sources []attestations.Source
	seen    map[string]result
}

type result struct {
	list []verifier.Attestation
	err  error
}

func (c *collected) Attestations(repository string, d verifier.Digest) ([]verifier.Attestation, error) {
	key := repository + "@" + string(d)
	r, ok := c.seen[key]
	if !ok {
		var errs []error
		for _, s := range c.sources {
			list, err := s.Attestations(c.ctx, repository, d)
			r.list = append(r.list, list...)
			errs = append(errs, err)
		}
		r.err = errors.Join(errs...)
		c.seen[key] = r
	}
	return r.list, r.err
}
