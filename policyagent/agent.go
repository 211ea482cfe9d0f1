package policyagent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kritis-node/kritis-node/policyagent/attestations"
	"github.com/kritis-node/kritis-node/policyagent/nodereport"
	"github.com/kritis-node/kritis-node/policyagent/nodestate"
	"github.com/kritis-node/kritis-node/verifier"
)

const (
	// DefaultMaxRecords is how many records of attestations are kept. At some 2 KiB each they take 40 MiB of disk.
	DefaultMaxRecords = 20_000

	maxSources = 16
	// tickEvery is how often the status is written if it changed, and what failed is tried again.
	tickEvery = 5 * time.Second
	// pruneEvery is how often old records are removed.
	pruneEvery = 5 * time.Minute
)

// PolicySource is where policy comes from.
type PolicySource interface {
	// Name says for people which source this is.
	Name() string
	// Watch calls onChange with the policy and notices about it, or with why it cannot be had: once at the beginning
	// and on each change, one call at a time. It returns nil when the context ends.
	Watch(ctx context.Context, onChange func(policy verifier.Document, notices []string, err error)) error
}

// A problemSource is a PolicySource that takes what it cannot understand as a problem of one object, where a folder
// would refuse all. Problems returns those of the policy that onChange is being called with.
type problemSource interface {
	Problems() []verifier.Problem
}

// A freshSource is a PolicySource that knows when it was last in touch with where policy comes from, zero if not yet.
type freshSource interface {
	ConfirmedAt() time.Time
}

// ReportKeeper shows the cluster how this node enforces.
type ReportKeeper interface {
	// Keep shows what report returns, unless that is nothing yet: regularly, and soon after each signal. It returns nil
	// when the context ends.
	Keep(ctx context.Context, report func(now time.Time) (nodereport.Report, bool), changed <-chan struct{}) error
}

// Config is what an agent needs. Policies, Sources and Logger are required.
type Config struct {
	// StateDir and Socket default to nodestate's.
	StateDir, Socket string
	Policies         PolicySource
	Sources          []attestations.Source
	// Pods may be nil: then attestations are fetched when the plugin asks, and not before.
	Pods PodSource
	// Listen is the TCP address of metrics and probes; empty for none.
	Listen string
	Logger *slog.Logger
	// PluginSocket is where the plugin serves its metrics; empty for none.
	PluginSocket string
	// Node is this node's name; empty if it has none.
	Node string
	// Events and Reports may be nil: then the cluster is not told what happens here.
	Events  EventSink
	Reports ReportKeeper
	// MaxRecords defaults to DefaultMaxRecords.
	MaxRecords int
	// Version is the program's, for the status.
	Version string
	// UnsafeDryRun lets every request that fails through, on this node, whatever the policies say.
	UnsafeDryRun bool
}

// Agent is a policy agent that holds its state folder and its socket. It serves from Run on.
type Agent struct {
	config    Config
	log       *slog.Logger
	state     *nodestate.Writer
	listener  net.Listener
	telemetry net.Listener // nil without Config.Listen
	pool      *pool
	status    *status
	pending   pending
	prefetch  *prefetcher
	// enforcement is what is known of the plugin.
	enforcement *enforcement
	close       func() error
}

// New returns an agent, or everything that is wrong with its configuration. It takes the state folder and the socket,
// so a second agent on a node fails here. Run or Close gives them back.
func New(c Config) (*Agent, error) {
	if err := c.complete(); err != nil {
		return nil, fmt.Errorf("configuring the policy agent: %w", err)
	}
	state, err := nodestate.Create(c.StateDir)
	if err != nil {
		return nil, err
	}
	listener, err := nodestate.Listen(c.Socket)
	if err != nil {
		return nil, errors.Join(err, state.Close())
	}
	a := &Agent{config: c, log: c.Logger, state: state, listener: listener, status: newStatus(c), enforcement: newEnforcement(time.Now())}
	a.pool, a.prefetch = newPool(a.fetch), newPrefetcher(a.fetchAhead)
	if c.Listen != "" {
		if a.telemetry, err = new(net.ListenConfig).Listen(context.Background(), "tcp", c.Listen); err != nil {
			return nil, errors.Join(fmt.Errorf("listening for metrics and probes: %w; choose another --listen", err), listener.Close(), state.Close())
		}
	}
	if last, err := state.Policy(); err == nil {
		a.status.policyLoaded(last) // in force until something else is
	}
	a.close = sync.OnceValue(func() error {
		errs := []error{listener.Close(), state.Close()}
		if a.telemetry != nil {
			errs = append(errs, a.telemetry.Close())
		}
		for i := range errs {
			if errors.Is(errs[i], net.ErrClosed) {
				errs[i] = nil // the server closed it
			}
		}
		return errors.Join(errs...)
	})
	return a, nil
}

func (c *Config) complete() error {
	var errs []error
	if c.StateDir == "" {
		c.StateDir = nodestate.DefaultDir
	}
	if c.Socket == "" {
		c.Socket = nodestate.DefaultSocket
	}
	if c.MaxRecords == 0 {
		c.MaxRecords = DefaultMaxRecords
	}
	if c.MaxRecords < 0 {
		errs = append(errs, errors.New("the number of records is negative: give how many to keep"))
	}
	if c.Policies == nil {
		errs = append(errs, errors.New("there is no source of policies: name a folder of policies, or a cluster"))
	}
	if len(c.Sources) == 0 {
		errs = append(errs, errors.New("there is no source of attestations, so nothing would be attested: allow registries, or name a folder of attestations"))
	}
	if len(c.Sources) > maxSources {
		errs = append(errs, fmt.Errorf("there are %d sources of attestations and may be %d: remove some", len(c.Sources), maxSources))
	}
	if c.Logger == nil {
		errs = append(errs, errors.New("there is no logger: give one"))
	}
	return errors.Join(errs...)
}

// Close gives back what New took, for agents that are not run.
func (a *Agent) Close() error { return a.close() }

// Run works until the context ends, and returns nil then. It leaves no goroutine behind.
func (a *Agent) Run(ctx context.Context) error {
	a.announce(ctx)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.pool.run(ctx) })
	g.Go(func() error { return nodestate.Serve(ctx, a.listener, a, a) })
	g.Go(func() error { return a.config.Policies.Watch(ctx, a.applyPolicy) })
	g.Go(func() error { return a.tick(ctx) })
	g.Go(func() error { return a.prefetch.run(ctx) })
	if a.config.Pods != nil {
		g.Go(func() error { return a.config.Pods.Watch(ctx, a.applyPods) })
	}
	if a.config.Reports != nil {
		g.Go(func() error { return a.config.Reports.Keep(ctx, a.nodeReport, a.enforcement.changed) })
	}
	// What the cluster is told goes out by itself.
	if sink, ok := a.config.Events.(interface{ Run(context.Context) error }); ok {
		g.Go(func() error { return sink.Run(ctx) })
	}
	if a.telemetry != nil {
		g.Go(func() error { return a.serveTelemetry(ctx) })
	}
	err := g.Wait()
	a.status.stop(time.Now())
	a.writeStatus()
	if err = errors.Join(err, a.close()); err != nil {
		return fmt.Errorf("policy agent: %w", err)
	}
	a.log.Info("policy agent stopped")
	return nil
}

// announce logs what the agent does, and what loosens security.
func (a *Agent) announce(ctx context.Context) {
	a.log.InfoContext(ctx, "policy agent starts", "state", a.config.StateDir, "socket", a.config.Socket, "policies", a.config.Policies.Name())
	if a.config.UnsafeDryRun {
		a.log.WarnContext(ctx, "unsafe: dry run is on for this node, so images that fail run all the same")
	}
	if a.config.Pods != nil {
		a.log.InfoContext(ctx, "attestations are fetched in advance", "for", a.config.Pods.Name())
	}
	for _, u := range unsafe(a.config.Policies) {
		a.log.WarnContext(ctx, "unsafe setting of the source of policies", "source", a.config.Policies.Name(), "setting", u)
	}
	for _, s := range a.Status().Sources {
		a.log.InfoContext(ctx, "source of attestations", "source", s.Name)
		for _, u := range s.Unsafe {
			a.log.WarnContext(ctx, "unsafe setting of a source of attestations", "source", s.Name, "setting", u)
		}
	}
}

// tick does what has to be done now and then, until the context ends.
func (a *Agent) tick(ctx context.Context) error {
	tick, prune := time.NewTicker(tickEvery), time.NewTicker(pruneEvery)
	defer tick.Stop()
	defer prune.Stop()
	for {
		a.pending.restore(a)
		a.pending.retry(a)
		now := time.Now()
		a.status.beat(now)
		a.enforcement.look(now)
		if a.status.changed() {
			a.writeStatus()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-prune.C:
			if err := a.state.Prune(a.config.MaxRecords); err != nil {
				a.log.Error("old attestation records are not removed", "error", err)
			}
		}
	}
}
