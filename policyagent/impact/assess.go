package impact

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/kritis-node/kritis-node/verifier"
)

// Assess says what would become of each image. It asks as many things at once as there are judges, and calls progress, never
// twice at a time, with how many images are judged. What there is no time for is "could not tell".
func Assess(ctx context.Context, all []Running, judges []*Judge, now time.Time, progress func(done int)) ([]Image, error) {
	if len(judges) == 0 {
		return nil, errors.New("bug of this program, please report it: nobody judges")
	}
	type result struct {
		at     []int
		images []Image
	}
	work, results := make(chan []int), make(chan result)
	var workers sync.WaitGroup
	defer workers.Wait()
	for _, j := range judges {
		workers.Go(func() {
			for at := range work {
				group := make([]Running, len(at))
				for i, n := range at {
					group[i] = all[n]
				}
				results <- result{at, j.judge(ctx, group, now)}
			}
		})
	}
	groups := grouped(all)
	workers.Go(func() {
		defer close(work)
		for _, at := range groups {
			work <- at
		}
	})
	images, done := make([]Image, len(all)), 0
	for range groups {
		r := <-results
		for i, n := range r.at {
			images[n] = r.images[i]
		}
		done += len(r.at)
		progress(done)
	}
	return images, nil
}

// grouped returns the places of images that are written alike, in the order of the first of each.
func grouped(all []Running) [][]int {
	var groups [][]int
	known := map[string]int{}
	for n, r := range all {
		g, ok := known[r.Image]
		if !ok {
			g = len(groups)
			known[r.Image] = g
			groups = append(groups, nil)
		}
		groups[g] = append(groups[g], n)
	}
	return groups
}

// Outcomes counts images by what would become of them.
type Outcomes struct {
	Allowed      int `json:"allowed"`
	Denied       int `json:"denied"`
	CouldNotTell int `json:"couldNotTell"`
	// NoPolicy are those of the allowed of which nothing is required.
	NoPolicy int `json:"noPolicy"`
}

// Count counts images.
func Count(images []Image) Outcomes {
	var o Outcomes
	for _, i := range images {
		switch i.Verdict.Outcome {
		case verifier.Allowed:
			o.Allowed++
			if i.Verdict.Reason == verifier.NoPolicy {
				o.NoPolicy++
			}
		case verifier.CouldNotTell:
			o.CouldNotTell++
		default:
			o.Denied++
		}
	}
	return o
}
