package policyagent

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/attestations"
	"github.com/kritis-node/kritis-node/policyagent/nodestate"
	"github.com/kritis-node/kritis-node/verifier"
)

// fetch asks all sources about an image, writes the record, and returns the sources' failures.
func (a *Agent) fetch(ctx context.Context, k key) []string {
	list, failures := a.ask(ctx, k)
	if errors.Is(ctx.Err(), context.Canceled) {
		// The agent ends. What was cut short says nothing about the sources.
		return []string{errStopped.Error()}
	}
	if len(failures) > 0 {
		// A source that fails must not take away what is known.
		if known, err := a.state.Attestations(k.repository, k.digest); err == nil {
			for _, old := range known.Attestations {
				if list.Add(old) != nil {
					break
				}
			}
		}
		a.log.WarnContext(ctx, "attestations could not be fetched from all sources", "image", k.String(), "failures", failures)
	}
	record := nodestate.Record{
		Repository: k.repository, Digest: k.digest, FetchedAt: time.Now().UTC(),
		Attestations: list.Items(), Failures: failures,
	}
	err := a.state.WriteRecord(record)
	a.status.count(func(c *nodestate.FetchCounts) {
		switch {
		case err != nil:
			c.Unwritten++
		case len(failures) > 0:
			c.Incomplete++
		default:
			c.Complete++
		}
	})
	if err != nil {
		a.log.ErrorContext(ctx, "attestations cannot be written", "image", k.String(), "error", err)
		return append(failures, fmt.Sprintf("attestations were fetched and cannot be written: %v", err))
	}
	return failures
}

// ask asks all sources at once.
func (a *Agent) ask(ctx context.Context, k key) (*attestations.List, []string) {
	type result struct {
		found []verifier.Attestation
		err   error
	}
	results := make([]result, len(a.config.Sources))
	var wg sync.WaitGroup
	for i, s := range a.config.Sources {
		wg.Go(func() {
			found, err := a.askSource(ctx, s, k)
			results[i] = result{found, err}
		})
	}
	wg.Wait()
	var list attestations.List
	var failures []string
	for i, r := range results {
		for _, found := range r.found {
			if err := list.Add(found); err != nil {
				r.err = errors.Join(r.err, err)
				break
			}
		}
		a.status.asked(i, r.err, time.Now())
		if r.err != nil {
			failures = append(failures, oneLine(a.config.Sources[i].Name()+": "+r.err.Error()))
		}
	}
	return &list, failures
}

// askSource survives what bytes from outside do to a source: an agent that ends with each try would serve nobody.
func (a *Agent) askSource(ctx context.Context, s attestations.Source, k key) (found []verifier.Attestation, err error) {
	defer func() {
		if p := recover(); p != nil {
			a.log.ErrorContext(ctx, "bug in a source of attestations, please report it", "source", s.Name(), "image", k.String(), "panic", p, "stack", string(debug.Stack()))
			found, err = nil, errors.New("a bug of this program stopped it, see the log of the policy agent")
		}
	}()
	return s.Attestations(ctx, k.repository, k.digest)
}
