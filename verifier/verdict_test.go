package verifier

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// The zero value of everything denies, or could not tell.
func TestZeroValuesDeny(t *testing.T) {
	w := honestWorld().attested(appDigest, kritisBy(qaKey(), "", appDigest))
	for name, rules := range map[string]Rules{
		"rules":              {},
		"floor":              {Floor: &Floor{}, Cluster: compiled(document())},
		"policy set":         {Cluster: &PolicySet{}},
		"floor and set":      {Floor: &Floor{}, Cluster: &PolicySet{}},
		"compiled, no world": {Cluster: compiled(document())},
	} {
		t.Run(name, func(t *testing.T) {
			var content Content = w
			if strings.HasSuffix(name, "no world") {
				content = nil
			}
			if v := rules.Decide(app(appPinned), content, w); v.Admits() {
				t.Errorf("admits: %+v", v)
			}
		})
	}
	q := newInquiry(app(appPinned), w, w)
	if err := q.read(); err != nil {
		t.Fatal(err)
	}
	if result, state := q.askPolicy(&policy{}, []Digest{appDigest}); state != doesNot || result.Satisfied {
		t.Errorf("zero policy: %+v", result)
	}
	if result, state := q.askAuthority(&authority{}, []Digest{appDigest}); state != doesNot || result.Attested {
		t.Errorf("zero authority: %+v", result)
	}
	if (Verdict{}).Admits() || (Pattern{}).Match("") || (Verdict{Reason: Attested}).Admits() {
		t.Error("a zero value admits")
	}
	if _, err := (Key{}).Verify(nil, []byte("x")); !errors.Is(err, ErrSignature) {
		t.Errorf("zero key: %v", err)
	}
}

type panicking struct{ *world }

func (panicking) Attestations(string, Digest) ([]Attestation, error) { panic("boom") }

func TestPanicIsCouldNotTell(t *testing.T) {
	w := honestWorld()
	v := Rules{Cluster: compiled(document())}.Decide(app(appPinned), w, panicking{w})
	if v.Outcome != CouldNotTell || v.Reason != Internal || v.Detail == "" {
		t.Errorf("got %+v", v)
	}
}

func TestEvidence(t *testing.T) {
	doc := document()
	doc.Policies[0].AuthorityNames = []string{"qa", "prod"}
	forged := kritisBy(otherKey(), "mallory", appDigest)
	forged.Source = "registry\x1b[2J"
	w := honestWorld().attested(appDigest, forged, cosignBy(qaKey(), appDigest))
	v := Rules{Cluster: compiled(doc)}.Decide(app(appPinned), w, w)
	if len(v.Policies) != 1 || len(v.Policies[0].Authorities) != 2 || v.Policies[0].Satisfied {
		t.Fatalf("got %+v", v)
	}
	qa, prod := v.Policies[0].Authorities[0], v.Policies[0].Authorities[1]
	key := mustKey(t, qaSpec("").Keys[0])
	want := AuthorityResult{Name: "qa", Attested: true, KeyID: "kms-qa", Fingerprint: key.Fingerprint(),
		Algorithm: RSAPKCS1SHA256, Digest: appDigest, Format: FormatCosign, Source: "test", RepositoryBound: true}
	if fmt.Sprintf("%+v", qa) != fmt.Sprintf("%+v", want) {
		t.Errorf("got  %+v\nwant %+v", qa, want)
	}
	wantAttempts := []Attempt{
		{Digest: appDigest, Format: FormatKritis, Source: `registry\x1b[2J`, Check: "key", Why: `it was signed with key "mallory", which is not the authority's`},
		{Digest: appDigest, Format: FormatCosign, Source: "test", Check: "signature", Why: "its signature fits none of the authority's keys"},
	}
	if prod.Attested || !slices.Equal(prod.Attempts, wantAttempts) {
		t.Errorf("got  %+v\nwant %+v", prod.Attempts, wantAttempts)
	}
}
