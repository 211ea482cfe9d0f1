package verifier

import (
	"encoding/base64"
	"strings"
	"testing"
)

func TestBundle(t *testing.T) {
	approval := statementJSON(signPredicate, appDigest)
	of := func(statement string) bundleParts { return bundleFor(qaKey(), statement) }
	with := func(change func(*bundleParts)) bundleParts { b := of(approval); change(&b); return b }
	raw := func(s string) string { return base64.RawStdEncoding.EncodeToString([]byte(s)) }
	many := func(n int) string {
		digests := make([]Digest, n)
		for i := range digests {
			digests[i] = otherDigest
		}
		digests[n-1] = appDigest
		return statementJSON(signPredicate, digests...)
	}
	for _, test := range []struct {
		name       string
		b          bundleParts
		check, why string
	}{
		{"good", of(approval), "", ""},
		{"older media type", with(func(b *bundleParts) { b.mediaType = "application/vnd.dev.sigstore.bundle+json;version=0.3" }), "", ""},
		{"with log entries", with(func(b *bundleParts) {
			b.material = `{"publicKey":{"hint":""},"tlogEntries":[{"logIndex":"1"}],"timestampVerificationData":{}}`
		}), "", ""},
		{"second subject", of(statementJSON(signPredicate, otherDigest, appDigest)), "", ""},
		{"64 subjects", of(many(64)), "", ""},
		{"unknown members of the statement", of(strings.Replace(approval, `{"_type"`, `{"x":1,"_type"`, 1)), "", ""},

		{"65 subjects", of(many(65)), "format", whySubjects},
		{"no subject", of(statementJSON(signPredicate)), "format", whyStatement},
		{"another digest", of(statementJSON(signPredicate, otherDigest)), "digest", "it approves digest " + string(otherDigest)},
		{"digest in upper case", of(strings.Replace(approval, appDigest.Hex(), strings.ToUpper(appDigest.Hex()), 1)), "digest", whyDigestForm},
		{"digest by another algorithm", of(strings.Replace(approval, "sha256", "sha512", 1)), "digest", whyDigestForm},
		{"subject is no object", of(strings.Replace(approval, `{"name":"","digest":{"sha256":"`+appDigest.Hex()+`"}}`, `"`+appDigest.Hex()+`"`, 1)), "digest", whyDigestForm},
		{"SBOM", of(statementJSON("https://spdx.dev/Document", appDigest)), "type", `its predicate "https://spdx.dev/Document" states something else than an approval`},
		{"provenance", of(statementJSON("https://slsa.dev/provenance/v1", appDigest)), "type", `its predicate "https://slsa.dev/provenance/v1" states something else than an approval`},
		{"no predicate type", of(strings.Replace(approval, signPredicate, "", 1)), "type", `its predicate "" states something else than an approval`},
		{"statement v0.1", of(strings.Replace(approval, "Statement/v1", "Statement/v0.1", 1)), "type", `its statement type is "https://in-toto.io/Statement/v0.1", not in-toto v1`},
		{"two predicate types", of(strings.Replace(approval, `"predicateType"`, `"predicateType":"x","predicateType"`, 1)), "format", whyDuplicate},
		{"two subjects members", of(strings.Replace(approval, `"subject"`, `"subject":[],"subject"`, 1)), "format", whyDuplicate},
		{"trailing bytes in the statement", of(approval + "{}"), "format", whyJSON},
		{"statement is a list", of("[]"), "format", whyStatement},

		{"by another key", bundleFor(otherKey(), approval), "key", `it was signed with key "aGludA==", which is not the authority's`},
		{"by another key under the right ID", func() bundleParts { b := bundleFor(otherKey(), approval); b.keyid = "kms-qa"; return b }(), "signature", whySignature},
		{"payload changed after signing", with(func(b *bundleParts) {
			b.payload = base64.StdEncoding.EncodeToString([]byte(strings.Replace(approval, `"name":""`, `"name":"x"`, 1)))
		}), "key", `it was signed with key "aGludA==", which is not the authority's`},
		{"signature over the payload alone", with(func(b *bundleParts) {
			b.sig = base64.StdEncoding.EncodeToString(sign(qaKey(), []byte(approval)))
		}), "key", `it was signed with key "aGludA==", which is not the authority's`},
		{"signature over another payload type", with(func(b *bundleParts) {
			b.sig = base64.StdEncoding.EncodeToString(sign(qaKey(), preAuthEncoding("application/json", []byte(approval))))
		}), "key", `it was signed with key "aGludA==", which is not the authority's`},
		{"another payload type", with(func(b *bundleParts) { b.payloadType = "application/json" }), "type", `its payload type is "application/json", not in-toto`},

		{"media type 0.2", with(func(b *bundleParts) { b.mediaType = "application/vnd.dev.sigstore.bundle+json;version=0.2" }), "format",
			`its media type is "application/vnd.dev.sigstore.bundle+json;version=0.2", not that of a sigstore bundle 0.3`},
		{"certificate", with(func(b *bundleParts) { b.material = `{"certificate":{"rawBytes":"AA=="}}` }), "key", whyCertificate},
		{"certificate beside the key", with(func(b *bundleParts) { b.material = `{"publicKey":{},"certificate":{}}` }), "key", whyCertificate},
		{"certificate chain", with(func(b *bundleParts) { b.material = `{"x509CertificateChain":{}}` }), "key", whyCertificate},
		{"no key", with(func(b *bundleParts) { b.material = `{"tlogEntries":[]}` }), "format", whyBundle},
		{"unknown material", with(func(b *bundleParts) { b.material = `{"publicKey":{},"x":1}` }), "format", whyBundle},
		{"message signature", with(func(b *bundleParts) { b.extra = `,"messageSignature":{}` }), "type", whyMessageSignature},
		{"unknown member", with(func(b *bundleParts) { b.extra = `,"x":1` }), "format", whyBundle},
		{"two envelopes", with(func(b *bundleParts) { b.extra = `,"dsseEnvelope":{}` }), "format", whyDuplicate},

		{"payload base64 without padding", with(func(b *bundleParts) { b.payload = raw(approval + strings.Repeat(" ", 1+3-len(approval)%3)) }), "format", whyBase64},
		{"payload base64 with a newline", with(func(b *bundleParts) { b.payload = b.payload[:8] + "\n" + b.payload[8:] }), "format", whyBase64},
		{"signature base64 of URLs", with(func(b *bundleParts) { b.sig = strings.Repeat("-_", 170) + "-A==" }), "format", whyBase64},
		{"signature base64 with stray bits", with(func(b *bundleParts) { b.sig = "AB==" }), "format", whyBase64},
		{"no payload", with(func(b *bundleParts) { b.payload = "" }), "format", whyBase64},
		{"no signature", with(func(b *bundleParts) { b.sig = "" }), "format", whyBase64},
	} {
		t.Run(test.name, func(t *testing.T) {
			check, why := attempt(t, test.b.attestation())
			if check != test.check || why != test.why {
				t.Errorf("got %q, %q; want %q, %q", check, why, test.check, test.why)
			}
		})
	}
}

func TestBundleSignatureCount(t *testing.T) {
	good := string(bundleBy(qaKey(), appDigest).Payload)
	start := strings.Index(good, `"signatures":[`) + len(`"signatures":[`)
	end := strings.LastIndex(good, `]`)
	one := good[start:end]
	for name, signatures := range map[string]string{"none": "", "two": one + "," + one} {
		t.Run(name, func(t *testing.T) {
			check, why := attempt(t, Attestation{Format: FormatBundle, Payload: []byte(good[:start] + signatures + good[end:])})
			if check != "format" || why != whyEnvelopeSignatures {
				t.Errorf("got %q, %q", check, why)
			}
		})
	}
	for name, spoiled := range map[string]string{
		"signature is no object":  good[:start] + `"x"` + good[end:],
		"unknown signature field": strings.Replace(good, `"keyid"`, `"cert":"x","keyid"`, 1),
		"unknown envelope field":  strings.Replace(good, `"payloadType"`, `"x":1,"payloadType"`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			check, why := attempt(t, Attestation{Format: FormatBundle, Payload: []byte(spoiled)})
			if check != "format" || why != whyEnvelope {
				t.Errorf("got %q, %q", check, why)
			}
		})
	}
}

// The specification's own example.
func TestPreAuthEncoding(t *testing.T) {
	if got := string(preAuthEncoding("http://example.com/HelloWorld", []byte("hello world"))); got != "DSSEv1 29 http://example.com/HelloWorld 11 hello world" {
		t.Errorf("got %s", got)
	}
}
