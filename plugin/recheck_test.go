package plugin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kritis-node/kritis-node/plugin/inventory"
	"github.com/kritis-node/kritis-node/policyagent/nodestate"
	"github.com/kritis-node/kritis-node/verifier"
)

// memoryNode is a node whose containers run in memory.
type memoryNode struct {
	mu      sync.Mutex
	runs    map[string]*subject
	tasks   []task
	surveys int
	err     error
	panics  bool
	stopped []stopped
	stops   func(context.Context) error
}

type stopped struct {
	id string
	at time.Time
}

func (n *memoryNode) survey(context.Context) (survey, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.surveys++
	if n.panics {
		panic("survey")
	}
	all := survey{unmanaged: slices.Clone(n.tasks)}
	for id, s := range n.runs {
		pod := inventory.Pod{Namespace: "prod"}
		if s != nil {
			pod.Namespace = s.namespace
		}
		all.containers = append(all.containers, running{inventory.Container{ID: id, Created: time.Now()}, pod})
	}
	return all, n.err
}

func (n *memoryNode) subject(_ context.Context, c running) (subject, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	s, ok := n.runs[c.ID]
	if !ok {
		return subject{}, errAbsent
	}
	return *s, nil // nil: it panics
}

func (n *memoryNode) stop(ctx context.Context, id string, _ time.Duration) error {
	if n.stops != nil {
		if err := n.stops(ctx); err != nil {
			return err
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.runs, id)
	n.stopped = append(n.stopped, stopped{id, time.Now()})
	return nil
}

func (n *memoryNode) stoppedIDs() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var ids []string
	for _, s := range n.stopped {
		ids = append(ids, s.id)
	}
	return ids
}

// recheckbed is a rechecker with everything in memory. Its agent finds no attestation, unless it fails.
type recheckbed struct {
	*rechecker
	*testbed
	node *memoryNode

	mu      sync.Mutex
	fetches []time.Time
	told    []entry
	failure error
	noStop  error
}

// startRecheck runs a rechecker until the test ends. It must be called in a bubble.
func startRecheck(t *testing.T, cfg Recheck) *recheckbed {
	t.Helper()
	b := &recheckbed{node: &memoryNode{runs: map[string]*subject{}}}
	b.testbed = newTestbed(t, func(_ context.Context, r nodestate.FetchRequest) (nodestate.FetchResponse, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.fetches = append(b.fetches, time.Now())
		if b.failure != nil {
			return nodestate.FetchResponse{}, b.failure
		}
		for _, d := range r.Digests {
			old, _ := b.recs.Attestations(r.Repository, d)
			b.recs.put(nodestate.Record{Repository: r.Repository, Digest: d, FetchedAt: time.Now(), Attestations: old.Attestations})
		}
		return nodestate.FetchResponse{}, nil
	})
	cfg.StopsPerMinute = max(1, cfg.StopsPerMinute)
	b.rechecker = newRechecker(cfg, b.testbed.decider, b.node, b.rules.log)
	b.tell = func(e entry) { b.mu.Lock(); defer b.mu.Unlock(); b.told = append(b.told, e) }
	b.mayStop = func(ctx context.Context) (context.Context, context.CancelFunc, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		return ctx, func() {}, b.noStop
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); b.run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	return b
}

// start makes a container run, with an image of its own.
func (b *recheckbed) start(t *testing.T, id, namespace string, attested bool) *subject {
	t.Helper()
	manifest, config, chain := b.store.image(t, id, id)
	s := &subject{containerID: id, podName: "pod", namespace: namespace, image: repository + "@" + string(manifest), bound: bound{config: config}}
	b.store.snapshots[id] = snapshot{parent: chain}
	if attested {
		b.recs.put(nodestate.Record{Repository: repository, Digest: manifest, FetchedAt: time.Now(), Attestations: []verifier.Attestation{b.signer.attest(t, repository, manifest)}})
	}
	b.node.mu.Lock()
	defer b.node.mu.Unlock()
	b.node.runs[id] = s
	return s
}

// passes lets time pass.
func (b *recheckbed) passes(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (b *recheckbed) counts() map[nodestate.Result]int { return b.running().Counts }

func (b *recheckbed) asked() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.fetches)
}

func expectCounts(t *testing.T, b *recheckbed, want map[nodestate.Result]int) {
	t.Helper()
	got := b.counts()
	for _, r := range results {
		if got[r] != want[r] {
			t.Errorf("%s: %d, want %d; findings %+v", r, got[r], want[r], b.running().Findings)
		}
	}
}

// Whatever runs, the agent is asked a few times at once and then once a second.
func TestRecheckAsksSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startRecheck(t, Recheck{Interval: time.Hour})
		const containers = 50
		for i := range containers {
			b.start(t, fmt.Sprintf("c%d", i), "prod", false)
			b.start(t, fmt.Sprintf("a%d", i), "prod", true)
		}
		begin := time.Now()
		b.look()
		for range 20 {
			b.passes(3 * time.Second)
			if got, most := b.asked(), asksAtOnce+int(time.Since(begin).Seconds()); got > most {
				t.Fatalf("%d questions after %s, at most %d", got, time.Since(begin), most)
			}
		}
		expectCounts(t, b, map[nodestate.Result]int{nodestate.ResultAllowed: containers, nodestate.ResultViolation: containers})
		if got := b.asked(); got != containers {
			t.Errorf("%d questions about %d images", got, containers)
		}
		if got := len(b.told); got != containers {
			t.Errorf("%d tellings about %d violations", got, containers)
		}
		// Containers that share an image share the question, and of what is attested nobody asks.
		s := b.start(t, "x", "prod", false)
		for i := range containers {
			shared := *s
			shared.containerID = fmt.Sprintf("x%d", i)
			b.store.snapshots[shared.containerID] = b.store.snapshots["x"]
			b.node.runs[shared.containerID] = &shared
		}
		before := b.asked()
		b.look()
		b.passes(2 * time.Minute)
		if got := b.asked() - before; got != containers+1 {
			t.Errorf("%d questions about %d images", got, containers+1)
		}
	})
}

// Many changes are one look.
func TestRecheckCoalesces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startRecheck(t, Recheck{Interval: time.Hour})
		for range 40 {
			b.look()
			b.passes(100 * time.Millisecond)
		}
		b.passes(settleMax)
		if got := b.node.surveys; got > 2 {
			t.Errorf("%d looks", got)
		}
		b.start(t, "c", "prod", false)
		b.passes(2 * time.Hour)
		expectCounts(t, b, map[nodestate.Result]int{nodestate.ResultViolation: 1})
	})
}

// What nobody can tell is no violation, and is looked at again.
func TestRecheckUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startRecheck(t, Recheck{Interval: time.Hour, OnViolation: ViolationStop})
		b.failure = errors.New("it is away")
		b.start(t, "c", "prod", false)
		b.look()
		b.passes(10 * time.Minute)
		expectCounts(t, b, map[nodestate.Result]int{nodestate.ResultUnknown: 1})
		if len(b.told) > 0 || len(b.node.stoppedIDs()) > 0 {
			t.Errorf("told %v, stopped %v", b.told, b.node.stopped)
		}
		b.mu.Lock()
		asked := len(b.fetches)
		b.failure, b.noStop = nil, errors.New("not in this test")
		b.mu.Unlock()
		if asked > 12 {
			t.Errorf("%d questions in 10 minutes to an agent that is away", asked)
		}
		b.passes(time.Hour)
		expectCounts(t, b, map[nodestate.Result]int{nodestate.ResultViolation: 1})
	})
}

// That no attestation was known an hour ago is no violation now; nor is it one that goes unshown while the agent is asked.
func TestRecheckOldRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startRecheck(t, Recheck{Interval: 2 * time.Hour})
		s := b.start(t, "c", "prod", false)
		ref, err := verifier.ParseReference(s.image)
		if err != nil {
			t.Fatal(err)
		}
		b.recs.put(nodestate.Record{Repository: repository, Digest: ref.Digest, FetchedAt: time.Now()})
		b.mu.Lock()
		b.failure = errors.New("it is away")
		b.mu.Unlock()
		b.passes(time.Hour)
		b.look()
		b.passes(time.Minute)
		expectCounts(t, b, map[nodestate.Result]int{nodestate.ResultUnknown: 1})
		b.mu.Lock()
		b.failure = nil
		b.mu.Unlock()
		b.passes(3 * time.Hour)
		expectCounts(t, b, map[nodestate.Result]int{nodestate.ResultViolation: 1})
		// It ends, and is not shown until the next look.
		looks := b.node.surveys
		b.node.mu.Lock()
		delete(b.node.runs, "c")
		b.node.mu.Unlock()
		b.passes(pruneEvery + time.Second)
		expectCounts(t, b, nil)
		b.passes(time.Hour)
		if got := b.node.surveys - looks; got > 2 {
			t.Errorf("%d looks at nothing", got)
		}
	})
}

// A task that CRI does not know is told, and never stopped; one that CRI learns of a moment later is none.
func TestRecheckUnmanaged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startRecheck(t, Recheck{Interval: time.Minute, OnViolation: ViolationStop})
		b.node.tasks = []task{{"moby", "a", "image"}, {criNamespace, "starts", ""}}
		b.look()
		b.passes(settleFor + suspectFor/2)
		b.node.mu.Lock()
		b.node.tasks = b.node.tasks[:1]
		b.node.mu.Unlock()
		b.passes(time.Minute)
		expectCounts(t, b, map[nodestate.Result]int{nodestate.ResultUnmanaged: 1})
		if f := b.running().Findings[0]; f.Runtime != "moby" || f.ID != "a" || f.Image != "image" || f.Reason != UnmanagedTask {
			t.Errorf("%+v", f)
		}
		b.passes(time.Hour)
		if len(b.told) != 1 || len(b.node.stoppedIDs()) > 0 {
			t.Errorf("told %d, stopped %v", len(b.told), b.node.stopped)
		}
	})
}

func TestRecheckStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const perMinute, violators = 6, 15
		b := startRecheck(t, Recheck{Interval: time.Hour, OnViolation: ViolationStop, StopsPerMinute: perMinute, NeverStop: []string{"never-*"}})
		for i := range violators {
			b.start(t, fmt.Sprintf("c%d", i), "prod", false)
		}
		b.start(t, "attested", "prod", true)
		for id, namespace := range map[string]string{"system": "kube-system", "never": "never-this", "soft": "soft", "none": "none", "nameless": "", "boot": "boot"} {
			b.start(t, id, namespace, false)
		}
		var doc verifier.Document
		for _, ns := range []string{"prod", "kube-system", "never-this", "soft", "", "boot"} {
			doc.Authorities = append(doc.Authorities, verifier.AuthoritySpec{Namespace: ns, Name: "team", Keys: []verifier.KeySpec{{PEM: b.signer.pem}}})
			doc.Policies = append(doc.Policies, verifier.PolicySpec{Namespace: ns, Name: "p", AuthorityNames: []string{"team"}, DryRun: ns == "soft"})
		}
		b.policy(t, 2, doc)
		if err := os.WriteFile(b.rules.floorFile, []byte("version: 1\nbootstrapExempt: [boot]\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		b.rules.reload()
		b.mu.Lock()
		b.noStop = errors.New("just registered")
		b.mu.Unlock()
		b.passes(5 * time.Minute)
		if got := b.node.stoppedIDs(); len(got) > 0 {
			t.Fatalf("stopped while that may not be: %v", got)
		}
		b.mu.Lock()
		b.noStop = nil
		b.mu.Unlock()
		b.passes(10 * time.Minute)
		got := b.node.stoppedIDs()
		slices.Sort(got)
		if len(slices.Compact(got)) != violators || slices.ContainsFunc(got, func(id string) bool { return id[0] != 'c' }) {
			t.Errorf("stopped %v", got)
		}
		for i := perMinute; i < len(b.node.stopped); i++ {
			if d := b.node.stopped[i].at.Sub(b.node.stopped[i-perMinute].at); d < time.Minute {
				t.Errorf("%d stopped within %s", perMinute+1, d)
			}
		}
		expectCounts(t, b, map[nodestate.Result]int{nodestate.ResultAllowed: 2, nodestate.ResultViolation: 4, nodestate.ResultDryRun: 1})
		if n := b.running().Stopped; n != violators {
			t.Errorf("%d are told to be stopped", n)
		}
	})
}

// One wrong moment stops nothing: a container is stopped if it was denied twice in a row, under the same rules.
func TestRecheckStopsAfterTwo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startRecheck(t, Recheck{Interval: time.Hour, OnViolation: ViolationStop, StopsPerMinute: 60})
		s := b.start(t, "c", "prod", false)
		ref, err := verifier.ParseReference(s.image)
		if err != nil {
			t.Fatal(err)
		}
		b.look()
		b.passes(settleFor + time.Second)
		expectCounts(t, b, map[nodestate.Result]int{nodestate.ResultViolation: 1})
		b.recs.put(nodestate.Record{Repository: repository, Digest: ref.Digest, FetchedAt: time.Now(), Attestations: []verifier.Attestation{b.signer.attest(t, repository, ref.Digest)}})
		b.passes(time.Minute)
		expectCounts(t, b, map[nodestate.Result]int{nodestate.ResultAllowed: 1})
		b.recs.put(nodestate.Record{Repository: repository, Digest: ref.Digest, FetchedAt: time.Now()})
		for i := range 5 { // each look is the first under its rules
			b.policy(t, uint64(2+i), verifier.Document{
				Authorities: []verifier.AuthoritySpec{{Namespace: "prod", Name: "team", Keys: []verifier.KeySpec{{PEM: b.signer.pem}}}},
				Policies:    []verifier.PolicySpec{{Namespace: "prod", Name: "p", AuthorityNames: []string{"team"}}},
			})
			b.rules.reload()
			b.passes(againAfter / 2)
		}
		if got := b.node.stoppedIDs(); len(got) > 0 {
			t.Fatal("it is stopped")
		}
		b.passes(time.Minute)
		if got := b.node.stoppedIDs(); len(got) != 1 {
			t.Errorf("stopped %v", got)
		}
	})
}

// A stop that fails is tried again, and what cannot be read of the rules stops nothing.
func TestRecheckStopFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startRecheck(t, Recheck{Interval: time.Hour, OnViolation: ViolationStop, StopsPerMinute: 60})
		b.start(t, "c", "prod", false)
		tries := 0
		b.node.stops = func(context.Context) error {
			if tries++; tries < 3 {
				return errors.New("it does not end")
			}
			return nil
		}
		broken := *b.rules.load()
		broken.stateProblem = "damaged"
		b.rules.current.Store(&broken)
		b.look()
		b.passes(5 * time.Minute)
		if tries > 0 {
			t.Fatal("stopped by rules that cannot be read")
		}
		broken.stateProblem = ""
		fine := broken
		b.rules.current.Store(&fine)
		b.passes(5 * time.Minute)
		if got := b.node.stoppedIDs(); len(got) != 1 || tries != 3 {
			t.Errorf("stopped %v after %d tries", got, tries)
		}
	})
}

func TestRecheckConfig(t *testing.T) {
	good := Recheck{Interval: time.Minute, OnViolation: ViolationStop, StopsPerMinute: 1}
	for name, change := range map[string]func(*Recheck){
		"interval":   func(c *Recheck) { c.Interval = time.Millisecond },
		"violation":  func(c *Recheck) { c.OnViolation = "stop" },
		"no looking": func(c *Recheck) { c.Interval = 0 },
		"grace":      func(c *Recheck) { c.StopGrace = -1 },
		"rate":       func(c *Recheck) { c.StopsPerMinute = 0 },
	} {
		bad := good
		change(&bad)
		if bad.check() == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if err := good.check(); err != nil {
		t.Error(err)
	}
}

// A container that nobody can look at without a panic is one about which nobody can tell; the others are looked at as ever.
func TestRecheckPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startRecheck(t, Recheck{Interval: time.Hour, OnViolation: ViolationStop})
		b.node.runs["bad"] = nil
		b.start(t, "denied", "prod", false)
		b.start(t, "allowed", "prod", true)
		b.look()
		b.passes(2 * time.Second)
		findings := b.running().Findings
		if i := slices.IndexFunc(findings, func(f nodestate.Finding) bool { return f.ID == "bad" }); i < 0 || findings[i].Result != nodestate.ResultUnknown ||
			findings[i].Reason != verifier.Internal || findings[i].Namespace != "prod" {
			t.Errorf("%+v", findings)
		}
		b.passes(time.Minute)
		if got := b.node.stoppedIDs(); !slices.Equal(got, []string{"denied"}) {
			t.Errorf("stopped: %v", got)
		}
		expectCounts(t, b, map[nodestate.Result]int{nodestate.ResultAllowed: 1, nodestate.ResultUnknown: 1})
		b.node.panics = true
		b.look()
		b.passes(5 * time.Second)
		if got := b.running(); got.Problem != textPanic || got.Counts[nodestate.ResultAllowed] != 1 {
			t.Errorf("%+v", got)
		}
	})
}
