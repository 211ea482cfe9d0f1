package plugin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/kritis-node/kritis-node/policyagent/nodestate"
	"github.com/kritis-node/kritis-node/verifier"
)

const (
	// settleFor is how long things have to be calm before a look that a change asked for, settleMax how long that may take.
	settleFor = time.Second
	settleMax = 5 * time.Second
	// againAfter is when containers are looked at for the second time before they are stopped.
	againAfter = 10 * time.Second
	// pruneEvery is how often what was found is looked for, so that what has ended is not shown for long.
	pruneEvery = time.Minute
	// betweenContainers keeps a look from taking a processor, yieldFor is how often it waits for a create call that is under
	// way, a hundredth of a second each.
	betweenContainers = 10 * time.Millisecond
	yieldFor          = 100
	// Attestations are asked for a few at once and then one a second, whatever there is to look at.
	asksPerSecond = 1
	asksAtOnce    = 4
	askTimeout    = 20 * time.Second
	// clocks is how much older than the look a record may be: the agent does not ask again for what it has just asked for.
	clocks = 5 * time.Second
	// listTimeout bounds listing what runs; judgeTimeout looking at one container.
	listTimeout  = time.Minute
	judgeTimeout = 10 * time.Second
	// suspectFor is how long a task may be unexplained: the runtime starts a pod's before it lists the pod.
	suspectFor = 2 * time.Second
)

// rechecker looks at what runs already, again and again. It holds no lock that a create call waits for.
type rechecker struct {
	cfg     Recheck
	decider *decider
	node    runningNode
	log     *slog.Logger
	// tell takes what people should hear of, changed that there is something to show; mayStop says why nothing may be stopped
	// now, or gives the context in which it may.
	tell    func(entry)
	changed func()
	mayStop func(context.Context) (context.Context, context.CancelFunc, error)
	// missed says whether a container is known to have been created without a decision.
	missed func(id string, created time.Time) bool

	asks, stops *rate.Limiter
	wake        chan struct{}
	metrics     *runningMetrics

	mu    sync.Mutex
	shown nodestate.Running

	// What follows is run's alone: what was found, by ID; how many were allowed; how long to wait until those about which nobody
	// could tell are looked at again.
	found    map[string]*found
	allowed  int
	patience time.Duration
}

// found is one container or task that is not known to be allowed.
type found struct {
	nodestate.Finding
	subject  subject
	decision *decision
	wanted   []nodestate.FetchRequest
	// denials is how often in a row it was denied for certain under the same rules, those of generation.
	denials    int
	generation uint64
	told       verifier.Reason
	seen       bool // in this look
}

func newRechecker(cfg Recheck, d *decider, node runningNode, log *slog.Logger) *rechecker {
	return &rechecker{
		cfg: cfg, decider: d, node: node, log: log, wake: make(chan struct{}, 1), found: map[string]*found{},
		asks:    rate.NewLimiter(asksPerSecond, asksAtOnce),
		stops:   rate.NewLimiter(rate.Every(time.Minute/time.Duration(max(1, cfg.StopsPerMinute))), 1),
		metrics: newRunningMetrics(d.counters.registry, cfg.OnViolation == ViolationStop),
		shown:   nodestate.Running{OnViolation: string(cfg.OnViolation)},
		tell:    func(entry) {}, changed: func() {}, missed: func(string, time.Time) bool { return false },
		mayStop: func(context.Context) (context.Context, context.CancelFunc, error) {
			return nil, nil, errors.New("nobody said that it may")
		},
	}
}

// look asks for a look soon.
func (r *rechecker) look() {
	select {
	case r.wake <- struct{}{}:
	default: // it comes anyhow
	}
}

// run looks at what runs until ctx ends: after changes, and every interval.
func (r *rechecker) run(ctx context.Context) {
	if r.cfg.Interval == 0 {
		r.log.Warn("containers that run already are not looked at, because --recheck-interval is 0")
		return
	}
	if r.cfg.OnViolation == ViolationStop {
		r.log.Warn("containers that run and violate policy are stopped", "perMinute", r.cfg.StopsPerMinute, "grace", r.cfg.StopGrace, "never", r.cfg.NeverStop)
	}
	due := time.Now().Add(jittered(r.cfg.Interval))
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
			due = time.Time{}
		case <-r.decider.rules.changed:
			due = time.Time{}
		case <-timer.C:
			if left := time.Until(due); left > 0 {
				r.prune(ctx)
				if len(r.found) > 0 {
					left = min(left, pruneEvery)
				}
				timer.Reset(left)
				continue
			}
		}
		if due.IsZero() && !r.settle(ctx) {
			return
		}
		next := r.turn(ctx)
		if ctx.Err() != nil {
			return
		}
		due = time.Now().Add(next)
		if len(r.found) > 0 {
			next = min(next, pruneEvery)
		}
		timer.Reset(next)
	}
}

// turn looks at everything, and returns when that is to be done again if nothing changes.
func (r *rechecker) turn(ctx context.Context) time.Duration {
	next := jittered(r.cfg.Interval)
	again, err := r.pass(ctx)
	switch {
	case ctx.Err() != nil:
	case errors.Is(err, errRulesChanged):
		r.metrics.passes.WithLabelValues("interrupted").Inc()
		next = settleFor
	case err != nil:
		r.metrics.passes.WithLabelValues("failed").Inc()
		r.problem(err)
		next = min(next, time.Minute)
	default:
		r.metrics.passes.WithLabelValues("complete").Inc()
		switch unsure := slices.ContainsFunc(r.sorted(), func(f *found) bool { return f.Result == nodestate.ResultUnknown }); {
		case again:
			next = min(next, againAfter)
		case unsure:
			r.patience = min(max(2*r.patience, againAfter), r.cfg.Interval)
			next = min(next, r.patience)
		default:
			r.patience = 0
		}
	}
	return next
}

// prune forgets what has ended, without judging what runs.
func (r *rechecker) prune(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	now, err := r.node.survey(ctx)
	if err != nil {
		return // the next look tells why
	}
	runs := map[string]bool{}
	for _, c := range now.containers {
		runs[c.ID] = true
	}
	for _, t := range now.unmanaged {
		runs[t.key()] = true
	}
	maps.DeleteFunc(r.found, func(id string, _ *found) bool { return !runs[id] })
	r.show(r.allowed, time.Time{})
}

// jittered keeps the nodes of a cluster from looking all at once.
func jittered(d time.Duration) time.Duration { return d - d/10 + rand.N(d/5+1) } //nolint:gosec // nobody gains by guessing it

// settle waits until nothing has changed for a moment. It returns false if ctx ended first.
func (r *rechecker) settle(ctx context.Context) bool {
	end := time.After(settleMax)
	for {
		select {
		case <-ctx.Done():
			return false
		case <-end:
			return true
		case <-r.wake:
		case <-r.decider.rules.changed:
		case <-time.After(settleFor):
			return true
		}
	}
}

// errRulesChanged ends a look at whose end its beginning would not be true any more.
var errRulesChanged = errors.New("the rules changed meanwhile")

// pass looks at everything once. again says that something waits for being looked at again soon.
func (r *rechecker) pass(ctx context.Context) (again bool, err error) {
	defer func() {
		if p := recover(); p != nil { // the plugin has containers to decide on
			r.log.Error("panic while looking at what runs", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = errors.New(textPanic)
		}
	}()
	start := time.Now()
	generation := r.decider.rules.load().generation
	survey, err := r.survey(ctx)
	if err != nil {
		return false, err
	}
	for _, f := range r.found {
		f.seen = false
	}
	allowed := 0
	for _, c := range survey.containers {
		if err := r.yield(ctx, generation); err != nil {
			return false, err
		}
		if r.judge(ctx, c, start) {
			allowed++
		}
	}
	r.unmanaged(survey.unmanaged, start)
	for id, f := range r.found {
		if !f.seen {
			delete(r.found, id)
		}
	}
	r.show(allowed, time.Time{})
	more, err := r.certain(ctx, generation, start)
	if err != nil {
		return false, err
	}
	allowed += more
	r.allowed = allowed
	r.conclude(generation)
	r.show(allowed, start)
	again = r.stop(ctx, generation)
	return again, nil
}

// yield lets create calls go first, and ends the look if the rules have changed.
func (r *rechecker) yield(ctx context.Context, generation uint64) error {
	for range 1 + yieldFor {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(betweenContainers):
		}
		if r.decider.rules.load().generation != generation {
			return errRulesChanged
		}
		if len(r.decider.underWay) == 0 {
			break
		}
	}
	return nil
}

// problem notes why nobody could look.
func (r *rechecker) problem(err error) {
	r.mu.Lock()
	news := r.shown.Problem != err.Error()
	r.shown.Problem = err.Error()
	r.mu.Unlock()
	if news {
		r.log.Warn("cannot look at the containers that run; it is tried again", "error", err)
		r.changed()
	}
}
