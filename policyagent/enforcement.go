package policyagent

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/nodereport"
	"github.com/kritis-node/kritis-node/policyagent/nodestate"
	"github.com/kritis-node/kritis-node/verifier"
)

const (
	// absentAfter is how long after its last report the plugin counts as absent. It reports every 10 s.
	absentAfter = 30 * time.Second

	// Why the agent says that the plugin is absent.
	codeAbsent     = "PluginAbsent"
	textAbsent     = "the policy agent has not heard of a plugin on its node for 30 s, so containers may start unchecked: see that `kritis plugin` runs, with the agent's socket"
	codeUnreadable = "PluginUnreadable"
	textUnreadable = "the policy agent cannot read what the plugin reports: run both in one version"
)

// enforcement is what the plugin said of itself, and what became of it.
type enforcement struct {
	changed chan struct{} // somebody should hear of it at once

	mu      sync.Mutex
	started time.Time
	last    nodestate.Report
	heardAt time.Time // zero: never
	// unreadableAt is when something came last that is no report.
	unreadableAt time.Time
	unreadable   uint64
	denial       *nodereport.Denial
	// told is the mode and why, as they were told last.
	told string
}

func newEnforcement(now time.Time) *enforcement {
	return &enforcement{changed: make(chan struct{}, 1), started: now}
}

// heard takes a report.
func (e *enforcement) heard(r nodestate.Report, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.last, e.heardAt = r, now
	e.last.Incidents = nil
	for _, i := range r.Incidents {
		if i.Outcome == verifier.Allowed || i.Admitted || i.Place == placeRunning || i.Place == placeStop {
			continue // nothing was denied
		}
		next := nodereport.Denial{At: i.At, Namespace: i.Namespace, Pod: i.Pod, Image: clip(i.Image, nodestate.MaxName), Reason: string(i.Reason)}
		if old := e.denial; old == nil || old.Namespace != next.Namespace || old.Pod != next.Pod || old.Image != next.Image || old.Reason != next.Reason {
			e.hurry() // a kubelet tries the same again for ever; that can wait for the next turn
		}
		e.denial = &next
	}
	e.compare(now)
}

// cannotRead notes that something came that is no report. It returns whether that is news.
func (e *enforcement) cannotRead(now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	news := e.unreadableAt.IsZero() || now.Sub(e.unreadableAt) >= absentAfter
	e.unreadable++
	e.unreadableAt = now
	e.compare(now)
	return news
}

func (e *enforcement) unreadableCount() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.unreadable
}

// look notices that the plugin has been silent for too long.
func (e *enforcement) look(now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.compare(now)
}

// compare tells if the mode or its reasons are others than those told. The lock is held.
func (e *enforcement) compare(now time.Time) {
	mode, gaps := e.mode(now)
	state := mode + runningState(e.last.Running)
	for _, g := range gaps {
		state += " " + g.Code
	}
	if state != e.told {
		e.told = state
		e.hurry()
	}
}

func (e *enforcement) hurry() {
	select {
	case e.changed <- struct{}{}:
	default: // a signal is waiting already
	}
}

// mode returns how far enforcement can be relied on, and why it is not further; an empty mode while nobody can know yet.
// The lock is held.
func (e *enforcement) mode(now time.Time) (string, []nodereport.Gap) {
	switch {
	case !e.heardAt.IsZero() && now.Sub(e.heardAt) < absentAfter:
		var gaps []nodereport.Gap
		for _, g := range e.last.Gaps {
			gaps = append(gaps, nodereport.Gap{Code: g.Code, Text: g.Text})
		}
		return e.last.Mode, gaps
	case !e.unreadableAt.IsZero() && now.Sub(e.unreadableAt) < absentAfter:
		return nodereport.ModeAbsent, []nodereport.Gap{{Code: codeUnreadable, Text: textUnreadable}}
	case now.Sub(e.started) < absentAfter:
		return "", nil
	default:
		return nodereport.ModeAbsent, []nodereport.Gap{{Code: codeAbsent, Text: textAbsent}}
	}
}

// labels are mode and reasons as labels of a metric: of closed sets, so that whatever a plugin says makes few series.
func (e *enforcement) labels(now time.Time) (mode string, why []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	m, gaps := e.mode(now)
	if m == "" {
		return "", nil
	}
	if !slices.Contains(modes[:], m) {
		m = "other"
	}
	seen := map[string]bool{}
	for _, g := range gaps {
		code := g.Code
		if !slices.Contains(gapCodes[:], code) {
			code = "other"
		}
		seen[code] = true
	}
	return strings.ReplaceAll(m, " ", "-"), slices.Sorted(maps.Keys(seen))
}

// modes and gapCodes are what labels may say. The plugin has them, too.
var (
	modes    = [...]string{nodereport.ModeEnforcing, nodereport.ModeBestEffort, nodereport.ModeWaiting, nodereport.ModeAbsent}
	gapCodes = [...]string{codeAbsent, codeUnreadable, "RuntimeWithoutValidators", "NotRequired", "RequiredUnknown", "NRIDisabled", "MissingTolerated"}
)

// nodeReport is what the cluster is told of this node; false while there is nothing to tell yet.
func (a *Agent) nodeReport(now time.Time) (nodereport.Report, bool) {
	s := a.Status()
	r := nodereport.Report{
		Node: a.config.Node, Version: s.Version, At: now.UTC(),
		Policy: nodereport.Policy{
			Generation: s.PolicyGeneration, WrittenAt: s.PolicyWrittenAt, ConfirmedAt: a.confirmedAt(now), Error: oneLine(s.PolicyError), Problems: s.PolicyProblems,
		},
	}
	e := a.enforcement
	e.mu.Lock()
	defer e.mu.Unlock()
	if r.Mode, r.Gaps = e.mode(now); r.Mode == "" {
		return nodereport.Report{}, false
	}
	if !e.heardAt.IsZero() {
		l := e.last
		r.Plugin = &nodereport.Plugin{
			Version: l.Version, Placement: l.Placement, Started: l.StartedAt, Runtime: l.Runtime, HeardAt: e.heardAt.UTC(),
			Decisions: map[string]uint64{
				verifier.Allowed.String(): l.Decisions.Allowed, verifier.Denied.String(): l.Decisions.Denied, verifier.CouldNotTell.String(): l.Decisions.CouldNotTell,
			},
		}
	}
	r.Running = runningReport(e.last.Running)
	if e.denial != nil {
		denial := *e.denial
		r.LastDenial = &denial
	}
	return r, true
}

// clip shortens text that has no line breaks.
func clip(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit-len("…")], "") + "…"
}
