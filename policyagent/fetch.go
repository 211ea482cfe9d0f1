package policyagent

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/nodestate"
)

const (
	// settledFor is how long an answer is not asked for again, whatever it is. It keeps retries of a hundred
	// containers away from a registry that has just been asked.
	settledFor = 3 * time.Second
	// refreshAfter is the age of attestations from which on they are asked for again in the background.
	refreshAfter = 10 * time.Minute
)

// need is what a request needs about one digest.
type need int

const (
	nothing need = iota // the record is the answer
	refresh             // the record is the answer, and is fetched again meanwhile
	answer              // the record is missing or does not do: fetch, and wait
)

// needOf judges a record by its age. Attestations do not go bad; that there are none, or that nobody could tell, does so
// quickly. With again the caller says that they did not suffice.
func needOf(r nodestate.Record, now time.Time, again bool) need {
	age := now.Sub(r.FetchedAt)
	switch {
	case age < 0: // the clock was set back
		return answer
	case age < settledFor:
		return nothing
	case again, len(r.Attestations) == 0, len(r.Failures) > 0:
		return answer
	case age < refreshAfter:
		return nothing
	default:
		return refresh
	}
}

// Fetch implements nodestate.Fetcher. A failure in the answer that is in no record says that the fetch was not begun.
func (a *Agent) Fetch(ctx context.Context, r nodestate.FetchRequest) (nodestate.FetchResponse, error) {
	var failures []string
	var flights []*flight
	for _, d := range slices.Compact(slices.Sorted(slices.Values(r.Digests))) {
		k := key{r.Repository, d}
		a.status.count(func(c *nodestate.FetchCounts) { c.Requested++ })
		record, err := a.state.Attestations(k.repository, k.digest)
		n := answer
		if err == nil {
			n = needOf(record, time.Now(), r.Again)
		}
		if n != answer {
			failures = append(failures, record.Failures...)
		}
		if n == nothing {
			a.status.count(func(c *nodestate.FetchCounts) { c.Fresh++ })
			continue
		}
		// Of what there is no record nobody can say that it did not suffice: r may be about other digests too.
		f, joined, err := a.pool.start(k, r.Again && err == nil)
		switch {
		case err != nil:
			a.status.count(func(c *nodestate.FetchCounts) { c.Dropped++ })
			a.log.WarnContext(ctx, "fetch dropped", "image", k.String(), "error", err)
		case joined:
			a.status.count(func(c *nodestate.FetchCounts) { c.Joined++ })
		}
		if n == refresh {
			continue
		}
		if err != nil {
			failures = append(failures, err.Error())
			continue
		}
		flights = append(flights, f)
	}
	for _, f := range flights {
		select {
		case <-f.done:
			failures = append(failures, f.failures...)
		case <-ctx.Done():
			return nodestate.FetchResponse{}, fmt.Errorf("fetching attestations of %s: %w; the fetch goes on, ask again", r.Repository, context.Cause(ctx))
		}
	}
	slices.Sort(failures)
	return nodestate.FetchResponse{Failures: slices.Compact(failures)}, nil
}
