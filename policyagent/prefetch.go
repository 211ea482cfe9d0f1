package policyagent

import (
	"context"
	"sync"

	"github.com/kritis-node/kritis-node/policyagent/nodestate"
	"github.com/kritis-node/kritis-node/verifier"
)

const (
	// maxWanted is how many images are fetched in advance for the pods of a node. A kubelet takes some 250 pods.
	maxWanted = 4096
	// prefetchers is how many are fetched at once. It is half of what one registry is asked at once, so that
	// containers that wait already need not queue behind pods to come.
	prefetchers = maxPerHost / 2
	// prefetchTimeout bounds one of them, waiting included.
	prefetchTimeout = 2 * fetchTimeout
)

// Pod is what the agent needs to know of a pod.
type Pod struct {
	Namespace string
	// Images as they are written in the pod: of its containers of all sorts, and of its image volumes.
	Images []string
	// PullSecrets are the names of its image pull secrets, in its namespace.
	PullSecrets []string
}

// PodSource tells which pods are on the node.
type PodSource interface {
	// Name says for people which source this is.
	Name() string
	// Watch calls onChange with all pods of the node whenever their images have changed, one call at a time, or with why
	// they are not known. It returns nil when the context ends.
	Watch(ctx context.Context, onChange func(pods []Pod, err error)) error
}

// applyPods fetches in advance what the pods of the node will need.
func (a *Agent) applyPods(pods []Pod, err error) {
	if err != nil {
		// No more than a delay: what is needed is fetched when the plugin asks.
		a.log.Warn("the pods of this node are not known, so nothing is fetched in advance", "source", a.config.Pods.Name(), "error", err)
		return
	}
	a.prefetch.expect(pods)
}

// fetchAhead fetches what is not known at all. What is known suffices until the plugin says otherwise.
func (a *Agent) fetchAhead(ctx context.Context, r nodestate.FetchRequest) (nodestate.FetchResponse, error) {
	for _, d := range r.Digests {
		if known, err := a.state.Attestations(r.Repository, d); err != nil || len(known.Attestations) == 0 || len(known.Failures) > 0 {
			return a.Fetch(ctx, r)
		}
	}
	return nodestate.FetchResponse{}, nil
}

// prefetchCounts count since the start.
type prefetchCounts struct{ begun, failed, skipped uint64 }

// prefetcher fetches attestations while images are still being pulled. Only images named by digest in namespaces with a
// policy: what a tag means is not known before the pull.
type prefetcher struct {
	fetch func(context.Context, nodestate.FetchRequest) (nodestate.FetchResponse, error)
	wake  chan struct{}

	mu       sync.Mutex
	pods     []Pod
	governed map[string]bool // namespaces
	done     map[key]bool    // of those that are wanted
	queue    []key
	counts   prefetchCounts
}

func newPrefetcher(fetch func(context.Context, nodestate.FetchRequest) (nodestate.FetchResponse, error)) *prefetcher {
	return &prefetcher{fetch: fetch, wake: make(chan struct{}, prefetchers), done: map[key]bool{}}
}

// expect takes the pods of the node.
func (p *prefetcher) expect(pods []Pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pods = pods
	p.plan()
}

// govern takes the policy in force.
func (p *prefetcher) govern(d verifier.Document) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.governed = map[string]bool{}
	for _, policy := range d.Policies {
		p.governed[policy.Namespace] = true
	}
	p.plan()
}

// plan queues what is wanted and was not fetched yet, and forgets what is wanted no more. The lock is held.
func (p *prefetcher) plan() {
	wanted := map[key]bool{}
	p.queue = p.queue[:0]
	for _, pod := range p.pods {
		if !p.governed[pod.Namespace] {
			continue
		}
		for _, image := range pod.Images {
			ref, err := verifier.ParseReference(image)
			k := key{ref.Repository, ref.Digest}
			if err != nil || ref.Digest == "" || wanted[k] {
				continue
			}
			if len(wanted) == maxWanted {
				p.counts.skipped++
				continue
			}
			wanted[k] = true
			if !p.done[k] {
				p.queue = append(p.queue, k)
			}
		}
	}
	for k := range p.done {
		if !wanted[k] {
			delete(p.done, k)
		}
	}
	for range min(len(p.queue), prefetchers) {
		select {
		case p.wake <- struct{}{}:
		default: // all are awake
		}
	}
}

// next takes the oldest of the queue.
func (p *prefetcher) next() (key, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) == 0 {
		return key{}, false
	}
	k := p.queue[0]
	p.queue = p.queue[1:]
	p.done[k] = true
	p.counts.begun++
	return k, true
}

// run fetches until the context ends.
func (p *prefetcher) run(ctx context.Context) error {
	var wg sync.WaitGroup
	for range prefetchers {
		wg.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case <-p.wake:
				}
				for k, ok := p.next(); ok && ctx.Err() == nil; k, ok = p.next() {
					p.one(ctx, k)
				}
			}
		})
	}
	wg.Wait()
	return nil
}

// one fetches for one image. A failure is in the record and in the log of the fetch; the plugin asks again.
func (p *prefetcher) one(ctx context.Context, k key) {
	ctx, cancel := context.WithTimeout(ctx, prefetchTimeout)
	defer cancel()
	response, err := p.fetch(ctx, nodestate.FetchRequest{Repository: k.repository, Digests: []verifier.Digest{k.digest}})
	if err != nil || len(response.Failures) > 0 {
		p.mu.Lock()
		p.counts.failed++
		p.mu.Unlock()
	}
}

// load returns the counts and how many wait.
func (p *prefetcher) load() (prefetchCounts, int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.counts, len(p.queue)
}
