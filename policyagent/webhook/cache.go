package webhook

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/kritis-node/kritis-node/policyagent/attestations"
)

const (
	// settledFor is how long an answer is not asked for again, whatever it is.
	settledFor = 5 * time.Second
	// keptFor is how long an answer is kept that does not go bad: attestations, what a digest leads to.
	keptFor = 10 * time.Minute

	// maxKept and maxKeptBytes bound what is kept: some 2 KiB per image of attestations.
	maxKept      = 20_000
	maxKeptBytes = 16 << 20

	// maxRunning is how many questions are under way at once, maxPerHost how many to one registry: one that hangs
	// does not hold up the others. Further ones wait, at most maxWaiting, maxWaitingPerHost for one registry.
	maxRunning        = 32
	maxPerHost        = 8
	maxWaiting        = 1024
	maxWaitingPerHost = 128
	// askTimeout bounds one question. It is longer than a review waits: the user's next try finds the answer.
	askTimeout = 15 * time.Second
)

// key is what is asked about: a digest of a repository, or a tag.
type key struct{ repository, version string }

func (k key) host() string {
	host, _, _ := strings.Cut(k.repository, "/")
	return host
}

// lookup says how a cache finds out.
type lookup[V any] struct {
	// ask finds out. Meanwhile it may publish what it has so far; one call at a time.
	ask func(ctx context.Context, k key, publish func(V)) (V, error)
	// keep says how long an answer without an error is kept, and weigh how many bytes it takes.
	keep  func(key, V) time.Duration
	weigh func(V) int
	// count counts how a question was answered: "hit", "miss" or "joined".
	count func(result string)
}

// cache answers from memory, asks once for all who want to know the same, and keeps no failures.
type cache[V any] struct {
	lookup[V]
	ctx    context.Context // of everything that is under way
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	kept    *simplelru.LRU[key, kept[V]]
	bytes   int
	flights map[key]*flight[V]
	queue   []*flight[V]
	running map[string]int // by host
	total   int
}

type kept[V any] struct {
	value V
	at    time.Time
	until time.Time
	bytes int
}

// flight is one question that waits or is under way.
type flight[V any] struct {
	key
	done chan struct{}
	// value is what is known so far, under the cache's lock; all of it, and err, once done is closed.
	value V
	err   error
	// insufficient: what was kept did not do for one of those who wait. Under the cache's lock.
	insufficient bool
}

func newCache[V any](l lookup[V]) *cache[V] {
	c := &cache[V]{lookup: l, flights: map[key]*flight[V]{}, running: map[string]int{}}
	c.ctx, c.cancel = context.WithCancel(context.Background()) //nolint:gosec // close calls it
	// It fails for sizes below one only.
	c.kept, _ = simplelru.NewLRU(maxKept, func(_ key, e kept[V]) { c.bytes -= e.bytes })
	return c
}

// close ends what is under way and waits for it.
func (c *cache[V]) close() {
	c.cancel()
	c.mu.Lock()
	for _, f := range c.queue {
		delete(c.flights, f.key)
		f.err = errors.New(textClosed)
		close(f.done)
	}
	c.queue = nil
	c.mu.Unlock()
	c.wg.Wait()
}

// get returns what is known: aged says that it is some time since anybody asked. With again, only an answer that is not
// aged counts, and those who are asked are told so. If the context ends first, what is known so far is returned beside the error, and the question stays
// under way.
func (c *cache[V]) get(ctx context.Context, k key, again bool) (value V, aged bool, err error) {
	f, e, err := c.find(k, again)
	switch {
	case err != nil:
		return value, false, err
	case f == nil:
		return e.value, time.Since(e.at) >= settledFor, nil
	}
	select {
	case <-f.done:
		return f.value, false, f.err
	case <-ctx.Done():
		c.mu.Lock()
		defer c.mu.Unlock()
		return f.value, false, errors.New(textLate)
	}
}

// find returns what is kept, or the flight to wait for.
func (c *cache[V]) find(k key, again bool) (*flight[V], kept[V], error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if e, ok := c.kept.Get(k); ok && now.Before(e.until) && (!again || now.Sub(e.at) < settledFor) {
		c.count("hit")
		return nil, e, nil
	}
	if f, ok := c.flights[k]; ok {
		f.insufficient = f.insufficient || again // too late if it is under way
		c.count("joined")
		return f, kept[V]{}, nil
	}
	c.count("miss")
	if c.ctx.Err() != nil {
		return nil, kept[V]{}, errors.New(textClosed)
	}
	if len(c.queue) >= maxWaiting {
		return nil, kept[V]{}, fmt.Errorf(textQueue, maxWaiting)
	}
	waiting := 0
	for _, q := range c.queue {
		if q.host() == k.host() {
			waiting++
		}
	}
	if waiting >= maxWaitingPerHost {
		return nil, kept[V]{}, fmt.Errorf(textHostQueue, maxWaitingPerHost, k.host())
	}
	f := &flight[V]{key: k, done: make(chan struct{}), insufficient: again}
	c.flights[k] = f
	c.queue = append(c.queue, f)
	c.schedule()
	return f, kept[V]{}, nil
}

// schedule launches what may run now, oldest first. The lock is held.
func (c *cache[V]) schedule() {
	left := c.queue[:0]
	for _, f := range c.queue {
		if c.total >= maxRunning || c.running[f.host()] >= maxPerHost {
			left = append(left, f)
			continue
		}
		c.total++
		c.running[f.host()]++
		c.wg.Go(func() { c.fly(f) })
	}
	clear(c.queue[len(left):])
	c.queue = left
}

func (c *cache[V]) fly(f *flight[V]) {
	ctx, cancel := context.WithTimeout(c.ctx, askTimeout)
	defer cancel()
	c.mu.Lock()
	insufficient := f.insufficient
	c.mu.Unlock()
	if insufficient {
		ctx = attestations.Insufficient(ctx)
	}
	value, err := c.survive(ctx, f)
	c.mu.Lock()
	defer c.mu.Unlock()
	f.value, f.err = value, err
	if err == nil {
		c.keepValue(f.key, value)
	}
	delete(c.flights, f.key)
	c.total--
	if c.running[f.host()]--; c.running[f.host()] == 0 {
		delete(c.running, f.host())
	}
	close(f.done)
	c.schedule()
}

// survive turns a panic into an error: what a registry sends must not end the webhook.
func (c *cache[V]) survive(ctx context.Context, f *flight[V]) (value V, err error) {
	defer func() {
		if recover() != nil {
			err = errors.New(textPanic)
		}
	}()
	return c.ask(ctx, f.key, func(v V) {
		c.mu.Lock()
		defer c.mu.Unlock()
		f.value = v
	})
}

// keepValue keeps an answer. The lock is held.
func (c *cache[V]) keepValue(k key, v V) {
	now := time.Now()
	e := kept[V]{value: v, at: now, until: now.Add(c.keep(k, v)), bytes: c.weigh(v) + len(k.repository) + len(k.version)}
	c.kept.Remove(k)
	if e.bytes > maxKeptBytes {
		return
	}
	c.kept.Add(k, e)
	c.bytes += e.bytes
	for c.bytes > maxKeptBytes {
		c.kept.RemoveOldest()
	}
}
