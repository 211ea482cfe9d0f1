package plugin

import (
	"context"
	"errors"
	"time"
)

const (
	// awayKept bounds the absences that are remembered.
	awayKept = 32
	// stopCalm is how long a connection has to last before a container is stopped: registering while the runtime stops one
	// freezes the node's lifecycle calls.
	stopCalm = 10 * time.Second
	// stopMargin is how long the runtime may take to stop a container, beyond the grace period.
	stopMargin = 15 * time.Second
)

// absence is a time in which the plugin was not registered.
type absence struct{ from, to time.Time }

// arrive notes a registration. The state's lock is held.
func (s *connectionState) arrive(now time.Time) {
	s.up, s.down = context.WithCancel(context.Background())
	if n := len(s.away); n > 0 && s.away[n-1].to.IsZero() {
		s.away[n-1].to = now
		return
	}
	s.away = append(s.away, absence{to: now}) // the one before the first registration
}

// leave notes that the connection is lost, and ends what must not outlast it. The state's lock is held.
func (s *connectionState) leave(now time.Time) {
	if s.down == nil {
		return
	}
	s.down()
	s.up, s.down = nil, nil
	s.away = append(s.away, absence{from: now})
	if len(s.away) > awayKept {
		s.away = append(s.away[:0], s.away[1:]...)
	}
}

// missed says whether the plugin is known not to have been registered at a time since its process started. Of the time before
// nothing is known.
func (s *connectionState) missed(at time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at.Before(s.started) {
		return false
	}
	if len(s.away) == 0 {
		return true
	}
	for _, a := range s.away {
		if !at.Before(a.from) && (a.to.IsZero() || at.Before(a.to)) {
			return true
		}
	}
	return false
}

// mayStop returns the context in which a container may be stopped, or why none may be now.
func (p *Plugin) mayStop(ctx context.Context) (context.Context, context.CancelFunc, error) {
	p.state.mu.Lock()
	defer p.state.mu.Unlock()
	if !p.state.registered || p.state.up == nil {
		return nil, nil, errors.New("the plugin is not registered with the runtime")
	}
	if time.Since(p.state.since) < stopCalm {
		return nil, nil, errors.New("the plugin has just registered with the runtime")
	}
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Recheck.StopGrace+stopMargin)
	stop := context.AfterFunc(p.state.up, cancel)
	return ctx, func() { stop(); cancel() }, nil
}

// foundRunning tells of a container that runs and should not, or was stopped.
func (p *Plugin) foundRunning(e entry) {
	p.audit.add(e)
	p.reports.add(e)
	line := e.line(p.rules.load().policy.Generation)
	p.log.Warn("a container that runs would not be admitted", "namespace", line.Namespace, "pod", line.Pod, "container", line.Container, "id", line.ID,
		"image", line.Image, "place", line.Place, "outcome", line.Verdict.Outcome.String(), "reason", string(line.Verdict.Reason), "why", line.Verdict.Detail)
}
