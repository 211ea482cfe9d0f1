package plugin

import (
	"sync"
	"time"
)

// waitBudget bounds how long the create path may wait for the agent, over all containers. The runtime asks one
// container at a time and holds a node-wide lock meanwhile, so two hundred unknown images that wait 800 ms each would
// stop the node for minutes. The budget is a bucket of waiting time: what was waited is taken out, and it refills at a
// fraction of real time. An empty bucket means an immediate "could not tell"; the fetch goes on in the agent, and
// the next try of the kubelet finds it done.
type waitBudget struct {
	max  time.Duration // of one wait
	size time.Duration // of the bucket
	rate float64       // refill, seconds of waiting per second

	mu   sync.Mutex
	left time.Duration
	last time.Time
}

func newWaitBudget(max time.Duration) *waitBudget {
	return &waitBudget{max: max, size: max * 3 / 2, rate: 0.25, left: max * 3 / 2}
}

// available returns how long a wait that starts now may take; zero means do not wait.
func (b *waitBudget) available(now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.last.IsZero() && now.After(b.last) {
		b.left = min(b.size, b.left+time.Duration(float64(now.Sub(b.last))*b.rate))
	}
	b.last = now
	// A sliver of budget would make the runtime pay for a wait that cannot succeed.
	if b.left < b.max/8 {
		return 0
	}
	return min(b.max, b.left)
}

// remaining returns the waiting time that is left now, without taking anything.
func (b *waitBudget) remaining(now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.last.IsZero() || !now.After(b.last) {
		return b.left
	}
	return min(b.size, b.left+time.Duration(float64(now.Sub(b.last))*b.rate))
}

// spend takes a wait out of the budget.
func (b *waitBudget) spend(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left = max(0, b.left-d)
}
