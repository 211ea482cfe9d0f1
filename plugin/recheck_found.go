package plugin

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/nodestate"
	"github.com/kritis-node/kritis-node/verifier"
)

// UnmanagedTask is the reason of a finding that is a task of containerd's and no container of CRI. No decision has it.
const UnmanagedTask verifier.Reason = "UnmanagedTask"

// giveUpAfter is how many times in a row the agent may fail to answer in one look.
const giveUpAfter = 3

// unmanaged notes the tasks that did not come through CRI.
func (r *rechecker) unmanaged(tasks []task, now time.Time) {
	for _, t := range tasks {
		f := r.found[t.key()]
		if f == nil {
			v := verifier.Verdict{Outcome: verifier.CouldNotTell, Reason: UnmanagedTask, Detail: textUnmanaged}
			f = &found{
				subject:  subject{containerID: t.id, container: t.key(), image: t.image},
				decision: &decision{verdict: v, image: t.image, message: textUnmanaged, generation: r.decider.rules.load().generation},
				Finding: nodestate.Finding{
					Result: nodestate.ResultUnmanaged, Runtime: t.namespace, ID: t.id, Image: t.image, Reason: UnmanagedTask, Message: textUnmanaged, Since: now.UTC(),
				},
			}
			r.found[t.key()] = f
		}
		f.seen = true
	}
}

// certain asks the agent for what is missing, a little at a time, and judges again. It returns how many turned out to be allowed.
func (r *rechecker) certain(ctx context.Context, generation uint64, start time.Time) (allowed int, err error) {
	failures := 0
	for _, f := range r.sorted() {
		if len(f.wanted) == 0 {
			continue
		}
		// Somebody may have asked since: another container of the same image, say.
		made := r.decider.review(ctx, &f.subject, start.Add(-clocks), time.Now())
		for _, w := range made.wanted {
			if failures >= giveUpAfter {
				break
			}
			if err := r.asks.Wait(ctx); err != nil {
				return allowed, err
			}
			if r.decider.rules.load().generation != generation {
				return allowed, errRulesChanged
			}
			if err := r.ask(ctx, w); err != nil {
				failures++
				continue
			}
			failures = 0
			r.show(allowed, time.Time{})
		}
		if len(made.wanted) > 0 {
			made = r.decider.review(ctx, &f.subject, start.Add(-clocks), time.Now())
		}
		if r.note(f.subject, made, time.Time{}, time.Now()) {
			allowed++
		}
	}
	return allowed, nil
}

func (r *rechecker) ask(ctx context.Context, w nodestate.FetchRequest) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	r.metrics.asks.Inc()
	_, err := r.decider.agent.Fetch(ctx, w)
	if err != nil {
		r.log.Debug("the policy agent could not be asked for attestations of what runs", "repository", w.Repository, "error", err)
	}
	return err
}

// sorted returns what was found, the worst and oldest first.
func (r *rechecker) sorted() []*found {
	rank := map[nodestate.Result]int{nodestate.ResultViolation: 0, nodestate.ResultUnmanaged: 1, nodestate.ResultUnknown: 2, nodestate.ResultDryRun: 3}
	return slices.SortedFunc(maps.Values(r.found), func(a, b *found) int {
		return cmp.Or(cmp.Compare(rank[a.Result], rank[b.Result]), a.Since.Compare(b.Since), cmp.Compare(a.Runtime, b.Runtime), cmp.Compare(a.ID, b.ID))
	})
}

// conclude counts denials, and tells of what is new.
func (r *rechecker) conclude(generation uint64) {
	for _, f := range r.sorted() {
		switch {
		case f.Result != nodestate.ResultViolation || len(f.wanted) > 0:
			f.denials = 0
		case f.generation != generation:
			f.denials, f.generation = 1, generation
		default:
			f.denials++
		}
		if f.Result == nodestate.ResultUnknown || f.told == f.Reason {
			continue
		}
		f.told = f.Reason
		r.tellOf(placeRunning, f)
	}
}

func (r *rechecker) tellOf(at place, f *found) {
	s := f.subject
	r.tell(entry{time: time.Now(), at: at, subject: &s, decision: f.decision})
}

// show makes what was found visible; looked is when the look began, zero while it goes on.
func (r *rechecker) show(allowed int, looked time.Time) {
	counts := map[nodestate.Result]int{nodestate.ResultAllowed: allowed}
	var findings []nodestate.Finding
	for _, f := range r.sorted() {
		counts[f.Result]++
		if len(findings) < nodestate.MaxFindings {
			findings = append(findings, f.Finding)
		}
	}
	r.mu.Lock()
	same := maps.Equal(r.shown.Counts, counts) && r.shown.Problem == ""
	r.shown.Counts, r.shown.Findings, r.shown.More = counts, findings, len(r.found)-len(findings)
	r.shown.Problem = ""
	if !looked.IsZero() {
		same = same && !r.shown.LookedAt.IsZero()
		r.shown.LookedAt = looked.UTC()
		r.metrics.last.SetToCurrentTime()
	}
	r.mu.Unlock()
	for _, result := range results {
		r.metrics.containers.WithLabelValues(string(result)).Set(float64(counts[result]))
	}
	if !same {
		r.changed()
	}
}

// running returns what is known now.
func (r *rechecker) running() nodestate.Running {
	r.mu.Lock()
	defer r.mu.Unlock()
	shown := r.shown
	shown.Counts, shown.Findings = maps.Clone(shown.Counts), slices.Clone(shown.Findings)
	return shown
}
