package plugin

import (
	"fmt"
	"testing"
	"time"

	"github.com/kritis-node/kritis-node/verifier"
)

// BenchmarkDecideWarm is a decision from memory among 10,000 verified images.
func BenchmarkDecideWarm(b *testing.B) {
	bed := newTestbed(b, nil)
	s := bed.signed(b, "layer")
	bed.decide(b.Context(), s, time.Now())
	r := bed.rules.load()
	for i := range 10_000 {
		bed.kept.put(keyOf(r.generation, &subject{namespace: "prod", image: fmt.Sprintf("%s%d", repository, i), bound: s.bound}), &decision{verdict: verifier.Verdict{Outcome: verifier.Allowed}})
	}
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		if made := bed.remembered(s, now); !made.admits() {
			b.Fatal("not remembered")
		}
	}
}

// BenchmarkDecideCold is a decision on an image whose attestation is at hand, signed with RSA-2048.
func BenchmarkDecideCold(b *testing.B) {
	bed := newTestbed(b, nil)
	s := bed.signed(b, "layer")
	r, now := bed.rules.load(), time.Now()
	b.ReportAllocs()
	for b.Loop() {
		if made := bed.image(b.Context(), r, s, now); made.verdict.Reason != verifier.Attested {
			b.Fatal(made.message)
		}
	}
}
