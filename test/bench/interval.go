package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

const (
	met       = "met"
	missed    = "MISSED"
	undecided = "not decided, the noise is larger"
)

// estimate is a ratio of two quantiles, and the range in which it lies with a probability of 95 %.
type estimate struct {
	product, baseline time.Duration
	ratio, low, high  float64
}

// ratioOf compares pairs at a quantile. The range is a percentile bootstrap over the pairs: few samples of a high quantile
// say little, and it shows.
func ratioOf(pairs []podPair, value func(podTimes) time.Duration, q float64) estimate {
	const resamples = 2000
	random := rand.New(rand.NewPCG(1, 2)) // the same samples give the same range
	product, baseline := make(sample, len(pairs)), make(sample, len(pairs))
	fill := func(pick func(i int) podPair) (time.Duration, time.Duration) {
		for i := range pairs {
			pair := pick(i)
			product[i], baseline[i] = value(pair.product), value(pair.baseline)
		}
		return product.quantile(q), baseline.quantile(q)
	}
	var e estimate
	e.product, e.baseline = fill(func(i int) podPair { return pairs[i] })
	e.ratio = float64(e.product) / float64(e.baseline)
	ratios := make([]float64, resamples)
	for r := range ratios {
		with, without := fill(func(int) podPair { return pairs[random.IntN(len(pairs))] })
		ratios[r] = float64(with) / float64(without)
	}
	slices.Sort(ratios)
	e.low, e.high = ratios[resamples*25/1000], ratios[resamples*975/1000]
	return e
}

func (e estimate) String() string {
	return fmt.Sprintf("%8s  without: %8s  ratio %.3f (%.3f to %.3f)",
		e.product.Round(time.Millisecond), e.baseline.Round(time.Millisecond), e.ratio, e.low, e.high)
}

// verdict compares with the most that is wanted.
func (e estimate) verdict(target float64) string {
	switch {
	case e.low > target:
		return missed
	case e.high <= target:
		return met
	case e.ratio <= target:
		return met + ", within the noise"
	}
	return undecided
}
