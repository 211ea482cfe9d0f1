package plugin

import (
	"testing"
	"time"

	"github.com/kritis-node/kritis-node/test/documented"
)

func TestMetricsAreDocumented(t *testing.T) {
	p, _ := newPlugin(t, nil)
	p.publish()
	families, err := p.counters.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if n := documented.Metrics(t, "../docs/cluster.md", families); n < 15 {
		t.Errorf("%d metrics only", n)
	}
}

func TestBudgetRemaining(t *testing.T) {
	b, now := newWaitBudget(800*time.Millisecond), time.Unix(1000, 0)
	if got := b.remaining(now); got != 1200*time.Millisecond {
		t.Errorf("at the start: %s", got)
	}
	b.available(now)
	b.spend(time.Second)
	for after, want := range map[time.Duration]time.Duration{0: 200 * time.Millisecond, 400 * time.Millisecond: 300 * time.Millisecond, time.Hour: 1200 * time.Millisecond, -time.Hour: 200 * time.Millisecond} {
		if got := b.remaining(now.Add(after)); got != want {
			t.Errorf("after %s: %s, want %s", after, got, want)
		}
	}
	if got := b.available(now); got != 200*time.Millisecond {
		t.Errorf("looking takes something away: %s", got)
	}
}
