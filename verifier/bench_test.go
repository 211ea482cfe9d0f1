package verifier

import (
	"strings"
	"testing"
)

// BenchmarkDecideCold is a first decision whose attestation is at hand: parse the name, read the payload, verify one
// RSA-2048 signature. The goal is 80 µs.
func BenchmarkDecideCold(b *testing.B) {
	for name, a := range map[string]Attestation{
		"kritis": kritisBy(qaKey(), "kms-qa", appDigest),
		"cosign": cosignBy(qaKey(), appDigest),
		"bundle": bundleBy(qaKey(), appDigest),
	} {
		b.Run(name, func(b *testing.B) {
			w := honestWorld()
			rules := Rules{Cluster: compiled(document())}
			source := fixed{a}
			b.ReportAllocs()
			for b.Loop() {
				if v := rules.Decide(app(appPinned), w, source); v.Outcome != Allowed {
					b.Fatal(v)
				}
			}
		})
	}
}

// BenchmarkDecideWorst is what somebody who may push signatures can make a node do before it says "could not tell".
func BenchmarkDecideWorst(b *testing.B) {
	unsigned := kritisBy(otherKey(), "", appDigest)
	valid := unsigned.Signatures[0]
	unsigned.Signatures = nil
	for range MaxSignatures {
		unsigned.Signatures = append(unsigned.Signatures, valid)
	}
	large := padded(MaxPayload)
	large.Payload = []byte("[" + strings.Repeat("[],", MaxPayload/3-1) + "0]")
	for name, source := range map[string]fixed{"signatures": repeat(unsigned, MaxAttestations), "payloads": repeat(large, 16)} {
		b.Run(name, func(b *testing.B) {
			w := honestWorld()
			doc := document()
			if name == "payloads" {
				doc.Authorities[0].Keys[0].PEM = publicPEM(prodKey())
			}
			rules := Rules{Cluster: compiled(doc)}
			for b.Loop() {
				if v := rules.Decide(app(appPinned), w, source); v.Outcome == Allowed {
					b.Fatal(v)
				}
			}
		})
	}
}

func BenchmarkParseReference(b *testing.B) {
	for b.Loop() {
		if _, err := ParseReference(appPinned); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNoPolicy(b *testing.B) {
	rules := Rules{Cluster: compiled(document())}
	for b.Loop() {
		if v := rules.Decide(Request{Namespace: "free", Image: appPinned, Now: now}, nil, nil); v.Outcome != Allowed {
			b.Fatal(v)
		}
	}
}
