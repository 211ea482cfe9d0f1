package main

import (
	"fmt"
	"slices"
	"time"
)

// sample is the times of one half of a round.
type sample []time.Duration

// quantile returns the time below which a share q of the sample lies.
func (s sample) quantile(q float64) time.Duration {
	sorted := slices.Clone(s)
	slices.Sort(sorted)
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// pairs are samples of the same moment: each round has one of the baseline and one of the product.
type pairs struct{ baseline, product []sample }

// ratio is the median over the rounds of product to baseline at the quantile.
func (p pairs) ratio(q float64) float64 {
	ratios := make([]float64, len(p.baseline))
	for i := range ratios {
		ratios[i] = float64(p.product[i].quantile(q)) / float64(p.baseline[i].quantile(q))
	}
	slices.Sort(ratios)
	n := len(ratios)
	return (ratios[(n-1)/2] + ratios[n/2]) / 2
}

// print shows both halves and their ratio against a target; 0 is no target.
func (p pairs) print(what, baseline string, q, target float64) bool {
	all := func(samples []sample) time.Duration { return slices.Concat(samples...).quantile(q) }
	r := p.ratio(q)
	verdict, ok := "", true
	if target > 0 {
		ok = r <= target
		verdict = fmt.Sprintf("  target ≤ %.2f: %s", target, map[bool]string{true: "met", false: "MISSED"}[ok])
	}
	fmt.Printf("%-28s p%-2.0f  %8s  %-14s %8s  ratio %.3f%s\n", what, q*100, all(p.product).Round(time.Microsecond), baseline+":", all(p.baseline).Round(time.Microsecond), r, verdict)
	return ok
}
