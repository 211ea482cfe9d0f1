package plugin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/nodestate"
	"github.com/kritis-node/kritis-node/verifier"
)

const (
	// denialKept is how long a denial is repeated from memory. Short: a signature may arrive any moment.
	denialKept = 3 * time.Second
	// nameKept is how long a decision is kept that rests on a name (allow-list, tag) instead of a digest.
	nameKept = 30 * time.Second
	// negativeFresh is how long "no attestation that suffices" is believed before the agent is asked again.
	negativeFresh = 5 * time.Second
	// maxVolumeNames bounds the names that are tried for an image volume, of which only the digest is known.
	maxVolumeNames = 64
)

// decision is a verdict and what this node makes of it.
type decision struct {
	verdict verifier.Verdict
	image   string
	// message is what the runtime is told when the container is not admitted.
	message string
	// chain is what the container's snapshot has to rest on, for the audit log; empty if repeated from memory.
	chain string
	// unbound: the verdict does not depend on the content.
	unbound bool
	expires time.Time // from then on it is not repeated; zero: as long as the rules stay the same
	// generation is that of the rules that it was made under.
	generation uint64
}

func (d *decision) admits() bool { return d != nil && d.verdict.Admits() }

// fetcher asks the policy agent to get attestations into the node's state.
type fetcher interface {
	Fetch(ctx context.Context, req nodestate.FetchRequest) (nodestate.FetchResponse, error)
}

// recordReader reads attestations from the node's state.
type recordReader interface {
	Attestations(repository string, d verifier.Digest) (nodestate.Record, error)
}

// decider answers what may run here.
type decider struct {
	rules    *ruleStore
	contents *contents
	records  recordReader
	agent    fetcher
	budget   *waitBudget
	kept     *memory
	prompts  chan struct{} // bounds the fetches that are asked for without waiting
	underWay chan struct{} // bounds the decisions that have not ended, also those that nobody waits for any more
	counters *counters
}

// remembered returns a decision from memory, or nil. It neither blocks nor allocates.
func (d *decider) remembered(s *subject, now time.Time) *decision {
	if s.checkpoint || len(s.volumes) > 0 || s.bound == (bound{}) {
		return nil
	}
	return d.kept.get(keyOf(d.rules.load().generation, s), now)
}

// decide answers for the container's image and then for each image volume. It returns the first decision that does
// not admit, or the one for the image. ctx carries the deadline.
func (d *decider) decide(ctx context.Context, s *subject, now time.Time) *decision {
	r := d.rules.load()
	made := d.image(ctx, r, s, now)
	for _, v := range s.volumes {
		if !made.admits() {
			break
		}
		if dv := d.volume(ctx, r, s, v, now, d.judge); !dv.admits() {
			return dv
		}
	}
	return made
}

func (d *decider) image(ctx context.Context, r *rules, s *subject, now time.Time) *decision {
	c := &content{ctx: ctx, contents: d.contents, bound: s.bound}
	made := d.judge(ctx, r, s.request(s.image, now), c)
	if made.admits() && !made.unbound {
		// What cannot be found now cannot be compared at start.
		chain, err := d.contents.boundChain(ctx, s.bound)
		if err != nil {
			made = couldNotTell(s.image, r.generation, verifier.RuntimeFailed, err.Error())
		}
		made.chain = chain
	}
	switch {
	case s.checkpoint, made.verdict.Outcome == verifier.CouldNotTell:
		return made // failures are never remembered
	case made.verdict.Outcome == verifier.Denied:
		made.expires = now.Add(denialKept)
	case made.verdict.Reason == verifier.AllowListed || restsOnName(s.image) && !made.unbound:
		made.expires = now.Add(nameKept)
	}
	// Nobody tells this process that an entry of an allow-list has ended: the rules stay as they are.
	if by := made.verdict.AllowedBy; by != nil && !by.Expires.IsZero() && (made.expires.IsZero() || by.Expires.Before(made.expires)) {
		made.expires = by.Expires
	}
	d.kept.put(keyOf(r.generation, s), made)
	return made
}

// restsOnName says whether the reference has no digest, so that what it means can change.
func restsOnName(image string) bool {
	ref, err := verifier.ParseReference(image)
	return err != nil || ref.Digest == ""
}

// judgement decides about one image of a container.
type judgement func(ctx context.Context, r *rules, req verifier.Request, c verifier.Content) *decision

// judge applies the rules, and once more after the agent was asked for what was missing.
func (d *decider) judge(ctx context.Context, r *rules, req verifier.Request, c verifier.Content) *decision {
	if r.broken != "" {
		return couldNotTell(req.Image, r.generation, verifier.NoSnapshot, r.broken)
	}
	look := &lookup{records: d.records, now: req.Now, fresh: req.Now.Add(-negativeFresh)}
	v := r.Decide(req, c, look)
	if v.Outcome != verifier.Allowed && len(look.wanted) > 0 {
		if err := d.fetch(ctx, look.wanted, req.Now); err != nil {
			look.failure = err
		}
		look.again()
		v = r.Decide(req, c, look)
	}
	return r.conclude(req, v)
}

// conclude makes a decision of a verdict.
func (r *rules) conclude(req verifier.Request, v verifier.Verdict) *decision {
	if v.Reason == verifier.NoSnapshot && r.stateProblem != "" {
		v.Detail = r.stateProblem
	}
	made := &decision{verdict: v, image: req.Image, generation: r.generation}
	made.unbound = saysNothing(v)
	if v.Outcome != verifier.Allowed {
		made.message = verifier.Message(req.Image, v)
	}
	return made
}

// saysNothing says whether a verdict holds for any content: no policy asked, or dry run lets it through anyway.
func saysNothing(v verifier.Verdict) bool {
	if v.Outcome == verifier.Allowed {
		return len(v.Policies) == 0 && v.AllowedBy == nil
	}
	return v.DryRun
}

// fetch asks the agent for what is missing, within the budget. It returns why not everything is there now.
func (d *decider) fetch(ctx context.Context, wanted []nodestate.FetchRequest, now time.Time) error {
	wait := d.budget.available(now)
	if wait <= 0 {
		d.counters.budgetEmpty.Inc()
		for _, w := range wanted {
			d.prompt(w)
		}
		return errors.New(textFetchGoesOn)
	}
	start := time.Now()
	defer func() {
		waited := time.Since(start)
		d.budget.spend(waited)
		d.counters.waited.Observe(waited.Seconds())
	}()
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for _, w := range wanted {
		d.counters.fetches.Inc()
		_, err := d.agent.Fetch(ctx, w)
		switch {
		case ctx.Err() != nil:
			return errors.New(textFetchGoesOn)
		case err != nil:
			return err
		}
	}
	return nil
}

// prompt asks for a fetch without waiting for it.
func (d *decider) prompt(w nodestate.FetchRequest) {
	select {
	case d.prompts <- struct{}{}:
	default:
		return // enough are on their way; the next try asks again
	}
	go func() {
		defer func() { <-d.prompts }()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, _ = d.agent.Fetch(ctx, w) // whatever comes of it shows in the node's state
	}()
}

// volume answers for an image volume. containerd tells the digest and no name, so every name that the digest has on
// this node is tried: the content is what counts.
func (d *decider) volume(ctx context.Context, r *rules, s *subject, v imageVolume, now time.Time, judge judgement) *decision {
	c := &content{ctx: ctx, contents: d.contents}
	names := []string{"sha256:" + v.target.Hex()}
	snap, err := d.contents.store.snapshot(ctx, v.key)
	if err == nil {
		c.bound.below = snap
		names, err = d.namesOf(ctx, v.target, names)
	}
	var view verifier.Content = c
	if err != nil {
		view = failedContent{fmt.Errorf("identify the image volume: %w", err)}
	}
	var first *decision
	for _, name := range names {
		made := judge(ctx, r, s.request(name, now), view)
		if made.admits() {
			return made
		}
		if first == nil {
			first = made // the one by digest tells most
		}
	}
	return first
}

// namesOf returns the references under which the digest is known here, digests before tags, and fallback if there
// are none.
func (d *decider) namesOf(ctx context.Context, target verifier.Digest, fallback []string) ([]string, error) {
	records, err := d.contents.store.images(ctx)
	if err != nil {
		return fallback, err
	}
	var byDigest, byName []string
	seen := map[string]bool{}
	for _, rec := range records {
		ref, err := verifier.ParseReference(rec.name)
		if err != nil || rec.target != target || len(byName) >= maxVolumeNames {
			continue
		}
		if pinned := ref.Repository + "@" + string(target); !seen[pinned] {
			seen[pinned] = true
			byDigest = append(byDigest, pinned)
		}
		byName = append(byName, rec.name)
	}
	if len(byName) == 0 {
		return fallback, nil
	}
	return append(byDigest, byName...), nil
}

// failedContent is content that could not be identified.
type failedContent struct{ err error }

func (f failedContent) Digests(verifier.Reference) ([]verifier.Digest, error) { return nil, f.err }
func (f failedContent) Named(verifier.Reference) (bool, error)                { return false, f.err }

// couldNotTell is the decision when no verdict was possible.
func couldNotTell(image string, generation uint64, reason verifier.Reason, detail string) *decision {
	v := verifier.Verdict{Outcome: verifier.CouldNotTell, Reason: reason, Detail: detail}
	return &decision{verdict: v, image: image, message: verifier.Message(image, v), generation: generation}
}

// lookup reads attestations from the node's state and notes what the agent should be asked for.
type lookup struct {
	records recordReader
	now     time.Time
	// fresh is when a record must have been fetched, or later, to say that no attestation suffices.
	fresh   time.Time
	wanted  []nodestate.FetchRequest
	asked   bool
	failure error // why asking the agent did not help
}

// again prepares for the second and last round, in which nothing further is asked for.
func (l *lookup) again() { l.asked = true }

// Attestations implements verifier.Attestations.
func (l *lookup) Attestations(repository string, d verifier.Digest) ([]verifier.Attestation, error) {
	rec, err := l.records.Attestations(repository, d)
	switch {
	case err != nil:
		// Absent and damaged records are the same to us: neither says that there is no attestation.
		l.want(repository, d, false)
		if l.failure != nil {
			return nil, l.failure
		}
		return nil, fmt.Errorf("read its attestations from the node's state: %w", err)
	case len(rec.Failures) > 0:
		l.want(repository, d, true)
		return rec.Attestations, errors.New(rec.Failures[0])
	case rec.FetchedAt.Before(l.fresh) || rec.FetchedAt.After(l.now):
		l.want(repository, d, true) // used only if the image is not admitted
	}
	return rec.Attestations, nil
}

// want notes what to ask the agent for. With again there is a record that did not suffice, and the agent must not
// take it for the answer: another's signature, say, that was there before the right one.
func (l *lookup) want(repository string, d verifier.Digest, again bool) {
	if l.asked {
		return
	}
	for i := range l.wanted {
		if l.wanted[i].Repository == repository {
			l.wanted[i].Digests = append(l.wanted[i].Digests, d)
			l.wanted[i].Again = l.wanted[i].Again || again
			return
		}
	}
	l.wanted = append(l.wanted, nodestate.FetchRequest{Repository: repository, Digests: []verifier.Digest{d}, Again: again})
}
