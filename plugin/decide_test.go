package plugin

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/nodestate"
	"github.com/kritis-node/kritis-node/verifier"
)

const repository = "r.example/app"

// signed adds an image and its attestation to the testbed and returns what a container of it looks like.
func (b *testbed) signed(t testing.TB, layer string) *subject {
	t.Helper()
	s := b.unsigned(t, layer)
	b.recs.put(nodestate.Record{Repository: repository, Digest: s.bound.digest, FetchedAt: time.Now(),
		Attestations: []verifier.Attestation{b.signer.attest(t, repository, s.bound.digest)}})
	return s
}

func (b *testbed) unsigned(t testing.TB, layer string) *subject {
	t.Helper()
	manifest, config, _ := b.store.image(t, layer, layer)
	return &subject{namespace: "prod", image: repository + "@" + string(manifest), bound: bound{digest: manifest, config: config}}
}

func TestDecide(t *testing.T) {
	b := newTestbed(t, func(context.Context, nodestate.FetchRequest) (nodestate.FetchResponse, error) {
		return nodestate.FetchResponse{}, nil
	})
	signed := b.signed(t, "signed")
	unsigned := b.unsigned(t, "unsigned")
	b.recs.put(nodestate.Record{Repository: repository, Digest: unsigned.bound.digest, FetchedAt: time.Now()})
	unknown := b.unsigned(t, "unknown")
	with := func(s *subject, change func(*subject)) *subject {
		c := *s
		change(&c)
		return &c
	}
	for name, tc := range map[string]struct {
		subject *subject
		outcome verifier.Outcome
		reason  verifier.Reason
	}{
		"signed":                         {signed, verifier.Allowed, verifier.Attested},
		"unsigned":                       {unsigned, verifier.Denied, verifier.NotAttested},
		"nothing known":                  {unknown, verifier.CouldNotTell, verifier.SourceFailed},
		"namespace without policy":       {with(unsigned, func(s *subject) { s.namespace = "other" }), verifier.Allowed, verifier.NoPolicy},
		"signed name on unsigned image":  {with(unsigned, func(s *subject) { s.image = signed.image }), verifier.Denied, verifier.DigestMismatch},
		"tag":                            {with(signed, func(s *subject) { s.image = repository + ":v1" }), verifier.Denied, verifier.TagReference},
		"no name":                        {with(signed, func(s *subject) { s.image = "" }), verifier.Denied, verifier.InvalidReference},
		"restored checkpoint":            {with(signed, func(s *subject) { s.checkpoint = true }), verifier.Denied, verifier.Checkpoint},
		"checkpoint nobody protects":     {with(unsigned, func(s *subject) { s.checkpoint, s.namespace = true, "other" }), verifier.Allowed, verifier.NoPolicy},
		"digest and config disagree":     {with(signed, func(s *subject) { s.bound.digest = unsigned.bound.digest }), verifier.CouldNotTell, verifier.RuntimeFailed},
		"runtime handler nobody listed":  {with(signed, func(s *subject) { s.handler = "kata" }), verifier.Denied, verifier.RuntimeHandler},
		"volume that has no snapshot":    {with(signed, func(s *subject) { s.volumes = []imageVolume{{"k", signed.bound.digest}} }), verifier.Denied, verifier.InvalidReference},
		"volume in namespace of no rule": {with(signed, func(s *subject) { s.namespace = "other"; s.volumes = []imageVolume{{"k", signed.bound.digest}} }), verifier.Allowed, verifier.NoPolicy},
	} {
		t.Run(name, func(t *testing.T) {
			made := b.decide(t.Context(), tc.subject, time.Now())
			if made.verdict.Outcome != tc.outcome || made.verdict.Reason != tc.reason {
				t.Fatalf("verdict = %s %s (%s), want %s %s", made.verdict.Outcome, made.verdict.Reason, made.verdict.Detail, tc.outcome, tc.reason)
			}
			if made.admits() != (tc.outcome == verifier.Allowed) {
				t.Errorf("admits = %v", made.admits())
			}
			if !made.admits() && !strings.HasPrefix(made.message, "image ") {
				t.Errorf("message = %q", made.message)
			}
		})
	}
}

func TestDecideVolume(t *testing.T) {
	b := newTestbed(t, nil)
	container := b.signed(t, "container")
	good, evil := b.signed(t, "volume"), b.unsigned(t, "evil")
	b.recs.put(nodestate.Record{Repository: repository, Digest: evil.bound.digest, FetchedAt: time.Now()})
	chain := func(s *subject) string {
		c, err := b.contents.chain(t.Context(), s.bound.config)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	b.store.records = []imageRecord{{repository + ":good", good.bound.digest}, {repository + ":evil", evil.bound.digest}}
	for name, tc := range map[string]struct {
		target verifier.Digest
		parent string
		want   verifier.Reason
	}{
		"attested":                       {good.bound.digest, chain(good), verifier.Attested},
		"not attested":                   {evil.bound.digest, chain(evil), verifier.NotAttested},
		"attested name on other content": {good.bound.digest, chain(evil), verifier.DigestMismatch},
	} {
		t.Run(name, func(t *testing.T) {
			b.store.snapshots["key"] = snapshot{parent: tc.parent}
			s := *container
			s.volumes = []imageVolume{{"key", tc.target}}
			made := b.decide(t.Context(), &s, time.Now())
			if made.verdict.Reason != tc.want {
				t.Errorf("verdict = %s (%s), want %s", made.verdict.Reason, made.verdict.Detail, tc.want)
			}
		})
	}
}

func TestRemembered(t *testing.T) {
	b := newTestbed(t, nil)
	now := time.Now()
	signed, unsigned, unknown := b.signed(t, "signed"), b.unsigned(t, "unsigned"), b.unsigned(t, "unknown")
	b.recs.put(nodestate.Record{Repository: repository, Digest: unsigned.bound.digest, FetchedAt: now})
	for _, s := range []*subject{signed, unsigned, unknown} {
		b.decide(t.Context(), s, now)
	}
	other := *signed
	other.namespace = "prod2"
	handler := *signed
	handler.handler = "kata"
	unidentified := &subject{namespace: "other", image: signed.image}
	b.decide(t.Context(), unidentified, now)
	for name, tc := range map[string]struct {
		subject *subject
		at      time.Duration
		want    bool
	}{
		"nobody knows what it is":  {unidentified, 0, false},
		"admitted":                 {signed, 24 * time.Hour, true},
		"denied":                   {unsigned, denialKept - 1, true},
		"denied, a while ago":      {unsigned, denialKept, false},
		"could not tell":           {unknown, 0, false},
		"in another namespace":     {&other, 0, false},
		"by another handler":       {&handler, 0, false},
		"with a volume":            {&subject{namespace: signed.namespace, image: signed.image, bound: signed.bound, volumes: []imageVolume{{}}}, 0, false},
		"the same from checkpoint": {&subject{namespace: signed.namespace, image: signed.image, bound: signed.bound, checkpoint: true}, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := b.remembered(tc.subject, now.Add(tc.at)); (got != nil) != tc.want {
				t.Errorf("remembered = %+v, want %v", got, tc.want)
			}
		})
	}
	// New rules: nothing that was decided under the old ones counts.
	b.policy(t, 2, verifier.Document{Policies: []verifier.PolicySpec{{Namespace: "prod", Name: "p", AuthorityNames: []string{"nobody"}}}})
	b.rules.reload()
	if got := b.remembered(signed, now); got != nil {
		t.Errorf("remembered under new rules: %+v", got)
	}
	if made := b.decide(t.Context(), signed, now); made.admits() {
		t.Errorf("admitted under new rules: %+v", made.verdict)
	}
}

// A decision by an entry that expires is not repeated from the moment on in which the entry does, though others by a name are
// kept for longer.
func TestBreakGlassIsNotRememberedPastItsEnd(t *testing.T) {
	b := newTestbed(t, nil)
	now := time.Now().UTC()
	expires := now.Add(5 * time.Second)
	unsigned := b.unsigned(t, "unsigned")
	b.store.records = append(b.store.records, imageRecord{name: unsigned.image, target: unsigned.bound.digest})
	for i, tc := range []struct {
		expires time.Time
		after   time.Duration
		want    bool
	}{
		{expires, 0, true},
		{expires, 5*time.Second - 1, true},
		{expires, 5 * time.Second, false},
		{time.Time{}, 5 * time.Second, true},
		{now.Add(time.Hour), nameKept, false},
	} {
		b.policy(t, uint64(2+i), verifier.Document{
			Policies:  []verifier.PolicySpec{{Namespace: unsigned.namespace, Name: "p", AuthorityNames: []string{"team"}}},
			Allowlist: []verifier.AllowSpec{{List: "emergency", Pattern: unsigned.image, Expires: tc.expires}},
		})
		b.rules.reload()
		if made := b.decide(t.Context(), unsigned, now); made.verdict.Reason != verifier.AllowListed {
			t.Fatalf("%+v", made.verdict)
		}
		if got := b.remembered(unsigned, now.Add(tc.after)); (got != nil) != tc.want {
			t.Errorf("the entry expires at %v, it is %v: remembered = %+v, want %v", tc.expires, now.Add(tc.after), got, tc.want)
		}
	}
}

func TestFetch(t *testing.T) {
	for name, tc := range map[string]struct {
		answer  func(*testbed, *subject, context.Context) error
		outcome verifier.Outcome
	}{
		"brings the attestation": {func(b *testbed, s *subject, _ context.Context) error {
			b.recs.put(nodestate.Record{Repository: repository, Digest: s.bound.digest, FetchedAt: time.Now(),
				Attestations: []verifier.Attestation{b.signer.attest(t, repository, s.bound.digest)}})
			return nil
		}, verifier.Allowed},
		"finds none": {func(b *testbed, s *subject, _ context.Context) error {
			b.recs.put(nodestate.Record{Repository: repository, Digest: s.bound.digest, FetchedAt: time.Now()})
			return nil
		}, verifier.Denied},
		"could not ask a source": {func(b *testbed, s *subject, _ context.Context) error {
			b.recs.put(nodestate.Record{Repository: repository, Digest: s.bound.digest, FetchedAt: time.Now(), Failures: []string{"registry: 503"}})
			return nil
		}, verifier.CouldNotTell},
		"agent away":  {func(*testbed, *subject, context.Context) error { return errors.New("connection refused") }, verifier.CouldNotTell},
		"agent lies":  {func(*testbed, *subject, context.Context) error { return nil }, verifier.CouldNotTell},
		"agent hangs": {func(_ *testbed, _ *subject, ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, verifier.CouldNotTell},
	} {
		t.Run(name, func(t *testing.T) {
			var b *testbed
			var s *subject
			b = newTestbed(t, func(ctx context.Context, r nodestate.FetchRequest) (nodestate.FetchResponse, error) {
				if r.Repository != repository || r.Digests[0] != s.bound.digest {
					t.Errorf("fetch of %+v", r)
				}
				return nodestate.FetchResponse{}, tc.answer(b, s, ctx)
			})
			b.budget = newWaitBudget(50 * time.Millisecond)
			s = b.unsigned(t, "layer")
			made := b.decide(t.Context(), s, time.Now())
			if made.verdict.Outcome != tc.outcome {
				t.Errorf("verdict = %s %s (%s), want %s", made.verdict.Outcome, made.verdict.Reason, made.verdict.Detail, tc.outcome)
			}
			if n := b.fetched.Load(); n != 1 {
				t.Errorf("the agent was asked %d times, want once", n)
			}
		})
	}
}

// What is known to be attested needs nobody; what is known not to be is asked for again only when it has aged.
func TestFetchOnlyIfNeeded(t *testing.T) {
	b := newTestbed(t, nil)
	now := time.Now()
	signed, fresh, aged := b.signed(t, "signed"), b.unsigned(t, "fresh"), b.unsigned(t, "aged")
	b.recs.put(nodestate.Record{Repository: repository, Digest: fresh.bound.digest, FetchedAt: now.Add(-negativeFresh)})
	b.recs.put(nodestate.Record{Repository: repository, Digest: aged.bound.digest, FetchedAt: now.Add(-negativeFresh - time.Millisecond)})
	for _, tc := range []struct {
		name    string
		subject *subject
		fetches int64
		outcome verifier.Outcome
	}{{"signed", signed, 0, verifier.Allowed}, {"fresh", fresh, 0, verifier.Denied}, {"aged", aged, 1, verifier.Denied}} {
		before := b.fetched.Load()
		made := b.decide(t.Context(), tc.subject, now)
		if got := b.fetched.Load() - before; got != tc.fetches || made.verdict.Outcome != tc.outcome {
			t.Errorf("%s: %d fetches, %s; want %d, %s", tc.name, got, made.verdict.Outcome, tc.fetches, tc.outcome)
		}
	}
}

func TestEmptyBudgetPromptsWithoutWaiting(t *testing.T) {
	asked := make(chan error, 1)
	b := newTestbed(t, func(ctx context.Context, _ nodestate.FetchRequest) (nodestate.FetchResponse, error) {
		asked <- ctx.Err()
		return nodestate.FetchResponse{}, nil
	})
	b.budget.spend(time.Hour)
	made := b.decide(t.Context(), b.unsigned(t, "layer"), time.Now())
	if made.verdict.Outcome != verifier.CouldNotTell || !strings.Contains(made.message, textFetchGoesOn) {
		t.Errorf("verdict = %s, %q", made.verdict.Outcome, made.message)
	}
	if err := <-asked; err != nil {
		t.Errorf("the agent was asked by somebody who had left already: %v", err)
	}
	// The prompt's goroutine gives its place back after the answer.
	b.prompts <- struct{}{}
}

func TestBrokenFloorDenies(t *testing.T) {
	b := newTestbed(t, nil)
	write(t, b.rules.floorFile, "version: 1\nnamespaceWithoutPolicy: Deny\n")
	rules := newRuleStore(b.rules.stateDir, b.rules.floorFile, nil, b.rules.log)
	b.rules = rules
	s := b.signed(t, "layer")
	if made := b.decide(t.Context(), s, time.Now()); made.verdict.Outcome != verifier.CouldNotTell || !strings.Contains(made.message, "namespaceWithoutPolicy") {
		t.Errorf("verdict = %s, %q", made.verdict.Outcome, made.message)
	}
	write(t, b.rules.floorFile, "version: 1\n")
	rules.reload()
	if made := b.decide(t.Context(), s, time.Now()); !made.admits() {
		t.Errorf("after correcting the floor: %q", made.message)
	}
	// A running plugin keeps the good one.
	write(t, b.rules.floorFile, "version: 2\n")
	rules.reload()
	if made := b.decide(t.Context(), s, time.Now()); !made.admits() || rules.load().floorProblem == "" {
		t.Errorf("after breaking it again: %q, problem %q", made.message, rules.load().floorProblem)
	}
}
