package webhook

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/kritis-node/kritis-node/verifier"
)

const (
	// maxImages is how many images of one review are judged, each once.
	maxImages = 256
	// maxPlatforms is how many platform manifests of one image are looked at. Official images have up to ten.
	maxPlatforms = 32
	// parallel is how many images of one review are judged at once.
	parallel = 8
	// hintBudget is how long a denial waits for the digest that a tag has.
	hintBudget = 750 * time.Millisecond
)

// ruling is what was found out about one image.
type ruling struct {
	image   string
	verdict verifier.Verdict
	// why says why it fails and what to do, in one line.
	why string
}

// judge decides about images.
type judge struct {
	rules    RuleSource
	evidence *evidence
}

// all judges images, each in its place.
func (j *judge) all(ctx context.Context, namespace string, images []string) []ruling {
	rulings := make([]ruling, len(images))
	rules, err := j.rules.Rules()
	if err != nil {
		for i, image := range images {
			rulings[i] = ruling{image, verifier.Verdict{Outcome: verifier.CouldNotTell, Reason: verifier.NoSnapshot}, text(textRules, err.Error())}
		}
		return rulings
	}
	if len(images) == 1 {
		rulings[0] = j.one(ctx, rules, namespace, images[0])
	} else {
		var wg sync.WaitGroup
		next := make(chan int)
		for range min(parallel, len(images)) {
			wg.Go(func() {
				for i := range next {
					rulings[i] = j.one(ctx, rules, namespace, images[i])
				}
			})
		}
		for i := range images {
			next <- i
		}
		close(next)
		wg.Wait()
	}
	// One question to a registry for the sake of an explanation, not one for each image.
	if i := slices.IndexFunc(rulings, fails); i >= 0 && rulings[i].verdict.Reason == verifier.TagReference {
		j.hint(ctx, rules, namespace, &rulings[i])
	}
	return rulings
}

// fails says whether an image has something to be told, also if dry run lets it pass.
func fails(r ruling) bool { return r.verdict.Outcome != verifier.Allowed }

// one judges one image. Attestations that were kept for a while and do not suffice are asked for again, so that an image
// may run seconds after it was signed.
func (j *judge) one(ctx context.Context, rules verifier.Rules, namespace, image string) (r ruling) {
	defer func() {
		if recover() != nil {
			r = ruling{image, verifier.Verdict{Outcome: verifier.CouldNotTell, Reason: verifier.Internal}, textInternal}
		}
	}()
	q := question{judge: j, ctx: ctx, rules: rules, request: verifier.Request{Namespace: namespace, Image: image, Now: time.Now()},
		found: j.evidence.gather(ctx, false)}
	v := q.decide()
	if fails(ruling{verdict: v}) && q.found.aged {
		q.found, q.err = j.evidence.gather(ctx, true), nil
		v = q.decide()
	}
	return ruling{image, v, q.why(v)}
}

// question is the decision about one image.
type question struct {
	*judge
	ctx     context.Context
	rules   verifier.Rules
	request verifier.Request
	found   *gathered
	// err is why the registry did not say what the image is.
	err error
}

var errUnasked = errors.New(textUnasked)

// decide asks the registry about the image only if its name and attestations leave something open.
func (q *question) decide() verifier.Verdict {
	ref, err := verifier.ParseReference(q.request.Image)
	content := named{err: errUnasked}
	if err == nil && ref.Digest != "" {
		content = named{digests: []verifier.Digest{ref.Digest}}
	}
	v := q.rules.Decide(q.request, content, q.found)
	switch {
	case err != nil || v.Outcome == verifier.Allowed:
		return v
	case ref.Digest == "" && v.Reason == verifier.RuntimeFailed: // a policy resolves tags
		return q.decideMeaning(ref, v)
	case ref.Digest != "" && (v.Reason == verifier.NotAttested || v.Reason == verifier.SourceFailed) && q.evidence.meanings != nil:
		return q.decideMeaning(ref, v) // a platform manifest under it may be attested
	}
	return v
}

// decideMeaning decides as every node would that may run the image: for each with the digest and the platform manifest
// under it. All must allow. v is what is known without.
func (q *question) decideMeaning(ref verifier.Reference, v verifier.Verdict) verifier.Verdict {
	meaning, err := q.evidence.meaning(q.ctx, ref)
	var nodes []verifier.Digest
	if err == nil {
		nodes, err = q.evidence.nodes(meaning)
	}
	if err != nil {
		q.err = err
		return q.rules.Decide(q.request, named{err: err}, q.found)
	}
	if len(nodes) == 0 {
		if ref.Digest != "" {
			return v
		}
		return q.rules.Decide(q.request, named{digests: []verifier.Digest{meaning.Digest}}, q.found)
	}
	var worst verifier.Verdict
	for i, d := range nodes {
		one := q.rules.Decide(q.request, named{digests: []verifier.Digest{meaning.Digest, d}}, q.found)
		if i == 0 || one.Outcome < worst.Outcome { // denied, could not tell, allowed
			worst = one
		}
		if worst.Outcome == verifier.Denied {
			break
		}
	}
	return worst
}

// why is what is said about a verdict. Where nobody could tell, the verifier speaks of a node.
func (q *question) why(v verifier.Verdict) string {
	switch {
	case v.Reason == verifier.SourceFailed && q.found.err != nil:
		return text(textSources, q.found.err.Error())
	case v.Reason == verifier.RuntimeFailed && q.err != nil:
		return text(textRegistry, q.err.Error())
	case v.Reason == verifier.Internal:
		return textInternal
	}
	return v.Detail
}

// hint adds the digest that the tag has now to what is said, if the registry answers soon.
func (j *judge) hint(ctx context.Context, rules verifier.Rules, namespace string, r *ruling) {
	ref, err := verifier.ParseReference(r.image)
	if err != nil || j.evidence.meanings == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, hintBudget)
	defer cancel()
	meaning, err := j.evidence.meaning(ctx, ref)
	if err != nil {
		return
	}
	v := rules.Decide(verifier.Request{Namespace: namespace, Image: r.image, Now: time.Now()}, named{digests: []verifier.Digest{meaning.Digest}}, j.evidence.gather(ctx, false))
	if v.Reason == verifier.TagReference {
		r.why = v.Detail
	}
}
