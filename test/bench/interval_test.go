package main

import (
	"testing"
	"time"
)

func TestVerdict(t *testing.T) {
	ready := func(p podTimes) time.Duration { return p.ready }
	for name, test := range map[string]struct {
		product func(i int, baseline time.Duration) time.Duration
		q       float64
		want    string
	}{
		"the same":              {func(_ int, b time.Duration) time.Duration { return b }, 0.5, met},
		"twice":                 {func(_ int, b time.Duration) time.Duration { return 2 * b }, 0.5, missed},
		"far less":              {func(_ int, b time.Duration) time.Duration { return b / 2 }, 0.99, met},
		"more, and much noise":  {func(i int, _ time.Duration) time.Duration { return time.Duration(107 + (i*37+11)%100) }, 0.5, undecided},
		"same, and much noise":  {func(i int, _ time.Duration) time.Duration { return time.Duration(100 + (i*37+11)%100) }, 0.5, met + ", within the noise"},
		"a rare one, at median": {func(i int, b time.Duration) time.Duration { return b + time.Duration(i/99)*10000 }, 0.5, met},
	} {
		t.Run(name, func(t *testing.T) {
			pairs := make([]podPair, 100)
			for i := range pairs {
				baseline := time.Duration(100 + i*37%100)
				if test.want == met || test.want == missed {
					baseline = time.Duration(1000 + i%3)
				}
				pairs[i] = podPair{product: podTimes{ready: test.product(i, baseline)}, baseline: podTimes{ready: baseline}}
			}
			e := ratioOf(pairs, ready, test.q)
			if got := e.verdict(1.03); got != test.want {
				t.Errorf("got %q, want %q: %s", got, test.want, e)
			}
			if e.low > e.ratio || e.ratio > e.high {
				t.Errorf("the ratio is not in its range: %s", e)
			}
		})
	}
}
