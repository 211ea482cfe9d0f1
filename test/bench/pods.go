package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"
)

// Goals for the time from a pod's creation at the API server until it is ready, against pods without the product.
const (
	targetWarm   = 1.03
	targetFirst  = 1.10
	targetAhead  = 0.99 // share of first-ever creates that find their attestation on the node
	podRounds    = 4    // even: each node is the one with the product equally often
	podPairs     = 25   // of each kind in a round
	podGapShort  = 300 * time.Millisecond
	podGapLong   = 700 * time.Millisecond
	podSlice     = 30 * time.Second // for the pairs of a kind in a round: a slow machine makes fewer
	podRunLimit  = 10 * time.Minute // a guard; a run takes less than five
	podLateLimit = time.Minute      // for a single pod
	podInFlight  = 4                // so that a slow machine makes a run longer, and not a queue
)

// podTimes are what one pod took after its creation was asked for.
type podTimes struct {
	started time.Duration // until its process ran, as the runtime says
	ready   time.Duration // until a watch of the API server said that it is
}

// podPair is a pod with the product and one without, made within a second of each other.
type podPair struct{ product, baseline podTimes }

// pods measures pods in a Kubernetes of two nodes: one with plugin and agent, in a namespace with webhook and policy,
// one with neither. They take turns pod by pod, so that both meet the same moments, and the nodes change roles from round
// to round, because the first one has the control plane beside it. The gaps between pods vary, so that what happens every
// second, as kubelet's look at the runtime, favours neither.
func pods(ctx context.Context) error {
	fmt.Printf("\nPods in a Kubernetes of two nodes, %d rounds of up to %d pairs of each kind; with and without the product in turn,\n"+
		"on nodes that change roles. First-ever images are tiny and come from a registry on this machine: the least time to fetch ahead\n",
		podRounds, podPairs)
	ctx, cancel := context.WithTimeout(ctx, podRunLimit)
	defer cancel()
	s, err := startPodSite(ctx)
	if err != nil {
		return errors.Join(err, s.close())
	}
	warm, first, err := measurePods(ctx, s)
	if err := errors.Join(err, s.close()); err != nil {
		return err
	}
	fmt.Printf("pairs: %d of a warm image, %d of first-ever images; ratios with the range in which 95 %% of resamples lie\n", len(warm), len(first))
	met := printPods("warm image", warm, targetWarm)
	met = printPods("first-ever image", first, targetFirst) && met
	share := 1 - float64(s.fetches)/float64(len(first))
	fmt.Printf("first-ever creates that found their attestation there %6.1f %%  of %d, %d waited  target ≥ %.0f %%\n",
		100*share, len(first), s.fetches, 100*targetAhead)
	if share < targetAhead || !met {
		return errors.New("a target was missed")
	}
	return nil
}

// measurePods runs the rounds.
func measurePods(ctx context.Context, s *podSite) (warm, first []podPair, err error) {
	for round := range podRounds {
		if err := s.assign(ctx, round%2); err != nil {
			return nil, nil, err
		}
		got, err := s.pairs(ctx, round, func(string, int) string { return s.warm })
		if err != nil {
			return nil, nil, err
		}
		warm = append(warm, got...)
		before, err := s.counter(ctx, "kritis_plugin_fetches_total")
		if err != nil {
			return nil, nil, err
		}
		got, err = s.pairs(ctx, round, func(namespace string, i int) string { return s.first[namespace][round*podPairs+i] })
		if err != nil {
			return nil, nil, err
		}
		first = append(first, got...)
		after, err := s.counter(ctx, "kritis_plugin_fetches_total")
		if err != nil {
			return nil, nil, err
		}
		s.fetches += int(after - before)
		fmt.Printf("  round %d of %d done\n", round+1, podRounds)
	}
	return warm, first, nil
}

// pairs makes pods in turn, hardly ever waiting for one before the next, and returns what they took.
func (s *podSite) pairs(ctx context.Context, round int, image func(namespace string, i int) string) ([]podPair, error) {
	pairs := make([]podPair, podPairs)
	end := time.Now().Add(podSlice)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(podInFlight)
	for i := range pairs {
		if time.Now().After(end) {
			return pairs[:i], group.Wait()
		}
		pair := &pairs[i]
		order := []string{withProduct, withoutProduct}
		if (i+round)%2 == 1 {
			order = []string{withoutProduct, withProduct}
		}
		for _, namespace := range order {
			group.Go(func() error {
				times, err := s.one(ctx, namespace, image(namespace, i))
				if namespace == withProduct {
					pair.product = times
				} else {
					pair.baseline = times
				}
				return err
			})
			select {
			case <-ctx.Done():
				return nil, errors.Join(group.Wait(), ctx.Err())
			case <-time.After(podGapShort + rand.N(podGapLong-podGapShort)):
			}
		}
	}
	return pairs, group.Wait()
}

// printPods shows what the pods took and says whether no goal was missed for certain.
func printPods(what string, pairs []podPair, target float64) bool {
	ok := true
	for _, q := range []float64{0.5, 0.99} {
		ready := ratioOf(pairs, func(t podTimes) time.Duration { return t.ready }, q)
		fmt.Printf("created to ready, %-17s p%-2.0f  %s  target ≤ %.2f: %s\n", what, q*100, ready, target, ready.verdict(target))
		ok = ok && ready.verdict(target) != missed
	}
	for _, q := range []float64{0.5, 0.99} {
		started := ratioOf(pairs, func(t podTimes) time.Duration { return t.started }, q)
		fmt.Printf("  to process started, %-15s p%-2.0f  %s\n", what, q*100, started)
	}
	return ok
}
