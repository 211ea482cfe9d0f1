package plugin

import (
	"context"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/kritis-node/kritis-node/policyagent/nodestate"
	"github.com/kritis-node/kritis-node/verifier"
)

const (
	// reportEvery is how often the agent is told how we do if nothing happens.
	reportEvery = 10 * time.Second
	// reportPause is between two reports, however much happens; reportTimeout bounds one.
	reportPause   = 500 * time.Millisecond
	reportTimeout = 2 * time.Second
	// reportQueue bounds the decisions on their way to the reporter, incidentsKept those that wait for the agent, and
	// toldKept the containers that it remembers.
	reportQueue   = 256
	incidentsKept = 256
	toldKept      = 1024
)

// reportClient tells the policy agent.
type reportClient interface {
	Report(ctx context.Context, r nodestate.Report) error
}

// reporter tells the agent how we do and what did not pass, off the create path. The agent need not be there.
type reporter struct {
	agent    reportClient
	describe func() nodestate.Report
	counters *counters
	// queue holds what happened, changed that the mode has.
	queue   chan entry
	changed chan struct{}

	// What follows is run's alone. waiting are the incidents that the agent has not got yet, told the containers that it
	// was told of: the second look repeats what the first found.
	waiting []nodestate.Incident
	told    *simplelru.LRU[toldKey, struct{}]
}

type toldKey struct {
	container, image string
	reason           verifier.Reason
	admitted, stop   bool
}

func newReporter(agent reportClient, c *counters, describe func() nodestate.Report) (*reporter, error) {
	told, err := simplelru.NewLRU[toldKey, struct{}](toldKept, nil)
	if err != nil {
		return nil, err
	}
	return &reporter{
		agent: agent, describe: describe, counters: c, told: told,
		queue: make(chan entry, reportQueue), changed: make(chan struct{}, 1),
	}, nil
}

// notable says whether people should hear of a decision: the image did not pass, or passed by an entry that expires.
func notable(v *verifier.Verdict) bool {
	return v.Outcome != verifier.Allowed || v.AllowedBy != nil && !v.AllowedBy.Expires.IsZero()
}

// add takes a decision without waiting. What is lost is counted; the audit log has it.
func (r *reporter) add(e entry) {
	if !notable(&e.decision.verdict) {
		return
	}
	select {
	case r.queue <- e:
	default:
		r.counters.incidentsDropped.Inc()
	}
}

// hurry makes the next report come at once.
func (r *reporter) hurry() {
	select {
	case r.changed <- struct{}{}:
	default: // it does so already
	}
}

// run reports until ctx ends.
func (r *reporter) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	due := time.Now()
	soon := func(at time.Time) {
		if at.Before(due) {
			due = at
			timer.Reset(time.Until(due))
		}
	}
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-r.queue:
			if r.keep(e) {
				soon(last.Add(reportPause))
			}
			continue
		case <-r.changed:
			soon(last.Add(reportPause))
			continue
		case <-timer.C:
		}
		more := r.report(ctx)
		last = time.Now()
		due = last.Add(reportEvery)
		if more {
			due = last.Add(reportPause)
		}
		timer.Reset(time.Until(due))
	}
}

// keep notes an incident for the next report, unless it has been told.
func (r *reporter) keep(e entry) bool {
	i := e.incident()
	if e.subject.containerID != "" {
		key := toldKey{e.subject.containerID, i.Image, i.Reason, i.Admitted, e.at == placeStop}
		if r.told.Contains(key) {
			return false
		}
		r.told.Add(key, struct{}{})
	}
	if len(r.waiting) == incidentsKept {
		// What happened last says most about what happens now.
		r.waiting = append(r.waiting[:0], r.waiting[1:]...)
		r.counters.incidentsDropped.Inc()
	}
	r.waiting = append(r.waiting, i)
	return true
}

// report sends one report. It returns whether more waits to be sent at once.
func (r *reporter) report(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	report := r.describe()
	n := min(len(r.waiting), nodestate.MaxIncidents)
	report.Incidents = r.waiting[:n]
	if err := r.agent.Report(ctx, report); err != nil {
		// The agent says in its own status that it does not run. Its next start gets what waits.
		r.counters.reportFailures.Inc()
		return false
	}
	r.waiting = append(r.waiting[:0], r.waiting[n:]...)
	return len(r.waiting) > 0
}

// incident is what people should know of a decision.
func (e entry) incident() nodestate.Incident {
	v := &e.decision.verdict
	i := nodestate.Incident{
		At: e.time.UTC(), Place: string(e.at), Namespace: e.subject.namespace, Pod: e.subject.podName, PodUID: e.subject.podUID,
		Container: e.subject.container, Image: e.decision.image, Outcome: v.Outcome, Reason: v.Reason, Admitted: e.decision.admits(),
		Message: e.decision.message,
	}
	if i.Image == "" {
		i.Image = e.subject.image
	}
	if m := v.AllowedBy; m != nil && !m.Expires.IsZero() {
		i.BreakGlass = &nodestate.BreakGlass{Object: m.Object, Pattern: m.Pattern, Reason: m.Reason, Expires: m.Expires}
	}
	return i
}

// describe is how the plugin does.
func (p *Plugin) describe() nodestate.Report {
	mode, gaps := p.mode()
	r := nodestate.Report{Version: p.cfg.Version, Placement: string(p.cfg.Placement), Mode: mode, PolicyGeneration: p.rules.load().policy.Generation}
	for _, g := range gaps {
		r.Gaps = append(r.Gaps, nodestate.Gap{Code: g.Code, Text: g.Text})
	}
	running := p.recheck.running()
	r.Running = &running
	totals := p.counters.totals()
	r.Decisions = nodestate.Decisions{
		Allowed: totals[verifier.Allowed.String()], Denied: totals[verifier.Denied.String()], CouldNotTell: totals[verifier.CouldNotTell.String()],
	}
	p.state.mu.Lock()
	defer p.state.mu.Unlock()
	r.StartedAt = p.state.started.UTC()
	if p.state.runtime.Name != "" {
		r.Runtime = p.state.runtime.Name + " " + p.state.runtime.Version
	}
	return r
}
