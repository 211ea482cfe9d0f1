package policyagent

import (
	"os"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/kritis-node/kritis-node/policyagent/nodestate"
)

// maxNotices is how many notices about the policies the status keeps.
const maxNotices = 20

// status is what the agent tells of itself.
type status struct {
	mu    sync.Mutex
	now   nodestate.Status
	dirty bool
	// loaded: a policy of this run's source is in force.
	loaded bool
	// confirmed is when the source was last known to agree with what is in force, for sources that do not tell.
	confirmed time.Time
	// beats is when the agent last did what it does now and then.
	beats time.Time
}

func newStatus(c Config) *status {
	s := &status{dirty: true, now: nodestate.Status{
		Version: c.Version, PID: os.Getpid(), StartedAt: time.Now().UTC(),
		PolicySource: c.Policies.Name(), UnsafeDryRun: c.UnsafeDryRun,
	}}
	for _, source := range c.Sources {
		n := nodestate.SourceStatus{Name: source.Name()}
		n.Unsafe = unsafe(source)
		s.now.Sources = append(s.now.Sources, n)
	}
	return s
}

// unsafe lists the settings of a source that loosen security, if it tells.
func unsafe(source any) []string {
	if u, ok := source.(interface{ Unsafe() []string }); ok {
		return u.Unsafe()
	}
	return nil
}

// update changes the status under its lock.
func (s *status) update(f func(*nodestate.Status)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.now)
	s.dirty = true
}

func (s *status) count(f func(*nodestate.FetchCounts)) {
	s.update(func(n *nodestate.Status) { f(&n.Fetches) })
}

func (s *status) policyFailed(err error) {
	text := err.Error()
	if len(text) > maxPolicyError {
		text = strings.ToValidUTF8(text[:maxPolicyError], "") + "…"
	}
	s.update(func(n *nodestate.Status) { n.PolicyError = text })
}

func (s *status) policyLoaded(p nodestate.Policy) {
	s.update(func(n *nodestate.Status) {
		n.PolicyGeneration, n.PolicyWrittenAt, n.PolicyProblems, n.PolicyError = p.Generation, p.WrittenAt, len(p.Problems), ""
	})
}

// inForce notes that what the source said last is in force.
func (s *status) inForce() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loaded = true
}

func (s *status) policyNotices(notices []string) {
	kept := slices.Clone(notices[:min(len(notices), maxNotices)])
	for i := range kept {
		kept[i] = oneLine(kept[i])
	}
	s.update(func(n *nodestate.Status) { n.PolicyNotices = kept })
}

// asked notes that a source was asked.
func (s *status) asked(source int, err error, now time.Time) {
	s.update(func(n *nodestate.Status) {
		c := &n.Sources[source]
		c.Asked++
		if err != nil {
			c.Failed++
			c.LastError, c.LastErrorAt = oneLine(err.Error()), now.UTC()
		}
	})
}

// confirmedAt is when the source of policies was last known to agree with the snapshot on disk; zero, if not since the
// start.
func (a *Agent) confirmedAt(now time.Time) time.Time {
	a.status.mu.Lock()
	defer a.status.mu.Unlock()
	if a.status.loaded && a.status.now.PolicyError == "" {
		a.status.confirmed = now.UTC() // it would have said so if it were otherwise
		if s, ok := a.config.Policies.(freshSource); ok {
			a.status.confirmed = s.ConfirmedAt().UTC()
		}
	}
	return a.status.confirmed
}

func (s *status) stop(now time.Time) {
	s.update(func(n *nodestate.Status) { n.StoppedAt = now.UTC() })
}

func (s *status) beat(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.beats = now
}

// changed says whether there is something new since the last call.
func (s *status) changed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	dirty := s.dirty
	s.dirty = false
	return dirty
}

// Status returns how the agent is doing.
func (a *Agent) Status() nodestate.Status {
	running, queued := a.pool.load()
	a.status.mu.Lock()
	defer a.status.mu.Unlock()
	n := a.status.now
	n.WrittenAt = time.Now().UTC()
	n.Fetches.Running, n.Fetches.Queued = running, queued
	n.Sources, n.PolicyNotices = slices.Clone(n.Sources), slices.Clone(n.PolicyNotices)
	return n
}

func (a *Agent) writeStatus() {
	if err := a.state.WriteStatus(a.Status()); err != nil {
		a.log.Error("the status cannot be written", "error", err)
	}
}

// oneLine makes text fit for a list of failures.
func oneLine(s string) string {
	const limit = nodestate.MaxFailure
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit-len("…")], "") + "…"
	}
	return s
}
