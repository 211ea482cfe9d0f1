package plugin

import (
	"context"
	"slices"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/nodestate"
	"github.com/kritis-node/kritis-node/verifier"
)

// systemNamespace is the one whose containers a node cannot do without.
const systemNamespace = "kube-system"

// believedFor is how old a judgement may be by which a container is stopped.
const believedFor = time.Minute

// stop stops the containers that were denied for certain twice in a row, one after the other and not too many. It returns
// whether some are to be stopped later.
func (r *rechecker) stop(ctx context.Context, generation uint64) (later bool) {
	if r.cfg.OnViolation != ViolationStop {
		return false
	}
	judged := time.Now()
	for _, f := range r.sorted() {
		if !r.mustStop(f) {
			continue
		}
		if f.denials < 2 || time.Since(judged) > believedFor {
			later = true
			continue
		}
		if err := r.stops.Wait(ctx); err != nil || time.Since(judged) > believedFor {
			return true
		}
		// Asked after waiting: the runtime may be away by now, or the rules others.
		if rules := r.decider.rules.load(); rules.generation != generation || rules.stateProblem != "" || rules.floorProblem != "" {
			return true
		}
		r.stopOne(ctx, f)
		later = later || f.Result == nodestate.ResultViolation
	}
	return later
}

// mustStop says whether a container is one to stop, if it goes on being denied.
func (r *rechecker) mustStop(f *found) bool {
	return f.Result == nodestate.ResultViolation && f.decision.verdict.Outcome == verifier.Denied && !f.decision.admits() && !r.spared(f.Namespace)
}

// spared says whether containers of a namespace are never stopped. Without names of its own the namespace could be any.
func (r *rechecker) spared(namespace string) bool {
	floor := r.decider.rules.load().Floor // without one, kube-system is all that it exempts
	return namespace == "" || namespace == systemNamespace || floor != nil && floor.Exempts(namespace) ||
		slices.ContainsFunc(r.cfg.NeverStop, func(pattern string) bool { return verifier.MatchNamespace(pattern, namespace) })
}

func (r *rechecker) stopOne(ctx context.Context, f *found) {
	ctx, done, err := r.mayStop(ctx)
	if err != nil {
		r.log.Info("a container is not stopped yet", "namespace", f.Namespace, "pod", f.Pod, "container", f.Container, "why", err)
		return
	}
	defer done()
	r.log.Warn("stopping a container that runs and violates policy", "namespace", f.Namespace, "pod", f.Pod, "container", f.Container, "id", f.ID,
		"image", f.Image, "reason", string(f.Reason), "grace", r.cfg.StopGrace)
	if err := r.node.stop(ctx, f.ID, r.cfg.StopGrace); err != nil {
		r.metrics.stops.WithLabelValues("failed").Inc()
		r.log.Warn("a container that violates policy could not be stopped; it is tried again", "id", f.ID, "error", err)
		return
	}
	r.metrics.stops.WithLabelValues("stopped").Inc()
	r.mu.Lock()
	r.shown.Stopped++
	r.mu.Unlock()
	r.tellOf(placeStop, f)
	delete(r.found, f.ID)
	f.Result = nodestate.ResultAllowed // nothing is left to do
	r.changed()
}
