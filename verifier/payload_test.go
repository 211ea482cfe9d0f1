package verifier

import (
	"fmt"
	"strings"
	"testing"
)

// attempt lets the authority qa look at one attestation of the app, and returns what became of it: "" if it counts.
func attempt(t testing.TB, a Attestation) (check, why string) {
	t.Helper()
	w := honestWorld().attested(appDigest, a)
	w.digests[appPinned] = []Digest{appDigest}
	v := Rules{Cluster: compiled(document())}.Decide(app(appPinned), w, w)
	qa := v.Policies[0].Authorities[0]
	if v.Outcome == Allowed && qa.Attested {
		return "", ""
	}
	if v.Outcome != Denied || v.Reason != NotAttested || len(qa.Attempts) != 1 {
		t.Fatalf("got %+v", v)
	}
	return qa.Attempts[0].Check, qa.Attempts[0].Why
}

// Every payload here is signed by the right key: only what it says is wrong.
func TestPayload(t *testing.T) {
	good := string(payload(typeKritis, appRepo, appDigest))
	change := func(old, replacement string) string {
		s := strings.Replace(good, old, replacement, 1)
		if s == good {
			t.Fatalf("%s is not in the payload", old)
		}
		return s
	}
	depth := func(n int) string { // n levels in all
		return change(`{"creator":"test"}`, strings.Repeat("[", n-1)+strings.Repeat("]", n-1))
	}
	upper := strings.ToUpper(appDigest.Hex())
	for _, test := range []struct{ name, payload, check, why string }{
		{"good", good, "", ""},
		{"no optional", change(`,"optional":{"creator":"test"}`, ""), "", ""},
		{"optional null", change(`{"creator":"test"}`, "null"), "", ""},
		{"unknown member beside critical", change(`"optional"`, `"note":1,"optional"`), "", ""},
		{"white space around", " " + good + "\n", "", ""},
		{"other order", fmt.Sprintf(`{"critical":{"type":%q,"image":{"docker-manifest-digest":%q},"identity":{"docker-reference":%q}}}`, typeKritis, appDigest, appRepo), "", ""},
		{"32 levels", depth(maxDepth), "", ""},
		{"33 levels", depth(maxDepth + 1), "format", whyDepth},

		{"nothing", "", "format", whyJSON},
		{"no JSON", "hello", "format", whyJSON},
		{"truncated", good[:len(good)-1], "format", whyJSON},
		{"trailing bytes", good + "x", "format", whyJSON},
		{"trailing NUL", good + "\x00", "format", whyJSON},
		{"two payloads", good + good, "format", whyJSON},
		{"byte order mark", "\ufeff" + good, "format", whyJSON},
		{"no UTF-8", change("test", "\xff"), "format", whyJSON},
		{"list", "[" + good + "]", "format", whyNoCritical},
		{"null", "null", "format", whyNoCritical},
		{"no critical", `{"optional":{}}`, "format", whyNoCritical},
		{"critical in other case", change(`"critical"`, `"Critical"`), "format", whyNoCritical},
		{"critical in both cases", change(`{"critical"`, `{"Critical":{},"critical"`), "", ""},
		{"unknown critical member", change(`"identity"`, `"expires":1,"identity"`), "format", whyNoCritical},
		{"unknown identity member", change(`"docker-reference"`, `"x":1,"docker-reference"`), "format", whyNoCritical},
		{"unknown image member", change(`"docker-manifest-digest"`, `"x":1,"docker-manifest-digest"`), "format", whyNoCritical},
		{"identity is a list", change(`{"docker-reference":"`+appRepo+`"}`, `[]`), "format", whyNoCritical},
		{"image missing", change(`"image":{"docker-manifest-digest":"`+string(appDigest)+`"},`, ""), "format", whyNoCritical},

		{"two criticals", change(`{"critical"`, `{"critical":{},"critical"`), "format", whyDuplicate},
		{"two types", change(`"type"`, `"type":"x","type"`), "format", whyDuplicate},
		{"two digests", change(`{"docker-manifest-digest"`, `{"docker-manifest-digest":"x","docker-manifest-digest"`), "format", whyDuplicate},
		{"two references, one escaped", change(`{"docker-reference"`, `{"docker\u002dreference":"x","docker-reference"`), "format", whyDuplicate},
		{"two in optional", change(`{"creator"`, `{"creator":1,"creator"`), "format", whyDuplicate},

		{"type of cosign", change(typeKritis, typeCosign), "type", `its type is "cosign container image signature"`},
		{"type in other case", change(typeKritis, "Atomic container signature"), "type", `its type is "Atomic container signature"`},
		{"type missing", change(`,"type":"`+typeKritis+`"`, ""), "type", `its type is ""`},
		{"type is a number", change(`"`+typeKritis+`"`, "1"), "type", `its type is ""`},

		{"another repository", change(appRepo, otherRepo), "repository", "it approves repository " + otherRepo},
		{"repository of the same prefix", change(appRepo, appRepo+"-x"), "repository", "it approves repository " + appRepo + "-x"},
		{"same path elsewhere", change(appRepo, "team/app"), "repository", "it approves repository docker.io/team/app"},
		{"with port", change(appRepo, "registry.example:443/team/app"), "repository", "it approves repository registry.example:443/team/app"},
		{"with tag", change(appRepo, appRepo+":v1"), "repository", whyRepositoryForm},
		{"with digest", change(appRepo, appPinned), "repository", whyRepositoryForm},
		{"host in upper case", change(appRepo, "Registry.example/team/app"), "repository", whyRepositoryForm},
		{"with scheme", change(appRepo, "https://"+appRepo), "repository", whyRepositoryForm},
		{"empty repository", change(appRepo, ""), "repository", whyRepositoryForm},
		{"repository missing", change(`"docker-reference":"`+appRepo+`"`, ""), "repository", whyRepositoryForm},
		{"repository is null", change(`"`+appRepo+`"`, "null"), "repository", whyRepositoryForm},

		{"another digest", change(string(appDigest), string(otherDigest)), "digest", "it approves digest " + string(otherDigest)},
		{"digest in upper case", change(appDigest.Hex(), upper), "digest", whyDigestForm},
		{"sha512", change(string(appDigest), "sha512:"+appDigest.Hex()+appDigest.Hex()), "digest", whyDigestForm},
		{"no algorithm", change(string(appDigest), appDigest.Hex()), "digest", whyDigestForm},
		{"digest with a newline", change(string(appDigest), string(appDigest)+`\n`), "digest", whyDigestForm},
		{"digest missing", change(`"docker-manifest-digest":"`+string(appDigest)+`"`, ""), "digest", whyDigestForm},
	} {
		t.Run(test.name, func(t *testing.T) {
			check, why := attempt(t, kritisOver(qaKey(), "kms-qa", []byte(test.payload)))
			if check != test.check || why != test.why {
				t.Errorf("got %q, %q; want %q, %q", check, why, test.check, test.why)
			}
		})
	}
}

// Docker Hub has several names; cosign writes index.docker.io.
func TestPayloadRepositoryIsNormalised(t *testing.T) {
	const repository = "docker.io/library/nginx"
	for said, want := range map[string]bool{
		"nginx": true, "library/nginx": true, "docker.io/nginx": true, "index.docker.io/library/nginx": true, repository: true,
		"registry-1.docker.io/library/nginx": false, "docker.io/nginx/nginx": false,
	} {
		f := checkPayload(payload(typeCosign, said, appDigest), typeCosign, repository, appDigest)
		if (f == nil) != want {
			t.Errorf("%s: got %+v", said, f)
		}
	}
}

func TestAttestationForms(t *testing.T) {
	kritis, cosign, bundle := kritisBy(qaKey(), "kms-qa", appDigest), cosignBy(qaKey(), appDigest), bundleBy(qaKey(), appDigest)
	with := func(a Attestation, change func(*Attestation)) Attestation {
		a.Signatures = append([]Signature{}, a.Signatures...)
		change(&a)
		return a
	}
	format := func(f Format) func(*Attestation) { return func(a *Attestation) { a.Format = f } }
	pss := payload(typeKritis, appRepo, appDigest)
	for _, test := range []struct {
		name       string
		a          Attestation
		check, why string
	}{
		{"kritis", kritis, "", ""},
		{"cosign", cosign, "", ""},
		{"bundle", bundle, "", ""},
		{"kritis by PSS", Attestation{Format: FormatKritis, Payload: pss, Signatures: []Signature{{Value: signPSS(qaKey(), pss)}}}, "", ""},
		{"key ID missing", with(kritis, func(a *Attestation) { a.Signatures[0].KeyID = "" }), "", ""},
		{"key ID foreign, key right", with(kritis, func(a *Attestation) { a.Signatures[0].KeyID = "x" }), "", ""},
		{"valid signature last", with(kritis, func(a *Attestation) {
			a.Signatures = append([]Signature{{KeyID: "kms-qa", Value: sign(otherKey(), a.Payload)}}, a.Signatures...)
		}), "", ""},
		{"another's key under the same ID", kritisBy(otherKey(), "kms-qa", appDigest), "signature", whySignature},
		{"another's key", kritisBy(otherKey(), "x", appDigest), "key", `it was signed with key "x", which is not the authority's`},
		{"no signature", with(kritis, func(a *Attestation) { a.Signatures = nil }), "signature", whyUnsigned},
		{"empty signature", with(kritis, func(a *Attestation) { a.Signatures[0].Value = nil }), "signature", whySignature},
		{"truncated signature", with(kritis, func(a *Attestation) { a.Signatures[0].Value = a.Signatures[0].Value[1:] }), "signature", whySignature},
		{"a byte more in the payload", with(kritis, func(a *Attestation) { a.Payload = append(append([]byte{}, a.Payload...), ' ') }), "signature", whySignature},
		{"signature over another hash", with(kritis, func(a *Attestation) { a.Signatures[0].Value = signWithHash(qaKey(), a.Payload) }), "signature", whySignature},
		{"kritis as cosign", with(kritis, format(FormatCosign)), "type", `its type is "atomic container signature"`},
		{"cosign as kritis", with(cosign, format(FormatKritis)), "type", `its type is "cosign container image signature"`},
		{"kritis as bundle", with(kritis, func(a *Attestation) { a.Format, a.Signatures = FormatBundle, nil }), "format", whyBundle},
		{"bundle as kritis", with(bundle, format(FormatKritis)), "format", whyNoCritical},
		{"cosign with two signatures", with(cosign, func(a *Attestation) { a.Signatures = append(a.Signatures, a.Signatures[0]) }), "format", whyCosignSignatures},
		{"bundle with a detached signature", with(bundle, func(a *Attestation) { a.Signatures = kritis.Signatures }), "format", whyBundleSignatures},
		{"unknown format", with(kritis, format("notary")), "format", whyFormat},
		{"no format", with(kritis, format("")), "format", whyFormat},
		{"nothing at all", Attestation{}, "format", whyFormat},
	} {
		t.Run(test.name, func(t *testing.T) {
			check, why := attempt(t, test.a)
			if check != test.check || why != test.why {
				t.Errorf("got %q, %q; want %q, %q", check, why, test.check, test.why)
			}
		})
	}
}
