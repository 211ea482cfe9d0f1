package webhook

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/attestations"
	"github.com/kritis-node/kritis-node/policyagent/attestations/registry"
	"github.com/kritis-node/kritis-node/verifier"
)

// Resolver says what a reference means: a registry.
type Resolver interface {
	Resolve(ctx context.Context, ref verifier.Reference) (registry.Image, error)
}

// evidence is what is known about images.
type evidence struct {
	attestations *cache[[]verifier.Attestation]
	// meanings is nil if nobody can be asked.
	meanings  *cache[registry.Image]
	platforms []string
}

func newEvidence(sources []attestations.Source, resolver Resolver, platforms []string, count func(cache, result string)) *evidence {
	e := &evidence{platforms: platforms}
	e.attestations = newCache(lookup[[]verifier.Attestation]{
		ask: func(ctx context.Context, k key, publish func([]verifier.Attestation)) ([]verifier.Attestation, error) {
			return askSources(ctx, sources, k, publish)
		},
		// Also that there are none, which may change any moment: who is denied by it asks again.
		keep:  func(key, []verifier.Attestation) time.Duration { return keptFor },
		weigh: weighAttestations,
		count: func(result string) { count(cacheAttestations, result) },
	})
	if resolver == nil {
		return e
	}
	e.meanings = newCache(lookup[registry.Image]{
		ask: func(ctx context.Context, k key, _ func(registry.Image)) (registry.Image, error) {
			return resolver.Resolve(ctx, k.reference())
		},
		keep: func(k key, _ registry.Image) time.Duration {
			if k.reference().Digest == "" {
				return settledFor // a tag moves
			}
			return keptFor
		},
		weigh: func(i registry.Image) int { return 128 * (1 + len(i.Manifests)) },
		count: func(result string) { count(cacheReferences, result) },
	})
	return e
}

func (e *evidence) close() {
	e.attestations.close()
	if e.meanings != nil {
		e.meanings.close()
	}
}

func weighAttestations(list []verifier.Attestation) int {
	n := 256
	for _, a := range list {
		n += 256 + len(a.Payload) + len(a.Source)
		for _, s := range a.Signatures {
			n += 64 + len(s.KeyID) + len(s.Value)
		}
	}
	return n
}

func keyOf(ref verifier.Reference) key {
	if ref.Digest != "" {
		return key{ref.Repository, string(ref.Digest)}
	}
	return key{ref.Repository, ref.Tag}
}

// reference is what keyOf was given, without what the user wrote.
func (k key) reference() verifier.Reference {
	if d, err := verifier.ParseDigest(k.version); err == nil {
		return verifier.Reference{Repository: k.repository, Digest: d}
	}
	return verifier.Reference{Repository: k.repository, Tag: k.version}
}

// askSources asks all sources at once, and publishes what each says when it does: one that hangs must not hide what
// another one knows.
func askSources(ctx context.Context, sources []attestations.Source, k key, publish func([]verifier.Attestation)) ([]verifier.Attestation, error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	var found attestations.List
	var errs []error
	for _, s := range sources {
		wg.Go(func() {
			list, err := askSource(ctx, s, k)
			mu.Lock()
			defer mu.Unlock()
			for _, a := range list {
				if limit := found.Add(a); limit != nil {
					err = errors.Join(err, limit)
					break
				}
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", s.Name(), err))
			}
			publish(slices.Clone(found.Items()))
		})
	}
	wg.Wait()
	return found.Items(), oneLine(errs)
}

func askSource(ctx context.Context, s attestations.Source, k key) (list []verifier.Attestation, err error) {
	defer func() {
		if recover() != nil {
			err = errors.New(textPanic)
		}
	}()
	return s.Attestations(ctx, k.repository, verifier.Digest(k.version))
}

func oneLine(errs []error) error {
	if len(errs) == 0 {
		return nil
	}
	return errors.New(strings.ReplaceAll(errors.Join(errs...).Error(), "\n", "; "))
}

// meaning asks what a reference means now.
func (e *evidence) meaning(ctx context.Context, ref verifier.Reference) (registry.Image, error) {
	if e.meanings == nil {
		return registry.Image{}, errors.New(textUnasked)
	}
	i, _, err := e.meanings.get(ctx, keyOf(ref), false)
	return i, err
}

// nodes returns the platform manifests that nodes may select, at most maxPlatforms.
func (e *evidence) nodes(i registry.Image) ([]verifier.Digest, error) {
	var all []verifier.Digest
	for _, m := range i.Manifests {
		// An index that does not tell may mean any platform. What is "unknown/unknown" is no image but its provenance.
		if m.Name != "" && !strings.HasPrefix(m.Name, "linux/") || !e.selects(m.Name) || slices.Contains(all, m.Digest) {
			continue
		}
		if len(all) == maxPlatforms {
			return nil, fmt.Errorf(textPlatforms, maxPlatforms)
		}
		all = append(all, m.Digest)
	}
	return all, nil
}

func (e *evidence) selects(platform string) bool {
	return len(e.platforms) == 0 || platform == "" || slices.ContainsFunc(e.platforms, func(p string) bool {
		return platform == p || strings.HasPrefix(platform, p+"/")
	})
}

// gathered is the attestations of one image, and what became of asking for them. Each digest is asked for once.
type gathered struct {
	ctx   context.Context
	cache *cache[[]verifier.Attestation]
	// again: what is kept did not do.
	again bool
	aged  bool
	err   error
	seen  map[key]answered
}

type answered struct {
	list []verifier.Attestation
	err  error
}

func (e *evidence) gather(ctx context.Context, again bool) *gathered {
	return &gathered{ctx: ctx, cache: e.attestations, again: again, seen: map[key]answered{}}
}

// Attestations implements verifier.Attestations.
func (g *gathered) Attestations(repository string, d verifier.Digest) ([]verifier.Attestation, error) {
	k := key{repository, string(d)}
	if a, ok := g.seen[k]; ok {
		return a.list, a.err
	}
	list, aged, err := g.cache.get(g.ctx, k, g.again)
	g.aged = g.aged || aged
	if g.err == nil {
		g.err = err
	}
	g.seen[k] = answered{list, err}
	return list, err
}

// named is content that is known by its digests alone, or by nobody.
type named struct {
	digests []verifier.Digest
	err     error
}

func (n named) Digests(verifier.Reference) ([]verifier.Digest, error) { return n.digests, n.err }

// Named believes the name: a node looks at its content.
func (n named) Named(verifier.Reference) (bool, error) { return true, nil }
