package impact

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/attestations"
	"github.com/kritis-node/kritis-node/policyagent/attestations/registry"
	"github.com/kritis-node/kritis-node/policyagent/signing"
	"github.com/kritis-node/kritis-node/test/stack"
	"github.com/kritis-node/kritis-node/verifier"
)

// world is a registry and the attestations in it.
type world struct {
	key *signing.Key
	pem string
	// images are what names mean: "r.example/app:v1", "r.example/app@sha256:…".
	images map[string]registry.Image

	mu     sync.Mutex
	signed map[string][]verifier.Attestation // by "repository@digest"
	asked  map[string]int
	down   error
}

func newWorld(t *testing.T) *world {
	t.Helper()
	pair, err := stack.WriteKey(filepath.Join(t.TempDir(), "team"))
	check(t, err)
	key, err := signing.ReadKeyFile(pair.Private)
	check(t, err)
	pem, err := os.ReadFile(pair.Public)
	check(t, err)
	return &world{key: key, pem: string(pem), images: map[string]registry.Image{}, signed: map[string][]verifier.Attestation{}, asked: map[string]int{}}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) sign(t *testing.T, repository string, d verifier.Digest) {
	t.Helper()
	payload, err := signing.Payload(repository, d)
	check(t, err)
	signature, err := w.key.Sign(t.Context(), payload)
	check(t, err)
	name := repository + "@" + string(d)
	w.signed[name] = append(w.signed[name], verifier.Attestation{Format: verifier.FormatCosign, Payload: payload, Signatures: []verifier.Signature{{Value: signature}}})
}

func (w *world) note(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked[what]++
}

// Resolve implements offnode.Resolver.
func (w *world) Resolve(_ context.Context, ref verifier.Reference) (registry.Image, error) {
	w.note("resolve " + ref.Name())
	image, ok := w.images[ref.Name()]
	if w.down != nil {
		return registry.Image{}, w.down
	}
	if !ok {
		return registry.Image{}, errors.New("the registry has no such image")
	}
	return image, nil
}

// Name implements attestations.Source.
func (*world) Name() string { return "registry" }

func (w *world) Attestations(_ context.Context, repository string, d verifier.Digest) ([]verifier.Attestation, error) {
	w.note("attestations " + repository + "@" + string(d))
	return w.signed[repository+"@"+string(d)], w.down
}

// policies require the team's signature in each of the namespaces.
func (w *world) policies(namespaces ...string) verifier.Document {
	var d verifier.Document
	for _, n := range namespaces {
		d.Authorities = append(d.Authorities, verifier.AuthoritySpec{Namespace: n, Name: "team", Keys: []verifier.KeySpec{{PEM: w.pem}}})
		d.Policies = append(d.Policies, verifier.PolicySpec{Namespace: n, Name: "signed", AuthorityNames: []string{"team"}})
	}
	return d
}

func (w *world) judges(n int, d verifier.Document, floor *verifier.Floor) []*Judge {
	var all []*Judge
	for range n {
		j := &Judge{Rules: verifier.Rules{Floor: floor}, Resolver: w, Sources: []attestations.Source{w}}
		j.Rules.Cluster, _ = verifier.Compile(d)
		all = append(all, j)
	}
	return all
}

// runs is an image that runs in prod on amd64.
func runs(image string, d verifier.Digest, of string) Running {
	return Running{Namespace: "prod", Image: image, Digest: d, DigestOf: of, Platforms: []string{"linux/amd64"}, Pods: 1}
}

func TestAssess(t *testing.T) {
	team := newWorld(t)
	const app = "r.example/app"
	atA, atB := app+"@"+string(dgA), app+"@"+string(dgB)
	resolve := func(d *verifier.Document) { d.Policies[0].TagPolicy = "Resolve" }
	index := registry.Image{Digest: dgA, Manifests: []registry.Platform{{Name: "linux/amd64", Digest: dgB}, {Name: "linux/arm64", Digest: verifier.Digest("sha256:" + strings.Repeat("c", 64))}}}
	for name, c := range map[string]struct {
		running  Running
		images   map[string]registry.Image
		sign     verifier.Digest
		change   func(*verifier.Document)
		down     bool
		want     string // outcome and reason
		attested string // policy and authority
		byDigest string
	}{
		"attested":                     {running: runs(atA, dgA, app), sign: dgA, want: "allowed Attested", attested: "prod/signed team"},
		"not attested":                 {running: runs(atA, dgA, app), images: map[string]registry.Image{atA: {Digest: dgA}}, want: "denied NotAttested"},
		"dry run counts for nothing":   {running: runs(atA, dgA, app), images: map[string]registry.Image{atA: {Digest: dgA}}, change: func(d *verifier.Document) { d.DryRun = true; d.Policies[0].DryRun = true }, want: "denied NotAttested"},
		"the platform's is attested":   {running: runs(atA, dgA, app), images: map[string]registry.Image{atA: index}, sign: dgB, want: "allowed Attested", attested: "prod/signed team"},
		"one platform of two":          {running: Running{Namespace: "prod", Image: atA, Digest: dgA, DigestOf: app, Platforms: []string{"linux/amd64", "linux/arm64"}}, images: map[string]registry.Image{atA: index}, sign: dgB, want: "denied NotAttested"},
		"gone from the registry":       {running: runs(atA, dgA, app), want: "could not tell RuntimeFailed"},
		"the registry is down":         {running: runs(atA, dgA, app), down: true, want: "could not tell RuntimeFailed"},
		"by tag, attested":             {running: runs(app+":v1", dgA, app), sign: dgA, images: map[string]registry.Image{atA: {Digest: dgA}}, want: "denied TagReference", byDigest: atA + " allowed Attested prod/signed team"},
		"by tag, not attested":         {running: runs(app+":v1", dgA, app), images: map[string]registry.Image{atA: {Digest: dgA}}, want: "denied TagReference", byDigest: atA + " denied NotAttested"},
		"by tag, registry is down":     {running: runs(app+":v1", dgA, app), down: true, want: "denied TagReference", byDigest: atA + " could not tell RuntimeFailed"},
		"by tag, nobody says what":     {running: runs(app+":v1", "", ""), images: map[string]registry.Image{app + ":v1": {Digest: dgA}}, want: "denied TagReference"},
		"a tag that runs, attested":    {running: runs(app+":v1", dgA, app), change: resolve, sign: dgA, images: map[string]registry.Image{atA: {Digest: dgA}, app + ":v1": {Digest: dgB}}, want: "allowed Attested", attested: "prod/signed team"},
		"a tag that has moved since":   {running: runs(app+":v1", dgA, app), change: resolve, sign: dgB, images: map[string]registry.Image{atA: {Digest: dgA}, app + ":v1": {Digest: dgB}, atB: {Digest: dgB}}, want: "denied NotAttested"},
		"a tag, content is gone":       {running: runs(app+":v1", dgA, app), change: resolve, sign: dgB, images: map[string]registry.Image{app + ":v1": {Digest: dgB}}, want: "could not tell RuntimeFailed"},
		"a tag, known by another name": {running: runs(app+":v1", dgA, "r.example/copy"), change: resolve, sign: dgA, images: map[string]registry.Image{atA: {Digest: dgA}}, want: "allowed Attested", attested: "prod/signed team"},
		"another name's digest only":   {running: runs(app+":v1", dgA, "r.example/copy"), change: resolve, sign: dgB, images: map[string]registry.Image{app + ":v1": {Digest: dgB}}, want: "allowed Attested", attested: "prod/signed team"},
		"a tag of nothing that runs":   {running: runs(app+":v1", "", ""), change: resolve, sign: dgB, images: map[string]registry.Image{app + ":v1": {Digest: dgB}}, want: "allowed Attested", attested: "prod/signed team"},
		"on an allow-list":             {running: runs(app+":v1", "", ""), change: func(d *verifier.Document) { d.Allowlist = []verifier.AllowSpec{{Pattern: app + ":*"}} }, want: "allowed AllowListed"},
		"a handler of a sandbox":       {running: Running{Namespace: "prod", Image: atA, Handler: "kata", Platforms: []string{"linux/amd64"}}, sign: dgA, want: "denied RuntimeHandler"},
		"not a name":                   {running: runs("App\n:v1", "", ""), want: "denied InvalidReference"},
		"a namespace without a policy": {running: Running{Namespace: "test", Image: app + ":v1", Platforms: []string{"linux/amd64"}}, down: true, want: "allowed NoPolicy"},
		"no platform":                  {running: Running{Namespace: "prod", Image: atA}, sign: dgA, want: "could not tell RuntimeFailed"},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{key: team.key, pem: team.pem, images: c.images, signed: map[string][]verifier.Attestation{}, asked: map[string]int{}}
			if c.sign != "" {
				w.sign(t, app, c.sign)
			}
			if c.down {
				w.down = errors.New("connection refused")
			}
			d := w.policies("prod")
			if c.change != nil {
				c.change(&d)
			}
			all, err := Assess(t.Context(), []Running{c.running}, w.judges(1, Enforced(d), nil), time.Now(), none)
			check(t, err)
			got := all[0]
			if v := fmt.Sprint(got.Verdict.Outcome, " ", got.Verdict.Reason); v != c.want || got.Verdict.DryRun {
				t.Errorf("%s, %+v", v, got.Verdict)
			}
			if by := names(got.AttestedBy); by != c.attested {
				t.Errorf("attested by %q", by)
			}
			by := ""
			if b := got.ByDigest; b != nil {
				by = strings.TrimSpace(fmt.Sprint(b.Image, " ", b.Verdict.Outcome, " ", b.Verdict.Reason, " ", names(b.AttestedBy)))
			}
			if by != c.byDigest {
				t.Errorf("by digest: %q", by)
			}
		})
	}
}

func names(all []Attested) string {
	var s []string
	for _, a := range all {
		s = append(s, a.Policy+" "+a.Authority)
	}
	return strings.Join(s, ", ")
}

// However many namespaces and judges there are, a registry is asked once about an image; and each image gets its own answer.
func TestAssessAsksOnce(t *testing.T) {
	w := newWorld(t)
	var all []Running
	var namespaces []string
	for n := range 6 {
		namespace := fmt.Sprint("ns", n)
		namespaces = append(namespaces, namespace)
		for i := range 20 {
			repository := fmt.Sprint("r.example/app", i)
			r := runs(repository+"@"+string(dgA), dgA, repository)
			r.Namespace, r.Platforms = namespace, []string{"linux/amd64", "linux/arm64"}
			all = append(all, r)
			w.images[repository+"@"+string(dgA)] = registry.Image{Digest: dgA}
		}
	}
	for i := range 10 {
		w.sign(t, fmt.Sprint("r.example/app", 2*i), dgA)
	}
	var seen []int
	images, err := Assess(t.Context(), all, w.judges(4, w.policies(namespaces[:3]...), nil), time.Now(), func(done int) { seen = append(seen, done) })
	check(t, err)
	for n, i := range images {
		want := verifier.NotAttested
		if n%20%2 == 0 {
			want = verifier.Attested
		}
		if n >= 60 {
			want = verifier.NoPolicy
		}
		if i.Verdict.Reason != want || i.Image != all[n].Image || i.Namespace != all[n].Namespace {
			t.Errorf("%d: %s %s: %+v", n, i.Namespace, i.Image, i.Verdict)
		}
	}
	for what, n := range w.asked {
		if n != 1 {
			t.Errorf("%s: %d times", what, n)
		}
	}
	if len(w.asked) == 0 || !slices.IsSorted(seen) || seen[len(seen)-1] != len(all) {
		t.Errorf("%d questions, progress %v", len(w.asked), seen)
	}
	if o := Count(images); o != (Outcomes{Allowed: 90, Denied: 30, NoPolicy: 60}) {
		t.Errorf("%+v", o)
	}
	if _, err := Assess(t.Context(), all, nil, time.Now(), none); err == nil {
		t.Error("nobody judges, and all is well")
	}
}

// silent is a registry that does not answer.
type silent struct{}

func (silent) Name() string { return "silent" }
func (silent) Resolve(ctx context.Context, _ verifier.Reference) (registry.Image, error) {
	<-ctx.Done()
	return registry.Image{}, ctx.Err()
}

func (silent) Attestations(ctx context.Context, _ string, _ verifier.Digest) ([]verifier.Attestation, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// A registry that is silent costs a bounded time for each image, and all together no more than there is.
func TestAssessIsBounded(t *testing.T) {
	w := newWorld(t)
	d := w.policies("prod")
	synctest.Test(t, func(t *testing.T) {
		j := &Judge{Resolver: silent{}, Sources: []attestations.Source{silent{}}, Told: func() []string { return []string{"b", "a", "b"} }}
		j.Rules.Cluster, _ = verifier.Compile(d)
		var all []Running
		for n := range 10 {
			all = append(all, runs(fmt.Sprintf("r.example/app%d@%s", n, dgA), "", ""))
		}
		ctx, cancel := context.WithTimeoutCause(t.Context(), 5*patience+patience/2, errors.New("no time was left"))
		defer cancel()
		start := time.Now()
		images, err := Assess(ctx, all, []*Judge{j}, start, none)
		check(t, err)
		if took := time.Since(start); took != 5*patience+patience/2 {
			t.Errorf("it took %s", took)
		}
		for n, i := range images {
			want := "no answer within 30s"
			if n >= 5 {
				want = "no time was left"
			}
			if i.Verdict.Outcome != verifier.CouldNotTell || !strings.Contains(i.Verdict.Detail, want) || strings.Join(i.Notes, "") != "ab" {
				t.Errorf("%d: %+v %q", n, i.Verdict, i.Notes)
			}
		}
	})
}
