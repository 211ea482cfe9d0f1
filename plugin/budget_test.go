package plugin

import (
	"testing"
	"time"
)

func TestWaitBudget(t *testing.T) {
	const max = 800 * time.Millisecond
	start := time.Unix(0, 0)
	b := newWaitBudget(max)
	waited := time.Duration(0)
	// Two hundred containers in a row whose every wait fails: the runtime's lock is held for no longer than the bucket
	// and what it gains meanwhile.
	now := start
	for range 200 {
		w := b.available(now)
		if w > max {
			t.Fatalf("a wait of %s, more than %s", w, max)
		}
		b.spend(w)
		waited += w
		now = now.Add(w + 5*time.Millisecond)
	}
	if limit := 3 * time.Second; waited > limit {
		t.Errorf("200 containers waited for %s in all, want at most %s", waited, limit)
	}
	if w := b.available(now); w != 0 {
		t.Errorf("an empty budget offers %s", w)
	}
	if w := b.available(now.Add(time.Minute)); w != max {
		t.Errorf("after a minute the budget offers %s, want %s", w, max)
	}
	b = newWaitBudget(max)
	b.available(now)
	b.spend(2 * max)
	if w := b.available(now.Add(-time.Hour)); w != 0 {
		t.Errorf("a clock that jumps back gives %s", w)
	}
}
