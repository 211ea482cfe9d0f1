package plugin

import (
	"slices"
	"strings"
	"time"
)

// Modes of enforcement, as `kritis status` and the metric name them.
const (
	// ModeEnforcing: whatever happens to the plugin, nothing starts unchecked.
	ModeEnforcing = "enforcing"
	// ModeBestEffort: containers start unchecked while the plugin is stalled or absent.
	ModeBestEffort = "best effort"
	// ModeWaiting: not registered with the runtime.
	ModeWaiting = "waiting"
)

// Placement is where the plugin lives. Only a host service may be required by the runtime: a required plugin that lives in
// a pod can never come up after a reboot.
type Placement string

// Placements.
const (
	PlacementHost Placement = "host"
	PlacementPod  Placement = "pod"
)

// recentKept bounds the refusals that `kritis status` shows.
const recentKept = 20

// assess notes whether the runtime requires us, and says so when it changed.
func (p *Plugin) assess(required bool, gaps []gap) {
	p.state.mu.Lock()
	changed := required != p.state.required || !slices.Equal(gaps, p.state.gaps)
	p.state.required, p.state.gaps = required, gaps
	p.state.mu.Unlock()
	if changed {
		for _, g := range gaps {
			p.log.Warn("enforcement is best effort", "code", g.Code, "why", g.Text)
		}
	}
	p.publish()
}

// ready tells whoever started the plugin that the node may go on.
func (p *Plugin) ready() {
	if p.cfg.OnReady != nil {
		p.cfg.OnReady()
	}
}

// connected notes the runtime that configures us.
func (p *Plugin) connected(info runtimeInfo) {
	p.state.mu.Lock()
	p.state.runtime = info
	p.state.mu.Unlock()
	if !info.Validators {
		p.log.Warn("enforcement is best effort", "code", codeNoValidators, "why", textNoValidators, "runtime", info.Name, "version", info.Version, "nri", info.NRI)
	}
}

func (p *Plugin) synchronized(containers int) {
	decided := p.counters.decided()
	p.state.mu.Lock()
	p.state.found, p.state.synchronized, p.state.decided = containers, time.Now(), decided
	p.state.mu.Unlock()
}

func (p *Plugin) registered() {
	p.state.mu.Lock()
	p.state.registered, p.state.since, p.state.lastError = true, time.Now(), ""
	p.state.arrive()
	info, found := p.state.runtime, p.state.found
	p.state.mu.Unlock()
	p.counters.connections.Inc()
	mode, _ := p.mode()
	p.log.Info("registered with the runtime", "runtime", info.Name, "version", info.Version, "nri", info.NRI, "mode", mode,
		"decisionTime", info.decisionTime(), "containersRunningAlready", found)
	p.publish()
	p.ready()
	p.recheck.look() // what was started meanwhile
}

func (p *Plugin) disconnected(err error) {
	p.state.mu.Lock()
	changed := p.state.registered || p.state.lastError != err.Error()
	p.state.leave()
	p.state.registered, p.state.lastError, p.state.synchronized = false, err.Error(), time.Time{}
	p.state.mu.Unlock()
	if changed {
		p.log.Warn("not registered with the runtime, trying again", "why", err)
	}
	p.publish()
}

// mode returns how far enforcement can be relied on now, and why it is not further.
func (p *Plugin) mode() (string, []gap) {
	p.state.mu.Lock()
	defer p.state.mu.Unlock()
	gaps := p.state.gaps
	known := p.state.runtime.Name != "" // registered now, or before
	if known && !p.state.runtime.Validators {
		gaps = append([]gap{{codeNoValidators, textNoValidators}}, gaps...)
	}
	// Absence denies only where a runtime that can do so has been told to.
	absenceDenies := p.state.required && known && p.state.runtime.Validators
	switch {
	case !p.state.registered && !absenceDenies:
		return ModeWaiting, gaps
	case len(gaps) > 0:
		return ModeBestEffort, gaps
	default:
		return ModeEnforcing, nil
	}
}

// publish shows the mode in the metric.
func (p *Plugin) publish() {
	mode, gaps := p.mode()
	mode = strings.ReplaceAll(mode, " ", "-") // in labels, spaces are a nuisance
	p.counters.enforcing.Reset()
	if len(gaps) == 0 {
		p.counters.enforcing.WithLabelValues(mode, "").Set(1)
	}
	for _, g := range gaps {
		p.counters.enforcing.WithLabelValues(mode, g.Code).Set(1)
	}
	p.reports.hurry()
}

// refused logs a container that did not pass and keeps it for `kritis status`.
func (p *Plugin) refused(e entry) {
	line := e.line(p.rules.load().policy.Generation)
	p.state.mu.Lock()
	p.state.recent = append(p.state.recent, line)
	if len(p.state.recent) > recentKept {
		p.state.recent = p.state.recent[len(p.state.recent)-recentKept:]
	}
	p.state.mu.Unlock()
	msg := "container denied"
	if line.Admitted {
		msg = "dry run: container let through although its image fails"
	}
	p.log.Warn(msg, "namespace", line.Namespace, "pod", line.Pod, "container", line.Container, "image", line.Image, "place", line.Place,
		"outcome", line.Verdict.Outcome.String(), "reason", string(line.Verdict.Reason), "why", line.Verdict.Detail)
}
