package verifier

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// decideApp decides about the app where the attestations lie under its digests.
func decideApp(doc Document, attestations map[Digest][]Attestation, digests ...Digest) Verdict {
	w := &world{digests: map[string][]Digest{appPinned: digests}, attestations: attestations}
	return Rules{Cluster: compiled(doc)}.Decide(app(appPinned), w, w)
}

func repeat(a Attestation, n int) []Attestation {
	as := make([]Attestation, n)
	for i := range as {
		as[i] = a
	}
	return as
}

// padded is a valid attestation whose payload has that many bytes.
func padded(size int) Attestation {
	message := payload(typeKritis, appRepo, appDigest)
	return kritisOver(qaKey(), "", append(message, bytes.Repeat([]byte(" "), size-len(message))...))
}

func signatures(n int, lastBy Signature) []Signature {
	s := make([]Signature, n)
	for i := range s {
		s[i] = Signature{Value: make([]byte, 256)}
	}
	s[n-1] = lastBy
	return s
}

func TestLimits(t *testing.T) {
	valid := kritisBy(qaKey(), "", appDigest)
	elsewhere := kritisOver(qaKey(), "", payload(typeKritis, otherRepo, appDigest))
	unsigned := kritisBy(otherKey(), "", appDigest)
	unsigned.Signatures = signatures(MaxSignatures, Signature{Value: make([]byte, 256)})
	signed := func(n int) Attestation {
		a := valid
		a.Signatures = signatures(n, valid.Signatures[0])
		return a
	}
	large := func(n int) []Attestation {
		full := padded(MaxPayload)
		full.Signatures = nil
		return append(repeat(full, n-1), padded(MaxPayload))
	}
	for _, test := range []struct {
		name         string
		attestations []Attestation
		want         Outcome
		reason       Reason
		detail       string
	}{
		{"payload of 128 KiB", []Attestation{padded(MaxPayload)}, Allowed, Attested, ""},
		{"payload of 128 KiB and one", []Attestation{padded(MaxPayload + 1)}, CouldNotTell, SourceFailed, "was not read, because it is larger than 128 KiB"},
		{"payload of 100 MB", []Attestation{{Format: FormatKritis, Payload: make([]byte, 100<<20)}}, CouldNotTell, SourceFailed, "was not read, because it is larger than 128 KiB"},
		{"16 signatures", []Attestation{signed(MaxSignatures)}, Allowed, Attested, ""},
		{"17 signatures", []Attestation{signed(MaxSignatures + 1)}, CouldNotTell, SourceFailed, "was not read, because it carries more than 16 signatures"},
		{"a hundred thousand signatures", []Attestation{signed(100_000)}, CouldNotTell, SourceFailed, "was not read, because it carries more than 16 signatures"},
		{"17 signatures, and another that is valid", []Attestation{signed(MaxSignatures + 1), valid}, Allowed, Attested, ""},
		{"256 attestations, the last valid", append(repeat(elsewhere, MaxAttestations-1), valid), Allowed, Attested, ""},
		{"256 attestations, none valid", repeat(elsewhere, MaxAttestations), Denied, NotAttested, ""},
		{"257 attestations, the last valid", append(repeat(elsewhere, MaxAttestations), valid), CouldNotTell, SourceFailed,
			"there are more than 256 attestations of one digest, and none of the first is valid"},
		{"257 attestations, the first valid", append([]Attestation{valid}, repeat(elsewhere, MaxAttestations)...), Allowed, Attested, ""},
		{"1024 signatures, the last valid", append(repeat(unsigned, 63), signed(MaxSignatures)), Allowed, Attested, ""},
		{"1025 signatures, the last valid", append(append([]Attestation{valid}, repeat(unsigned, 64)...)[1:], valid), CouldNotTell, SourceFailed,
			"there are more than 1024 signatures to check, and none of the first is valid"},
		{"2 MiB, the last valid", large(16), Allowed, Attested, ""},
		{"more than 2 MiB, the last valid", large(17), CouldNotTell, SourceFailed,
			"the attestations are larger than 2097152 bytes together, and none of the first is valid"},
	} {
		t.Run(test.name, func(t *testing.T) {
			v := decideApp(document(), map[Digest][]Attestation{appDigest: test.attestations}, appDigest)
			if v.Outcome != test.want || v.Reason != test.reason || !strings.Contains(v.Detail, test.detail) {
				t.Errorf("got %v %s: %s", v.Outcome, v.Reason, v.Detail)
			}
			if n := len(v.Policies[0].Authorities[0].Attempts); n > MaxAttempts {
				t.Errorf("%d attempts kept", n)
			}
		})
	}
}

func TestLimitOfAttempts(t *testing.T) {
	for n, want := range map[int]int{MaxAttempts: MaxAttempts, MaxAttempts + 1: MaxAttempts} {
		v := decideApp(document(), map[Digest][]Attestation{appDigest: repeat(Attestation{}, n)}, appDigest)
		if got := len(v.Policies[0].Authorities[0].Attempts); got != want {
			t.Errorf("of %d: %d kept", n, got)
		}
	}
}

func TestLimitOfDigests(t *testing.T) {
	digests := make([]Digest, MaxDigests+1)
	for i := range digests {
		digests[i] = testDigest(fmt.Sprint(i))
	}
	for i, want := range map[int]Outcome{0: Allowed, MaxDigests - 1: Allowed, MaxDigests: CouldNotTell} {
		d := digests[i]
		v := decideApp(document(), map[Digest][]Attestation{d: {kritisBy(qaKey(), "", d)}}, digests...)
		if v.Outcome != want {
			t.Errorf("attested under digest %d: got %v %s: %s", i+1, v.Outcome, v.Reason, v.Detail)
		}
	}
	if v := decideApp(document(), nil, digests[:MaxDigests]...); v.Outcome != Denied {
		t.Errorf("16 digests, none attested: got %v %s", v.Outcome, v.Reason)
	}
}

func TestLimitOfKeys(t *testing.T) {
	other, qa := KeySpec{PEM: publicPEM(otherKey())}, KeySpec{PEM: publicPEM(qaKey())}
	for n, want := range map[int]Outcome{MaxKeys: Allowed, MaxKeys + 1: Denied} {
		doc := document()
		doc.Authorities[0].Keys = nil
		for range n - 1 {
			doc.Authorities[0].Keys = append(doc.Authorities[0].Keys, other)
		}
		doc.Authorities[0].Keys = append(doc.Authorities[0].Keys, qa)
		_, problems := Compile(doc)
		if (len(problems) > 0) != (n > MaxKeys) {
			t.Errorf("%d keys: %v", n, problems)
		}
		v := decideApp(doc, map[Digest][]Attestation{appDigest: {kritisBy(qaKey(), "", appDigest)}}, appDigest)
		if v.Outcome != want {
			t.Errorf("%d keys: got %v", n, v.Outcome)
		}
	}
}

// Keys that an attestation names are tried first: with sixteen keys and many attestations that is what keeps the honest
// case within the limit.
func TestNamedKeyIsTriedFirst(t *testing.T) {
	doc := document()
	other := KeySpec{ID: "old", PEM: publicPEM(otherKey())}
	doc.Authorities[0].Keys = append([]KeySpec{other, other, other}, doc.Authorities[0].Keys...)
	w := honestWorld()
	q := newInquiry(app(appPinned), w, w)
	set := compiled(doc)
	a := set.policies["default"][0].authorities[0]
	for id, want := range map[string]int{"kms-qa": 1, "unknown": 4, "": 4} {
		q.verified = 0
		s := readStatement(kritisBy(qaKey(), id, appDigest), appRepo, appDigest)
		if _, _, failed, _ := q.tryStatement(a, s); failed != nil || q.verified != want {
			t.Errorf("%q: %d checks, %v", id, q.verified, failed)
		}
	}
}

// Policies that share an authority share its answer, and so do not multiply the checks.
func TestAuthorityIsAskedOnce(t *testing.T) {
	doc := document()
	doc.Policies = append(doc.Policies, PolicySpec{Namespace: "default", Name: "second", AuthorityNames: []string{"qa"}})
	w := honestWorld().attested(appDigest, kritisBy(otherKey(), "", appDigest))
	q := newInquiry(app(appPinned), w, w)
	f := q.judge(defaultFloor().clusterSide(compiled(doc), "default"))
	if f.outcome != Denied || len(f.policies) != 2 || len(f.policies[1].Authorities[0].Attempts) != 1 || q.verified != 1 {
		t.Errorf("%d checks: %+v", q.verified, f)
	}
}
