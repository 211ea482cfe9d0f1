package securitycenter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kritis-node/kritis-node/policyagent/alicloud"
	"github.com/kritis-node/kritis-node/policyagent/api/v1beta1"
)

const (
	// MinInterval is the shortest time between two syncs.
	MinInterval = 5 * time.Second
	// shortestTimeout and longestTimeout bound the time for one sync, which is twice the interval in between. The client's
	// own retries are within it.
	shortestTimeout = 20 * time.Second
	longestTimeout  = 60 * time.Second
	// keyGrace is how long a listing waits for keys before it counts. A policy whose keys come later denies until then.
	keyGrace = time.Second
	// keysAtOnce are the keys that are asked for at a time.
	keysAtOnce = 4
	// outageShown is after how many intervals without a complete listing the objects say so.
	outageShown = 3
)

// Cloud is what is asked of Alibaba Cloud.
type Cloud interface {
	// Witnesses and SecurityPolicies are complete, or fail.
	Witnesses(context.Context) ([]alicloud.Witness, error)
	SecurityPolicies(context.Context) ([]alicloud.SecurityPolicy, error)
	PublicKey(context.Context, alicloud.KeyReference) (alicloud.PublicKey, error)
}

// Config says what is kept in sync.
type Config struct {
	Cloud Cloud
	// ClusterID is how policies name this cluster.
	ClusterID string
	// Interval is the time from the start of one sync to that of the next; at least MinInterval.
	Interval time.Duration
	// KeyRefresh is how often a known key is asked for again, about; at least MinInterval.
	KeyRefresh time.Duration
	// KeepOldVersions lets earlier versions of a key go on counting when the witness names another version of it.
	KeepOldVersions bool
	Log             *slog.Logger
}

func (c *Config) check() error {
	switch {
	case c.Cloud == nil || c.Log == nil:
		return errors.New("security center needs a cloud and a logger")
	case c.ClusterID == "":
		return errors.New("the cluster's ID is missing: name it as policies in Security Center do, with --cluster-id")
	case c.Interval < MinInterval:
		return fmt.Errorf("--sync-interval is %s, must be %s or more: there is a quota for the whole account", c.Interval, MinInterval)
	case c.KeyRefresh < MinInterval:
		return fmt.Errorf("--key-refresh is %s, must be %s or more", c.KeyRefresh, MinInterval)
	}
	return nil
}

// engine holds the state, and moves it on.
type engine struct {
	Config
	metrics *metrics
	// changed is told which namespaces have to be looked at.
	changed func(ctx context.Context, namespaces []string)

	mu      sync.Mutex
	loaded  bool
	state   state
	removed map[removed]bool // until they are gone
	keys    keyring
	last    *listing // the last complete one
	before  *listing // the one directly before it
	failing bool     // the last sync failed
	failure condition
	listed  time.Time // when there was a complete listing, or work began

	told string // what was logged of the last sync that something was amiss with; the syncing goroutine's alone
}

func newEngine(cfg Config, m *metrics, changed func(context.Context, []string)) *engine {
	return &engine{
		Config: cfg, metrics: m, changed: changed, state: state{}, removed: map[removed]bool{},
		keys: keyring{entries: map[alicloud.KeyReference]*entry{}, refresh: cfg.KeyRefresh, random: rand.Float64}, //nolint:gosec // it spreads questions
	}
}

// start takes what the objects say. Before it nothing is wanted of them.
func (e *engine) start(ctx context.Context, s state, surplus []removed) {
	e.mu.Lock()
	now := time.Now()
	for _, sp := range s {
		for _, a := range sp.authorities {
			for _, k := range a.keys {
				e.keys.remember(k, now)
			}
		}
	}
	e.state, e.loaded, e.last, e.before, e.failing, e.listed = s, true, nil, nil, false, now
	e.removed = map[removed]bool{}
	for _, r := range surplus {
		e.removed[r] = true
	}
	all := e.namespaces()
	e.mu.Unlock()
	e.changed(ctx, all)
}

// run syncs until the context ends: one sync at a time, and no two within the interval.
func (e *engine) run(ctx context.Context) {
	for {
		next := time.NewTimer(e.Interval)
		e.sync(ctx)
		select {
		case <-ctx.Done():
			next.Stop()
			return
		case <-next.C:
		}
	}
}

// sync asks once, and moves the state on. What it found out is told also when the time to ask is over.
func (e *engine) sync(ctx context.Context) {
	within, cancel := context.WithTimeout(ctx, min(max(2*e.Interval, shortestTimeout), longestTimeout))
	defer cancel()
	l, err := e.list(within)
	if err != nil {
		e.failed(ctx, err)
		return
	}
	e.mu.Lock()
	if e.failing {
		e.before = nil // what was listed before the failure is not directly before
	} else {
		e.before = e.last
	}
	e.last, e.failing, e.failure, e.listed = l, false, condition{}, time.Now()
	e.mu.Unlock()
	e.tell(ctx, "a listing of Security Center removes nothing", l.flaw)
	e.metrics.synced(l.flaw == "")

	asked := make(chan struct{})
	go func() {
		defer close(asked)
		e.askKeys(within, l.references())
	}()
	grace := time.NewTimer(keyGrace)
	defer grace.Stop()
	select {
	case <-asked:
	case <-grace.C:
		e.advance(ctx)
		<-asked
	}
	e.advance(ctx)
}

// list asks for policies first: a witness is there before the policy that names it, so one made meanwhile is not missed.
func (e *engine) list(ctx context.Context) (*listing, error) {
	policies, err := e.Cloud.SecurityPolicies(ctx)
	if err != nil {
		return nil, err
	}
	witnesses, err := e.Cloud.Witnesses(ctx)
	if err != nil {
		return nil, err
	}
	return newListing(e.ClusterID, policies, witnesses)
}

func (e *engine) failed(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return // this process ends
	}
	var cloud *alicloud.Error
	text := v1beta1.Message(err.Error())
	if errors.As(err, &cloud) {
		text = stable(cloud)
	}
	e.metrics.failed(err)
	e.metrics.syncs.WithLabelValues("failed").Inc()
	e.tell(ctx, "Security Center could not be listed; what is known stays in force", text)
	e.mu.Lock()
	e.failing = true
	e.failure = condition{ReasonCloudUnavailable, fmt.Sprintf(textUnavailable, text)}
	all := e.namespaces()
	e.mu.Unlock()
	e.changed(ctx, all)
}

// tell logs what is amiss with a sync when it is new, and when it is over: not at every sync. It is called by one goroutine.
func (e *engine) tell(ctx context.Context, what, why string) {
	if why == e.told {
		return
	}
	if e.told = why; why == "" {
		e.Log.InfoContext(ctx, "Security Center is listed again, and nothing is amiss")
	} else {
		e.Log.WarnContext(ctx, what, "why", why)
	}
}

// askKeys asks for the keys that are due.
func (e *engine) askKeys(ctx context.Context, refs []alicloud.KeyReference) {
	e.mu.Lock()
	due := e.keys.due(refs, time.Now())
	e.mu.Unlock()
	var group errgroup.Group
	group.SetLimit(keysAtOnce)
	for _, ref := range due {
		group.Go(func() error {
			pub, err := e.Cloud.PublicKey(ctx, ref)
			if err != nil && errors.Is(ctx.Err(), context.Canceled) {
				return nil
			}
			if err != nil {
				e.metrics.failed(err)
				e.Log.WarnContext(ctx, "a public key could not be had; one that is known stays in force", "key", ref.ID, "region", ref.Region, "error", err)
			}
			e.mu.Lock()
			defer e.mu.Unlock()
			e.keys.learn(ref, pub, err, time.Now())
			return nil
		})
	}
	_ = group.Wait() // failures are in the keyring
}

// advance moves the state on, and has all namespaces looked at.
func (e *engine) advance(ctx context.Context) {
	e.mu.Lock()
	touched := e.namespaces()
	gone := e.state.advance(step{last: e.last, before: e.before, keys: e.keys.entries, keepOld: e.KeepOldVersions, cluster: e.ClusterID})
	for _, r := range gone {
		e.removed[r] = true
		e.Log.InfoContext(ctx, "no longer in Security Center: removing an object", "kind", r.kind, "object", r.namespace+"/"+r.name)
	}
	touched = append(touched, e.namespaces()...)
	wanted := map[alicloud.KeyReference]bool{}
	for _, ref := range e.last.references() {
		wanted[ref] = true
	}
	for _, sp := range e.state {
		for _, a := range sp.authorities {
			for _, k := range a.keys {
				wanted[k.ref] = true
			}
		}
	}
	e.keys.keep(wanted)
	e.metrics.count(e.state)
	e.mu.Unlock()
	slices.Sort(touched)
	e.changed(ctx, slices.Compact(touched))
}

// namespaces are those with something to do. The lock is held.
func (e *engine) namespaces() []string {
	all := slices.Collect(maps.Keys(e.state))
	for r := range e.removed {
		all = append(all, r.namespace)
	}
	return all
}
