package plugin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kritis-node/kritis-node/plugin/inventory"
	"github.com/kritis-node/kritis-node/policyagent/nodestate"
	"github.com/kritis-node/kritis-node/verifier"
)

// Config is where the plugin finds the world. Empty paths take the defaults of `kritis plugin`.
type Config struct {
	StateDir  string
	FloorFile string
	// BootstrapExempt are patterns of namespaces, besides kube-system, whose containers run although no policy snapshot can be
	// read, unless the floor file says which: that of the agent, which alone can bring the snapshot back.
	BootstrapExempt  []string
	NRISocket        string
	ContainerdSocket string
	ContainerdConfig string
	AgentSocket      string
	// StatusSocket serves `kritis status`, `kritis explain` and metrics; empty: nothing is served.
	StatusSocket string
	// AuditLog is the file for decisions; empty: none is written.
	AuditLog string
	// Snapshotters are the accepted ones, the usual one first. Lazy ones do not verify what they serve.
	Snapshotters []string
	// FetchBudget is how long one container may wait for the agent.
	FetchBudget time.Duration
	Required    Required
	// Placement says what kind of process this is, for people and for `kritis install --require`: it changes nothing else.
	Placement Placement
	// Revision is what the installer of a host service calls this installation; it shows it in the status, nothing else.
	Revision string
	// Recheck says how containers that run already are looked at.
	Recheck Recheck
	// OnReady, if set, is called after each registration with the runtime, and when there is nothing to register for
	// yet.
	OnReady func()
	Version string
	Log     *slog.Logger
}

// WithDefaults fills in what is empty and not meaningful when empty.
func (c Config) WithDefaults() Config {
	or := func(s *string, d string) {
		if *s == "" {
			*s = d
		}
	}
	or(&c.StateDir, nodestate.DefaultDir)
	or(&c.FloorFile, "/etc/kritis/floor.yaml")
	or(&c.NRISocket, "/var/run/nri/nri.sock")
	or(&c.ContainerdSocket, "/run/containerd/containerd.sock")
	or(&c.ContainerdConfig, "/etc/containerd/config.toml")
	or(&c.AgentSocket, nodestate.DefaultSocket)
	or((*string)(&c.Required), string(RequiredAuto))
	or((*string)(&c.Placement), string(PlacementHost))
	or((*string)(&c.Recheck.OnViolation), string(ViolationReport))
	if c.Recheck.StopsPerMinute == 0 {
		c.Recheck.StopsPerMinute = 6
	}
	if len(c.Snapshotters) == 0 {
		c.Snapshotters = []string{"overlayfs", "native"}
	}
	if c.FetchBudget == 0 {
		c.FetchBudget = 800 * time.Millisecond
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Plugin enforces policy on one node. Use New.
type Plugin struct {
	*decider
	cfg   Config
	log   *slog.Logger
	store *containerdStore
	audit *audit
	// reports go over a connection of their own: fetches that wait must not hold them up, nor they fetches.
	reports     *reporter
	reportAgent *nodestate.Client
	recheck     *rechecker
	witness     *witness
	state       connectionState
}

// connectionState is how we stand with the runtime.
type connectionState struct {
	mu         sync.Mutex
	registered bool
	since      time.Time
	started    time.Time
	required   bool
	gaps       []gap
	runtime    runtimeInfo
	lastError  string
	found      int // containers that ran already when we registered
	// synchronized is when the runtime told us of its containers, decided how many decisions there were until then.
	synchronized time.Time
	decided      uint64
	recent       []AuditLine
	// up ends when the connection is lost.
	up   context.Context //nolint:containedctx // it is the connection's
	down context.CancelFunc
}

// New returns a plugin that is complete, or an error. It reads the node's state, connects to nothing yet.
func New(cfg Config) (*Plugin, error) {
	cfg = cfg.WithDefaults()
	switch cfg.Required {
	case RequiredAuto, RequiredYes, RequiredNo:
	default:
		return nil, fmt.Errorf("--required is %q, must be auto, yes or no", cfg.Required)
	}
	switch cfg.Placement {
	case PlacementHost, PlacementPod:
	default:
		return nil, fmt.Errorf("--placement is %q, must be host or pod", cfg.Placement)
	}
	if err := cfg.Recheck.check(); err != nil {
		return nil, err
	}
	if _, err := verifier.CompileFloor(verifier.FloorSpec{BootstrapExempt: cfg.BootstrapExempt}); err != nil {
		return nil, fmt.Errorf("--bootstrap-exempt: %w", err)
	}
	if cfg.FetchBudget < 0 {
		return nil, fmt.Errorf("--fetch-budget is negative: name a time such as 800ms")
	}
	store, err := newContainerdStore(cfg.ContainerdSocket, cfg.Snapshotters)
	if err != nil {
		return nil, err
	}
	p := &Plugin{cfg: cfg, log: cfg.Log, store: store, witness: newWitness(time.Now()), state: connectionState{started: time.Now()}}
	p.decider, err = newDecider(store, stateRecords{cfg.StateDir}, nodestate.NewClient(cfg.AgentSocket), cfg.FetchBudget,
		newRuleStore(cfg.StateDir, cfg.FloorFile, cfg.BootstrapExempt, cfg.Log))
	if err != nil {
		return nil, errors.Join(err, store.close())
	}
	p.reportAgent = nodestate.NewClient(cfg.AgentSocket)
	if p.reports, err = newReporter(p.reportAgent, p.counters, p.describe); err != nil {
		return nil, errors.Join(err, store.close())
	}
	p.audit = newAudit(cfg.AuditLog, p.counters, cfg.Log, func() uint64 { return p.rules.load().policy.Generation })
	p.recheck = newRechecker(cfg.Recheck, p.decider, containerdNode{inventory.New(store.conn), store}, cfg.Log)
	p.recheck.tell, p.recheck.changed, p.recheck.mayStop, p.recheck.missed = p.foundRunning, p.reports.hurry, p.mayStop, p.witness.missed
	return p, nil
}

// newDecider puts the parts together that decide; the plugin adds the runtime.
func newDecider(store runtimeStore, records recordReader, agent fetcher, budget time.Duration, rules *ruleStore) (*decider, error) {
	contents, err := newContents(store)
	if err != nil {
		return nil, err
	}
	kept, err := newMemory()
	if err != nil {
		return nil, err
	}
	wait := newWaitBudget(budget)
	return &decider{
		rules: rules, contents: contents, records: records, agent: agent, budget: wait,
		kept: kept, prompts: make(chan struct{}, 64), underWay: make(chan struct{}, 128), counters: newCounters(rules, wait),
	}, nil
}

// stateRecords reads attestations from the state folder, which may come and go.
type stateRecords struct{ dir string }

func (s stateRecords) Attestations(repository string, d verifier.Digest) (nodestate.Record, error) {
	reader, err := nodestate.Open(s.dir)
	if err != nil {
		return nodestate.Record{}, err
	}
	return reader.Attestations(repository, d)
}

// Run enforces until ctx ends. It returns an error only for what a restart may cure.
func (p *Plugin) Run(ctx context.Context) error {
	defer p.store.close()
	defer p.reportAgent.Close()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return p.rules.run(ctx) })
	group.Go(func() error { p.audit.run(ctx); return nil })
	group.Go(func() error { p.reports.run(ctx); return nil })
	group.Go(func() error { p.recheck.run(ctx); return nil })
	if p.cfg.StatusSocket != "" {
		group.Go(func() error { return p.serveStatus(ctx) })
	}
	group.Go(func() error {
		required, gaps := p.cfg.required(ctx)
		p.assess(required, gaps)
		if !required && !p.waitForPolicy(ctx) {
			return nil
		}
		return p.serve(ctx)
	})
	return group.Wait()
}

// waitForPolicy stays away from the runtime until there is something to enforce: a plugin that nobody requires must
// not stop a node that it knows nothing about. It returns false if ctx ended first.
func (p *Plugin) waitForPolicy(ctx context.Context) bool {
	select {
	case <-p.rules.arrived:
		return true
	default:
	}
	p.log.Warn("no policy snapshot has arrived on this node yet: not registering with the runtime until one does", "stateDir", p.cfg.StateDir)
	p.publish()
	p.ready()
	select {
	case <-p.rules.arrived:
		return true
	case <-ctx.Done():
		return false
	}
}

// decideBound decides on a container once it is known what the runtime binds to it.
func (p *Plugin) decideBound(ctx context.Context, info runtimeInfo, s *subject, now time.Time) *decision {
	if s.bound.config == "" && info.ImageField {
		return p.unidentified(ctx, s, now, errors.New(textNoIdentity))
	}
	if s.bound.config == "" {
		snap, err := p.contents.store.snapshot(ctx, s.containerID)
		if errors.Is(err, errAbsent) {
			err = errors.New(textNoSnapshot)
		}
		if err != nil {
			return p.unidentified(ctx, s, now, err)
		}
		s.bound.below = snap
	}
	if made := p.remembered(s, now); made != nil {
		return made
	}
	return p.decide(ctx, s, now)
}

// unidentified decides on a container of which nobody knows what it runs. Where no policy asks, it may.
func (p *Plugin) unidentified(ctx context.Context, s *subject, now time.Time, why error) *decision {
	r := p.rules.load()
	return p.judge(ctx, r, s.request(s.image, now), failedContent{why})
}

// record counts, logs and keeps a decision. The second look is logged only if it did not agree.
func (p *Plugin) record(e entry) {
	p.counters.count(e.at, &e.decision.verdict, e.took)
	p.counters.recalled(e)
	p.reports.add(e)
	p.witness.asked(e.subject.containerID, e.time)
	if e.decision.verdict.Outcome != verifier.Allowed {
		p.refused(e)
	} else if e.at == placeStart {
		return
	}
	p.audit.add(e)
}
