package plugin

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/nodestate"
	"github.com/kritis-node/kritis-node/verifier"
)

// survey lists what runs, and what is unexplained also a moment later.
func (r *rechecker) survey(ctx context.Context) (survey, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	first, err := r.node.survey(ctx)
	if err != nil || !slices.ContainsFunc(first.unmanaged, func(t task) bool { return r.found[t.key()] == nil }) {
		return first, err
	}
	select {
	case <-ctx.Done():
		return survey{}, ctx.Err()
	case <-time.After(suspectFor):
	}
	second, err := r.node.survey(ctx)
	second.unmanaged = slices.DeleteFunc(second.unmanaged, func(t task) bool {
		return !slices.ContainsFunc(first.unmanaged, func(f task) bool { return f.key() == t.key() })
	})
	return second, err
}

// judge looks at one container. It returns whether it is known to be allowed.
func (r *rechecker) judge(ctx context.Context, c running, start time.Time) bool {
	ctx, cancel := context.WithTimeout(ctx, judgeTimeout)
	defer cancel()
	now := time.Now()
	s, made, err := r.review(ctx, c, start.Add(-clocks), now)
	if errors.Is(err, errAbsent) {
		return true // it has ended since it was listed
	}
	return r.note(s, made, c.Created, now)
}

// review judges one container. What makes it panic costs that container its answer, and neither the others nor the plugin.
func (r *rechecker) review(ctx context.Context, c running, fresh, now time.Time) (s subject, made reviewed, err error) {
	s = subject{containerID: c.ID, namespace: c.pod.Namespace, podName: c.pod.Name, podUID: c.pod.UID, container: c.Name}
	defer func() {
		if p := recover(); p != nil {
			r.log.Error("panic while looking at a container that runs", "panic", fmt.Sprint(p), "id", c.ID, "stack", string(debug.Stack()))
			made = reviewed{decision: couldNotTell(s.image, r.decider.rules.load().generation, verifier.Internal, textPanic)}
		}
	}()
	found, err := r.node.subject(ctx, c)
	switch {
	case errors.Is(err, errAbsent):
		return s, made, err
	case err != nil:
		made.decision = couldNotTell(found.image, r.decider.rules.load().generation, verifier.RuntimeFailed, err.Error())
		return found, made, nil
	}
	s = found
	return s, r.decider.review(ctx, &s, fresh, now), nil
}

// note keeps what was found out about a container. It returns whether it is known to be allowed.
func (r *rechecker) note(s subject, made reviewed, created, now time.Time) bool {
	v := &made.verdict
	if v.Outcome == verifier.Allowed {
		delete(r.found, s.containerID)
		return true
	}
	f := r.found[s.containerID]
	if f == nil {
		f = &found{Finding: nodestate.Finding{Since: now.UTC()}}
		r.found[s.containerID] = f
	}
	if !created.IsZero() {
		f.Missed = r.missed(s.containerID, created)
	}
	// What was denied stays so while the agent is asked whether that has changed.
	pending := len(made.wanted) > 0 && !created.IsZero()
	stays := pending && v.Outcome == verifier.Denied && f.decision != nil && f.decision.generation == made.generation
	f.seen, f.subject, f.decision, f.wanted = true, s, made.decision, made.wanted
	if stays {
		return false
	}
	f.Finding = nodestate.Finding{
		Result: nodestate.ResultViolation, Namespace: s.namespace, Pod: s.podName, PodUID: s.podUID, Container: s.container, ID: s.containerID,
		Image: made.image, Reason: v.Reason, Message: made.message, Missed: f.Missed, Since: f.Since,
	}
	switch {
	case pending:
		f.Result, f.Reason, f.Message = nodestate.ResultUnknown, verifier.SourceFailed, textAsking
	case v.Outcome == verifier.CouldNotTell:
		f.Result = nodestate.ResultUnknown
	case len(made.wanted) > 0:
		f.Result, f.Reason, f.Message = nodestate.ResultUnknown, verifier.SourceFailed, textNotAsked
	case v.Admits():
		f.Result = nodestate.ResultDryRun
	}
	return false
}
