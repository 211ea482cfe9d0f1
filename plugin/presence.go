package plugin

import (
	"context"
	"errors"
	"hash/maphash"
	"slices"
	"sync"
	"time"
)

const (
	// decidedKept bounds the containers that are remembered to have been decided on.
	decidedKept = 1024
	// stopCalm is how long a connection has to last before a container is stopped: registering while the runtime stops one
	// freezes the node's lifecycle calls.
	stopCalm = 10 * time.Second
	// stopMargin is how long the runtime may take to stop a container, beyond the grace period.
	stopMargin = 15 * time.Second
)

// witness remembers on which containers this process was asked to decide.
type witness struct {
	seed maphash.Seed

	mu   sync.Mutex
	from time.Time // of earlier containers nothing is known
	ids  [decidedKept]uint64
	at   [decidedKept]time.Time
	next int
}

func newWitness(now time.Time) *witness { return &witness{seed: maphash.MakeSeed(), from: now} }

// asked notes that a decision on a container was asked for.
func (w *witness) asked(id string, now time.Time) {
	hash := maphash.String(w.seed, id)
	w.mu.Lock()
	defer w.mu.Unlock()
	if old := w.at[w.next]; old.After(w.from) {
		w.from = old
	}
	w.ids[w.next], w.at[w.next] = hash, now
	w.next = (w.next + 1) % decidedKept
}

// missed says whether it is known that no decision was asked for on a container that was created at a time.
func (w *witness) missed(id string, created time.Time) bool {
	hash := maphash.String(w.seed, id)
	w.mu.Lock()
	defer w.mu.Unlock()
	return created.After(w.from) && !slices.Contains(w.ids[:], hash)
}

// arrive notes a registration. The state's lock is held.
func (s *connectionState) arrive() {
	s.up, s.down = context.WithCancel(context.Background())
}

// leave ends what must not outlast the connection. The state's lock is held.
func (s *connectionState) leave() {
	if s.down != nil {
		s.down()
	}
	s.up, s.down = nil, nil
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
