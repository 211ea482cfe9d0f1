package policyagent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/attestations"
	"github.com/kritis-node/kritis-node/verifier"
)

const (
	// maxRunning is how many fetches run at once, maxPerHost how many of one registry's images: one that hangs does
	// not hold up the others.
	maxRunning = 16
	maxPerHost = 4
	// maxQueued is how many fetches wait, maxQueuedPerHost how many of one registry's images.
	maxQueued        = 1024
	maxQueuedPerHost = 256
	// fetchTimeout bounds one fetch, from when it runs.
	fetchTimeout = 15 * time.Second
)

var (
	errQueue     = fmt.Errorf("%d fetches of attestations are waiting already: ask again later", maxQueued)
	errHostQueue = fmt.Errorf("%d fetches of attestations from this registry are waiting already: ask again later", maxQueuedPerHost)
	errStopped   = errors.New("the policy agent is stopping: ask again when it runs")
)

// key is what is fetched.
type key struct {
	repository string
	digest     verifier.Digest
}

func (k key) String() string { return k.repository + "@" + string(k.digest) }

func (k key) host() string {
	host, _, _ := strings.Cut(k.repository, "/")
	return host
}

// flight is one fetch that waits or runs. Any number of callers wait for it.
type flight struct {
	key
	// done is closed when the record is written. failures may be read then.
	done     chan struct{}
	failures []string
	// insufficient: what is known did not suffice for one of the callers. Under the pool's lock.
	insufficient bool
}

func (f *flight) end(failures ...string) {
	f.failures = failures
	close(f.done)
}

// pool runs fetches: one at a time for each key, so many at once for each host, so many in all.
type pool struct {
	fetch func(context.Context, key) (failures []string)

	mu      sync.Mutex
	ctx     context.Context // of run; nil before
	stopped bool
	flights map[key]*flight
	queue   []*flight
	running map[string]int // by host
	total   int
	wg      sync.WaitGroup
}

func newPool(fetch func(context.Context, key) []string) *pool {
	return &pool{fetch: fetch, flights: map[key]*flight{}, running: map[string]int{}}
}

// run lets fetches run until the context ends, and waits for them.
func (p *pool) run(ctx context.Context) error {
	p.mu.Lock()
	p.ctx = ctx
	p.schedule()
	p.mu.Unlock()
	<-ctx.Done()
	p.mu.Lock()
	p.stopped = true
	for _, f := range p.queue {
		delete(p.flights, f.key)
		f.end(errStopped.Error())
	}
	p.queue = nil
	p.mu.Unlock()
	p.wg.Wait()
	return nil
}

// start begins a fetch, or joins the one of the same key. With insufficient the sources are told that what is known did not
// suffice; they are not if the fetch runs already.
func (p *pool) start(k key, insufficient bool) (f *flight, joined bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f, ok := p.flights[k]; ok {
		f.insufficient = f.insufficient || insufficient
		return f, true, nil
	}
	if p.stopped {
		return nil, false, errStopped
	}
	if len(p.queue) >= maxQueued {
		return nil, false, errQueue
	}
	waiting := 0
	for _, q := range p.queue {
		if q.host() == k.host() {
			waiting++
		}
	}
	if waiting >= maxQueuedPerHost {
		return nil, false, errHostQueue
	}
	f = &flight{key: k, done: make(chan struct{}), insufficient: insufficient}
	p.flights[k] = f
	p.queue = append(p.queue, f)
	p.schedule()
	return f, false, nil
}

// schedule launches what may run now, oldest first. The lock is held.
func (p *pool) schedule() {
	if p.ctx == nil || p.ctx.Err() != nil {
		return // run has not begun, or is about to end those that wait
	}
	left := p.queue[:0]
	for _, f := range p.queue {
		if p.total >= maxRunning || p.running[f.host()] >= maxPerHost {
			left = append(left, f)
			continue
		}
		p.total++
		p.running[f.host()]++
		p.wg.Go(func() { p.fly(f) })
	}
	clear(p.queue[len(left):])
	p.queue = left
}

func (p *pool) fly(f *flight) {
	ctx, cancel := context.WithTimeout(p.ctx, fetchTimeout)
	defer cancel()
	p.mu.Lock()
	insufficient := f.insufficient
	p.mu.Unlock()
	if insufficient {
		ctx = attestations.Insufficient(ctx)
	}
	failures := p.fetch(ctx, f.key)
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.flights, f.key)
	p.total--
	if p.running[f.host()]--; p.running[f.host()] == 0 {
		delete(p.running, f.host())
	}
	f.end(failures...)
	p.schedule()
}

// load returns how many fetches run and wait.
func (p *pool) load() (running, queued int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.total, len(p.queue)
}
