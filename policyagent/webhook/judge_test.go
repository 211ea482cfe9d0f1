package webhook

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/attestations"
	"github.com/kritis-node/kritis-node/policyagent/attestations/registry"
	"github.com/kritis-node/kritis-node/verifier"
)

// world is a judge and what it knows.
type world struct {
	judge
	rules    *fixed
	source   *source
	resolver *resolver
}

// newWorld returns a judge in whose namespace default team must attest. Close it within the bubble, if it is in one.
func newWorld(platforms ...string) *world {
	w := &world{rules: new(fixed).set(document()), source: new(source), resolver: &resolver{means: map[string]registry.Image{}}}
	w.evidence = newEvidence([]attestations.Source{w.source}, w.resolver, platforms, func(string, string) {})
	w.judge.rules = w.rules
	return w
}

func (w *world) one(t testing.TB, image string) ruling {
	return w.all(t.Context(), "default", []string{image})[0]
}

// An image with several platforms passes if its index is attested, or all that a Linux node may select.
func TestPlatforms(t *testing.T) {
	index := func(names ...string) registry.Image {
		i := registry.Image{Digest: digest("a")}
		for n, name := range names {
			i.Manifests = append(i.Manifests, registry.Platform{Name: name, Digest: digest(fmt.Sprint(n + 1))})
		}
		return i
	}
	usual := index("linux/amd64", "linux/arm64/v8", "windows/amd64", "unknown/unknown")
	many := registry.Image{Digest: digest("a")}
	var manySigned []string
	for n := range maxPlatforms + 1 {
		d := verifier.Digest(fmt.Sprintf("sha256:%064x", n))
		many.Manifests = append(many.Manifests, registry.Platform{Name: "linux/amd64", Digest: d})
		manySigned = append(manySigned, repository+"@"+string(d))
	}
	atTheLimit := registry.Image{Digest: many.Digest, Manifests: many.Manifests[1:]}
	down := errors.New("down")
	for name, tc := range map[string]struct {
		image     registry.Image
		attested  []string
		platforms []string
		resolver  error
		source    error
		want      verifier.Reason
	}{
		"index attested":                    {image: usual, attested: []string{pinned("a")}, want: verifier.Attested},
		"index attested, registry down":     {image: usual, attested: []string{pinned("a")}, resolver: down, want: verifier.Attested},
		"all of Linux attested":             {image: usual, attested: []string{pinned("1"), pinned("2")}, want: verifier.Attested},
		"one of Linux attested":             {image: usual, attested: []string{pinned("1")}, want: verifier.NotAttested},
		"the other of Linux attested":       {image: usual, attested: []string{pinned("2")}, want: verifier.NotAttested},
		"only what no node runs attested":   {image: usual, attested: []string{pinned("3"), pinned("4")}, want: verifier.NotAttested},
		"the cluster's platform attested":   {image: usual, attested: []string{pinned("1")}, platforms: []string{"linux/amd64"}, want: verifier.Attested},
		"the cluster's other attested":      {image: usual, attested: []string{pinned("2")}, platforms: []string{"linux/arm64"}, want: verifier.Attested},
		"not the cluster's platform":        {image: usual, attested: []string{pinned("1")}, platforms: []string{"linux/arm64"}, want: verifier.NotAttested},
		"a platform without a name":         {image: index("linux/amd64", ""), attested: []string{pinned("1")}, want: verifier.NotAttested},
		"Windows only":                      {image: index("windows/amd64"), attested: []string{pinned("1")}, want: verifier.NotAttested},
		"one manifest":                      {image: index(), want: verifier.NotAttested},
		"nothing attested, registry down":   {image: usual, resolver: down, want: verifier.RuntimeFailed},
		"nothing to be had":                 {image: usual, source: down, want: verifier.SourceFailed},
		"platforms attested, index unknown": {image: usual, attested: []string{pinned("1"), pinned("2")}, source: down, want: verifier.Attested},
		"more platforms than are looked at": {image: many, attested: manySigned, want: verifier.RuntimeFailed},
		"as many platforms as are":          {image: atTheLimit, attested: manySigned, want: verifier.Attested},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(tc.platforms...)
			defer w.evidence.close()
			w.source.attest(tc.attested...).err = tc.source
			w.resolver.means[pinned("a")], w.resolver.err = tc.image, tc.resolver
			r := w.one(t, pinned("a"))
			if r.verdict.Reason != tc.want || r.verdict.Admits() != (tc.want == verifier.Attested) {
				t.Errorf("%+v, want %s", r, tc.want)
			}
			if tc.image.Digest == many.Digest && len(tc.image.Manifests) > maxPlatforms && !strings.Contains(r.why, "the image has more than 32 Linux platforms") {
				t.Error(r.why)
			}
		})
	}
}

// Under tagPolicy Resolve a tag means what the registry says now.
func TestTagsThatAreResolved(t *testing.T) {
	for name, tc := range map[string]struct {
		means    registry.Image
		attested []string
		err      error
		want     verifier.Reason
	}{
		"attested":           {registry.Image{Digest: digest("a")}, []string{pinned("a")}, nil, verifier.Attested},
		"not attested":       {registry.Image{Digest: digest("a")}, []string{pinned("b")}, nil, verifier.NotAttested},
		"platforms attested": {registry.Image{Digest: digest("a"), Manifests: []registry.Platform{{Name: "linux/amd64", Digest: digest("1")}}}, []string{pinned("1")}, nil, verifier.Attested},
		"one is not":         {registry.Image{Digest: digest("a"), Manifests: []registry.Platform{{Name: "linux/amd64", Digest: digest("1")}, {Name: "linux/arm64", Digest: digest("2")}}}, []string{pinned("1")}, nil, verifier.NotAttested},
		"registry down":      {registry.Image{}, nil, errors.New("down"), verifier.RuntimeFailed},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			defer w.evidence.close()
			doc := document()
			doc.Policies[0].TagPolicy = "Resolve"
			w.rules.set(doc)
			w.source.attest(tc.attested...)
			w.resolver.means[taggedImage], w.resolver.err = tc.means, tc.err
			r := w.one(t, taggedImage)
			if r.verdict.Reason != tc.want {
				t.Errorf("%+v, want %s", r, tc.want)
			}
		})
	}
	w := newWorld()
	defer w.evidence.close()
	w.evidence.meanings = nil
	doc := document()
	doc.Policies[0].TagPolicy = "Resolve"
	w.rules.set(doc)
	if r := w.one(t, taggedImage); r.verdict.Outcome != verifier.CouldNotTell || r.why != "the registry did not say what it is now: the registry was not asked: try again" {
		t.Errorf("nobody to ask: %+v", r)
	}
}

// A tag moves: what it means is asked for again after seconds. What a digest leads to is not.
func TestTagsMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		defer w.evidence.close()
		w.resolver.means[taggedImage], w.resolver.means[pinned("a")] = registry.Image{Digest: digest("a")}, registry.Image{Digest: digest("a")}
		meaning := func(image string) verifier.Digest {
			ref, err := verifier.ParseReference(image)
			if err != nil {
				t.Fatal(err)
			}
			i, err := w.evidence.meaning(t.Context(), ref)
			if err != nil {
				t.Fatal(err)
			}
			return i.Digest
		}
		meaning(taggedImage)
		meaning(pinned("a"))
		w.resolver.means[taggedImage] = registry.Image{Digest: digest("b")}
		time.Sleep(settledFor - time.Nanosecond)
		if got := meaning(taggedImage); got != digest("a") {
			t.Errorf("asked again at once: %s", got)
		}
		time.Sleep(time.Nanosecond)
		if got := meaning(taggedImage); got != digest("b") {
			t.Errorf("%s", got)
		}
		time.Sleep(keptFor - settledFor - time.Nanosecond)
		if meaning(pinned("a")); w.resolver.asked != 3 {
			t.Errorf("%d questions", w.resolver.asked)
		}
	})
}

// Allow-lists admit by name, and nothing is asked then; without a policy nothing is asked either.
func TestNamesThatNeedNoAttestation(t *testing.T) {
	w := newWorld()
	defer w.evidence.close()
	doc := document()
	doc.Allowlist = []verifier.AllowSpec{{List: "acs", Pattern: "registry*.cn-*.aliyuncs.com/acs/*"}}
	w.rules.set(doc)
	if r := w.one(t, "registry-vpc.cn-beijing.aliyuncs.com/acs/pause:3.2"); r.verdict.Reason != verifier.AllowListed {
		t.Errorf("%+v", r)
	}
	if r := w.all(t.Context(), "free", []string{"alpine"})[0]; r.verdict.Reason != verifier.NoPolicy {
		t.Errorf("%+v", r)
	}
	if len(w.source.asked) > 0 || w.resolver.asked > 0 {
		t.Error("somebody was asked")
	}
}

// What is signed after a denial passes within seconds, although the denial's attestations are kept for minutes.
func TestSignedAfterTheDenial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		defer w.evidence.close()
		w.resolver.means[pinned("a")] = registry.Image{Digest: digest("a")}
		stranger := attestation(repository, digest("b"))
		w.source.by = map[string][]verifier.Attestation{pinned("a"): {stranger}}
		if r := w.one(t, pinned("a")); r.verdict.Reason != verifier.NotAttested {
			t.Fatalf("%+v", r)
		}
		w.source.attest(pinned("a"))
		time.Sleep(settledFor - time.Millisecond)
		if r := w.one(t, pinned("a")); r.verdict.Reason != verifier.NotAttested || w.source.count(pinned("a")) != 1 {
			t.Errorf("asked again at once: %+v", r)
		}
		time.Sleep(time.Millisecond)
		if r := w.one(t, pinned("a")); r.verdict.Reason != verifier.Attested || w.source.count(pinned("a")) != 2 {
			t.Errorf("%+v", r)
		}
	})
}

// The same if nothing was there, and if a digest beside it cannot be told about. What does not suffice is told to the sources.
func TestSignedAfterNone(t *testing.T) {
	for name, failing := range map[string]bool{"none": false, "another digest fails": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				defer w.evidence.close()
				w.resolver.means[pinned("a")] = registry.Image{Digest: digest("a"), Manifests: []registry.Platform{{Name: "linux/amd64", Digest: digest("b")}}}
				if r := w.one(t, pinned("a")); r.verdict.Reason != verifier.NotAttested {
					t.Fatalf("%+v", r)
				}
				if failing {
					w.evidence.attestations.kept.Remove(key{repository, string(digest("b"))})
					w.source.fails = map[string]error{pinned("b"): errors.New("down")}
				}
				w.source.attest(pinned("a"))
				time.Sleep(settledFor)
				if r := w.one(t, pinned("a")); r.verdict.Reason != verifier.Attested || w.source.count(pinned("a")) != 2 || w.source.told[pinned("a")] != 1 {
					t.Errorf("%+v, %d questions, %d told", r, w.source.count(pinned("a")), w.source.told[pinned("a")])
				}
			})
		})
	}
}

// What suffices is no reason to ask for what there is not: of an index that only its platform attests.
func TestWhatSuffices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		defer w.evidence.close()
		w.resolver.means[pinned("a")] = registry.Image{Digest: digest("a"), Manifests: []registry.Platform{{Name: "linux/amd64", Digest: digest("b")}}}
		w.source.attest(pinned("b"))
		for range 10 {
			if r := w.one(t, pinned("a")); r.verdict.Reason != verifier.Attested {
				t.Errorf("%+v", r)
			}
			time.Sleep(keptFor / 10)
		}
		if a, b := w.source.count(pinned("a")), w.source.count(pinned("b")); a != 1 || b != 1 {
			t.Errorf("%d, %d questions", a, b)
		}
	})
}

// Of a review with several images each is asked for at the same time, and the answer is in their order.
func TestImagesAreAskedForAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		defer w.evidence.close()
		w.source.block = make(chan struct{})
		var images []string
		for _, c := range strings.Split("12345678", "") {
			images = append(images, "r"+c+".example/app@"+string(digest(c)))
		}
		w.source.attest(images...)
		done := make(chan []ruling)
		go func() { done <- w.all(t.Context(), "default", images) }()
		synctest.Wait()
		w.source.mu.Lock()
		asked := len(w.source.asked)
		w.source.mu.Unlock()
		if asked != len(images) {
			t.Errorf("%d asked for", asked)
		}
		close(w.source.block)
		for i, r := range <-done {
			if r.image != images[i] || r.verdict.Outcome != verifier.Allowed {
				t.Errorf("%d: %+v", i, r)
			}
		}
	})
}

// A denial waits only a moment for the digest of its tag, and asks for one image.
func TestHintHasItsBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		defer w.evidence.close()
		w.resolver.block = make(chan struct{})
		began := time.Now()
		w.all(t.Context(), "default", []string{pinned("a") + "x", "b:1", "c:1"})
		if took := time.Since(began); took > 0 {
			t.Errorf("took %s although the first failure has no tag", took)
		}
		rulings := w.all(t.Context(), "default", []string{"b:1", "c:1"})
		if took := time.Since(began); took != hintBudget {
			t.Errorf("took %s", took)
		}
		w.resolver.mu.Lock()
		defer w.resolver.mu.Unlock()
		if w.resolver.asked != 1 || !slices.ContainsFunc(rulings, func(r ruling) bool { return r.why == tagged() }) {
			t.Errorf("%d asked: %+v", w.resolver.asked, rulings)
		}
	})
}

// explosive panics wherever it is asked.
type explosive struct{ source }

func (*explosive) Rules() (verifier.Rules, error) { panic("boom") }

// A bug in a source or here denies, and takes nothing down.
func TestPanics(t *testing.T) {
	c := usual(t)
	c.Sources = []attestations.Source{panicking{}}
	c.Resolver = nil
	w := made(t, c)
	r := reviewed(t, w, golden(t, "pod-create", "IMAGE", signedImage))
	if said(r) != "image "+signedImage+" could not be verified" || !strings.Contains(strings.Join(r.Warnings, " "), "a source failed inside") {
		t.Errorf("%s %s", said(r), r.Warnings)
	}
	c = usual(t)
	c.Rules = &explosive{}
	w = made(t, c)
	if rw := ask(t, w, golden(t, "pod-create", "IMAGE", signedImage)); rw.Code != 500 || refused(t, rw) != "kritis webhook failed inside: see its log, and please report it" {
		t.Errorf("%d %s", rw.Code, rw.Body)
	}
}
