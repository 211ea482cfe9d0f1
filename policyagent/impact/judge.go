package impact

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/attestations"
	"github.com/kritis-node/kritis-node/policyagent/attestations/registry"
	"github.com/kritis-node/kritis-node/policyagent/offnode"
	"github.com/kritis-node/kritis-node/verifier"
)

// patience is how long is waited for all that registries and the cluster know of one image.
const patience = 30 * time.Second

// Judge is what images are judged by. It judges one at a time.
type Judge struct {
	Rules verifier.Rules
	// Resolver is the registry.
	Resolver offnode.Resolver
	Sources  []attestations.Source
	// Told, if set, returns what sources have noted for people since it was called last.
	Told func() []string
}

// Image is what would become of an image that runs.
type Image struct {
	Namespace string `json:"namespace"`
	Image     string `json:"image"`
	// Runs is the digest that nodes say they run. Empty: none says.
	Runs verifier.Digest `json:"runs,omitempty"`
	// RunsAs is the repository by which they know it, if it is not the image's.
	RunsAs         string   `json:"runsAs,omitempty"`
	RuntimeHandler string   `json:"runtimeHandler,omitempty"`
	Nodes          []string `json:"nodes,omitempty"`
	Platforms      []string `json:"platforms,omitempty"`
	Pods           int      `json:"pods"`
	StaticPods     int      `json:"staticPods,omitempty"`
	// Verdict is without dry run.
	Verdict    verifier.Verdict `json:"verdict"`
	AttestedBy []Attested       `json:"attestedBy,omitempty"`
	// ByDigest is what would become of the image if the digest that runs were written in place of the tag for which it is denied.
	ByDigest *ByDigest `json:"byDigest,omitempty"`
	// NoEntry says why no entry of an allow-list would admit the image, if it is denied and none would.
	NoEntry string   `json:"noEntry,omitempty"`
	Notes   []string `json:"notes,omitempty"`
}

// Attested is an authority that attests an image.
type Attested struct {
	Policy      string `json:"policy"`
	Authority   string `json:"authority"`
	Fingerprint string `json:"fingerprint,omitempty"`
}

// ByDigest is an image as it should be written.
type ByDigest struct {
	Image      string           `json:"image"`
	Verdict    verifier.Verdict `json:"verdict"`
	AttestedBy []Attested       `json:"attestedBy,omitempty"`
}

// judge decides about images that are written alike, so that all is asked once.
func (j *Judge) judge(ctx context.Context, group []Running, now time.Time) []Image {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("no answer within %s", patience))
	defer cancel()
	ask := question{ctx: ctx, rules: j.Rules, now: now, resolver: &onceResolver{next: j.Resolver, seen: map[string]answer[registry.Image]{}}}
	for _, s := range j.Sources {
		ask.sources = append(ask.sources, &onceSource{Source: s, seen: map[string]answer[[]verifier.Attestation]{}})
	}
	var notes []string
	images := make([]Image, len(group))
	for i, r := range group {
		images[i] = ask.image(r)
		if j.Told != nil {
			// A source that has answered is not asked again, and what it said holds for the whole group.
			notes = append(notes, j.Told()...)
		}
	}
	slices.Sort(notes)
	notes = slices.Compact(notes)
	for i := range images {
		if v := images[i].Verdict; v.Outcome != verifier.Allowed {
			images[i].Notes = notes
		}
	}
	return images
}

// question is a group of images under way.
type question struct {
	ctx      context.Context
	rules    verifier.Rules
	now      time.Time
	resolver *onceResolver
	sources  []attestations.Source
}

func (q question) image(r Running) Image {
	i := Image{Namespace: r.Namespace, Image: r.Image, Runs: r.Digest, RuntimeHandler: r.Handler, Nodes: r.Nodes, Platforms: r.Platforms, Pods: r.Pods, StaticPods: r.StaticPods}
	ref, err := verifier.ParseReference(r.Image)
	if err == nil && r.DigestOf != ref.Repository {
		i.RunsAs = r.DigestOf
	}
	i.Verdict = q.verdict(r, r.Image)
	i.AttestedBy = attestedBy(i.Verdict)
	if i.Verdict.Reason == verifier.TagReference && r.Digest != "" && err == nil {
		name := strings.TrimSuffix(r.Image, ":"+ref.Tag) + "@" + string(r.Digest)
		v := q.verdict(r, name)
		i.ByDigest = &ByDigest{Image: name, Verdict: v, AttestedBy: attestedBy(v)}
	}
	return i
}

func (q question) verdict(r Running, image string) verifier.Verdict {
	req := verifier.Request{Namespace: r.Namespace, Image: image, RuntimeHandler: r.Handler, Now: q.now}
	v, _ := offnode.JudgeAll(q.ctx, q.rules, req, r.Platforms, running{q.resolver, r}, q.sources...)
	return v
}

func attestedBy(v verifier.Verdict) []Attested {
	var all []Attested
	for _, p := range v.Policies {
		for _, a := range p.Authorities {
			if a.Attested {
				name := p.Namespace + "/" + p.Name
				if p.Floor {
					name = "floor " + name
				}
				all = append(all, Attested{name, a.Name, a.Fingerprint})
			}
		}
	}
	return all
}

// running is a registry in which tags still mean what runs: a node judges a tag by the content that it has.
type running struct {
	registry offnode.Resolver
	what     Running
}

// Resolve implements offnode.Resolver.
func (r running) Resolve(ctx context.Context, ref verifier.Reference) (registry.Image, error) {
	if ref.Digest != "" || r.what.Digest == "" {
		return r.registry.Resolve(ctx, ref)
	}
	pinned := ref
	pinned.Digest = r.what.Digest
	image, err := r.registry.Resolve(ctx, pinned)
	if err != nil && r.what.DigestOf != ref.Repository {
		// The node knows the content by another repository's digest, which need not be one of this repository.
		return r.registry.Resolve(ctx, ref)
	}
	return image, err
}

// answer is one that was had.
type answer[T any] struct {
	value T
	err   error
}

// onceResolver asks for each name once.
type onceResolver struct {
	next offnode.Resolver
	seen map[string]answer[registry.Image]
}

func (o *onceResolver) Resolve(ctx context.Context, ref verifier.Reference) (registry.Image, error) {
	a, ok := o.seen[ref.Name()]
	if !ok {
		a.value, a.err = o.next.Resolve(ctx, ref)
		a.err = because(ctx, a.err)
		o.seen[ref.Name()] = a
	}
	return a.value, a.err
}

// onceSource asks about each digest once.
type onceSource struct {
	attestations.Source
	seen map[string]answer[[]verifier.Attestation]
}

func (o *onceSource) Attestations(ctx context.Context, repository string, d verifier.Digest) ([]verifier.Attestation, error) {
	name := repository + "@" + string(d)
	a, ok := o.seen[name]
	if !ok {
		a.value, a.err = o.Source.Attestations(ctx, repository, d)
		a.err = because(ctx, a.err)
		o.seen[name] = a
	}
	return a.value, a.err
}

// because says why there was no time left, rather than that there was none.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) && cause != nil {
		return cause
	}
	return err
}
