package verifier

import (
	"reflect"
	"slices"
	"testing"
)

func TestCompileProblems(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*Document)
		want   []Problem
	}{
		{"none", func(*Document) {}, nil},
		{"unusable key", func(d *Document) { d.Authorities[0].Keys[0].PEM = "-----BEGIN PGP PUBLIC KEY BLOCK-----" }, []Problem{
			{"AttestationAuthority default/qa", "keys[0].pem", "KeyNotSupported", "it is a PGP key, which is not supported: sign with an RSA-2048 key and give its public key in PEM"},
			{"GenericAttestationPolicy default/main", "authorityNames[0]", "AuthorityUnusable", "authority qa attests nothing, so nothing satisfies the policy: see its own condition"}}},
		{"unusable key beside a good one", func(d *Document) { d.Authorities[0].Keys = append(d.Authorities[0].Keys, KeySpec{PEM: "x"}) }, []Problem{
			{"AttestationAuthority default/qa", "keys[1].pem", "KeyNotSupported", `it is not a public key in PEM: it must begin with "-----BEGIN PUBLIC KEY-----"`}}},
		{"no key", func(d *Document) { d.Authorities[1].Keys = nil }, []Problem{
			{"AttestationAuthority default/prod", "keys", "KeyMissing", "it has no key, so it attests nothing: add its public key"}}},
		{"17 keys", func(d *Document) { d.Authorities[0].Keys = slices.Repeat(d.Authorities[0].Keys, 17) }, []Problem{
			{"AttestationAuthority default/qa", "keys[16]", "KeyLimit", "it has more than 16 keys: the further ones do not count"}}},
		{"authority twice", func(d *Document) { d.Authorities[1].Name = "qa" }, []Problem{
			{"AttestationAuthority default/qa", "", "Duplicate", "it exists twice, so neither counts: remove one"},
			{"GenericAttestationPolicy default/main", "authorityNames[0]", "AuthorityUnusable", "authority qa attests nothing, so nothing satisfies the policy: see its own condition"}}},
		{"authority without namespace", func(d *Document) { d.Authorities[1].Namespace = "" }, []Problem{
			{"AttestationAuthority prod", "", "NameMissing", "it has no name or no namespace: give it both"}}},
		{"policy twice", func(d *Document) { d.Policies = append(d.Policies, d.Policies[0]) }, []Problem{
			{"GenericAttestationPolicy default/main", "", "Duplicate", "it exists twice, so neither counts: remove one"}}},
		{"policy without name", func(d *Document) { d.Policies[0].Name = "" }, []Problem{
			{"GenericAttestationPolicy default/", "", "NameMissing", "it has no name or no namespace: give it both"}}},
		{"no authorities", func(d *Document) { d.Policies[0].AuthorityNames = []string{} }, []Problem{
			{"GenericAttestationPolicy default/main", "authorityNames", "NoAuthorities", "it names no authority, so nothing satisfies it: name one"}}},
		{"missing authority", func(d *Document) { d.Policies[0].AuthorityNames = []string{"qa", "gone"} }, []Problem{
			{"GenericAttestationPolicy default/main", "authorityNames[1]", "AuthorityMissing", "authority gone does not exist, so nothing satisfies the policy: create it, or remove its name"}}},
		{"authority of another namespace", func(d *Document) { d.Policies[0].Namespace = "prod" }, []Problem{
			{"GenericAttestationPolicy prod/main", "authorityNames[0]", "AuthorityMissing", "authority qa does not exist, so nothing satisfies the policy: create it, or remove its name"}}},
		{"tag policy", func(d *Document) { d.Policies[0].TagPolicy = "Allow" }, []Problem{
			{"GenericAttestationPolicy default/main", "tagPolicy", "TagPolicyUnknown", "the tag policy is neither Reject nor Resolve, so images named by tag are rejected"}}},
		{"pattern of a policy", func(d *Document) { d.Policies[0].Allow = []string{"ok", "a?"} }, []Problem{
			{"GenericAttestationPolicy default/main", "allow[1]", "PatternInvalid", "the pattern has characters that no image's name can have: only * has a meaning of its own"}}},
		{"patterns of lists", func(d *Document) {
			d.Allowlist = []AllowSpec{{List: "a", Pattern: "x"}, {List: "b", Pattern: ""}, {List: "a", Pattern: " "}}
		}, []Problem{
			{"AdmissionAllowlist b", "patterns[0]", "PatternInvalid", "the pattern is empty: remove it, or write a name"},
			{"AdmissionAllowlist a", "patterns[1]", "PatternInvalid", "the pattern has characters that no image's name can have: only * has a meaning of its own"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			doc := document()
			test.change(&doc)
			first, problems := Compile(doc)
			if !slices.Equal(problems, test.want) {
				t.Errorf("got  %+v\nwant %+v", problems, test.want)
			}
			if again, _ := Compile(doc); !reflect.DeepEqual(first, again) {
				t.Error("compiles differently the second time")
			}
		})
	}
}

// One unusable key takes nothing from the others: a key being rotated must not stop the namespace.
func TestUnusableKeyLeavesTheOthers(t *testing.T) {
	doc := document()
	doc.Authorities[0].Keys = append([]KeySpec{{ID: "kms-qa", PEM: publicPEM(rsa4096())}}, doc.Authorities[0].Keys...)
	v := decideApp(doc, map[Digest][]Attestation{appDigest: {kritisBy(qaKey(), "kms-qa", appDigest)}}, appDigest)
	if v.Outcome != Allowed {
		t.Errorf("got %+v", v)
	}
	v = decideApp(doc, map[Digest][]Attestation{appDigest: {kritisBy(rsa4096(), "kms-qa", appDigest)}}, appDigest)
	if v.Outcome != Denied {
		t.Errorf("a refused key attests: %+v", v)
	}
}

// A policy's place in the document changes nothing.
func TestCompileOrder(t *testing.T) {
	doc := document()
	doc.Policies = append(doc.Policies, PolicySpec{Namespace: "default", Name: "a", AuthorityNames: []string{"prod"}})
	reversed := doc
	reversed.Policies = slices.Clone(doc.Policies)
	slices.Reverse(reversed.Policies)
	one, two := decideApp(doc, nil, appDigest), decideApp(reversed, nil, appDigest)
	if !reflect.DeepEqual(one, two) || one.Policies[0].Name != "a" || len(one.Policies) != 2 {
		t.Errorf("got %+v\nand %+v", one, two)
	}
}
