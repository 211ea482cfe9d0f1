package policyagent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/attestations"
	"github.com/kritis-node/kritis-node/policyagent/nodestate"
	"github.com/kritis-node/kritis-node/verifier"
)

// gate is a fetch that waits until it is let through.
type gate struct {
	mu   sync.Mutex
	runs []key
	open chan struct{}
}

func (g *gate) fetch(ctx context.Context, k key) []string {
	g.mu.Lock()
	g.runs = append(g.runs, k)
	g.mu.Unlock()
	select {
	case <-g.open:
		return nil
	case <-ctx.Done():
		return []string{ctx.Err().Error()}
	}
}

// hosts counts the runs so far by host.
func (g *gate) hosts() map[string]int {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := map[string]int{}
	for _, k := range g.runs {
		n[k.host()]++
	}
	return n
}

func pools(t *testing.T, test func(t *testing.T, p *pool, g *gate)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		g := &gate{open: make(chan struct{})}
		p := newPool(g.fetch)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.run(ctx) }()
		synctest.Wait()
		test(t, p, g)
		cancel()
		<-done
		if r, q := p.load(); r != 0 || q != 0 || len(p.flights) != 0 || len(p.running) != 0 {
			t.Errorf("left behind: %d run, %d wait, %d flights, %v", r, q, len(p.flights), p.running)
		}
	})
}

func image(host string, i int) key { return key{fmt.Sprintf("%s/app%d", host, i), digest('a')} }

func TestOneFlightPerImage(t *testing.T) {
	pools(t, func(t *testing.T, p *pool, g *gate) {
		first, joined, err := p.start(image("a", 1), false)
		if joined || err != nil {
			t.Fatal(joined, err)
		}
		second, joined, err := p.start(image("a", 1), false)
		if second != first || !joined || err != nil {
			t.Error(joined, err)
		}
		if other, joined, _ := p.start(key{"a/app1", digest('b')}, false); other == first || joined {
			t.Error("another digest joined")
		}
		synctest.Wait()
		if n := g.hosts()["a"]; n != 2 {
			t.Errorf("%d run", n)
		}
		close(g.open)
		<-first.done
		if third, joined, _ := p.start(image("a", 1), false); third == first || joined {
			t.Error("a flight that had ended was joined")
		}
		synctest.Wait()
	})
}

func TestHowManyRun(t *testing.T) {
	pools(t, func(t *testing.T, p *pool, g *gate) {
		for i := range 3 * maxPerHost {
			if _, _, err := p.start(image("hung", i), false); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if n := g.hosts()["hung"]; n != maxPerHost {
			t.Errorf("%d of one host run", n)
		}
		// Those of others run at once.
		if _, _, err := p.start(image("other", 0), false); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := g.hosts()["other"]; n != 1 {
			t.Error("a hung host holds up another")
		}
		for i := range maxRunning {
			if _, _, err := p.start(image(fmt.Sprint("many", i), 0), false); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if running, queued := p.load(); running != maxRunning || queued != 2*maxPerHost+maxPerHost+1 {
			t.Errorf("%d run, %d wait", running, queued)
		}
		close(g.open)
		synctest.Wait()
		if running, queued := p.load(); running != 0 || queued != 0 || len(g.runs) != 3*maxPerHost+1+maxRunning {
			t.Errorf("%d run, %d wait, %d ran", running, queued, len(g.runs))
		}
	})
}

func TestHowManyWait(t *testing.T) {
	pools(t, func(t *testing.T, p *pool, g *gate) {
		for i := range maxPerHost + maxQueuedPerHost {
			if _, _, err := p.start(image("hung", i), false); err != nil {
				t.Fatalf("%d: %v", i, err)
			}
		}
		if _, _, err := p.start(image("hung", -1), false); !errors.Is(err, errHostQueue) {
			t.Errorf("one more of a host: %v", err)
		}
		if _, joined, err := p.start(image("hung", 0), false); err != nil || !joined {
			t.Errorf("joining needs no place: %v", err)
		}
		for i := 0; ; i++ {
			_, _, err := p.start(image(fmt.Sprint("host", i), 0), false)
			if err == nil {
				continue
			}
			if _, queued := p.load(); !errors.Is(err, errQueue) || queued != maxQueued {
				t.Errorf("%v with %d waiting", err, queued)
			}
			break
		}
	})
}

func TestFetchesEnd(t *testing.T) {
	pools(t, func(t *testing.T, p *pool, _ *gate) {
		began := time.Now()
		f, _, err := p.start(image("a", 1), false)
		if err != nil {
			t.Fatal(err)
		}
		<-f.done
		if took := time.Since(began); took != fetchTimeout || len(f.failures) != 1 || f.failures[0] != context.DeadlineExceeded.Error() {
			t.Errorf("after %s with %q", took, f.failures)
		}
	})
}

func TestStopping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{open: make(chan struct{})}
		p := newPool(g.fetch)
		// Before it runs, fetches wait.
		var flights []*flight
		for i := range 2 * maxPerHost {
			f, _, err := p.start(image("a", i), false)
			if err != nil {
				t.Fatal(err)
			}
			flights = append(flights, f)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- p.run(ctx) }()
		synctest.Wait()
		cancel()
		<-done
		stopped := 0
		for _, f := range flights {
			<-f.done
			if f.failures[0] == errStopped.Error() {
				stopped++
			}
		}
		if stopped != maxPerHost {
			t.Errorf("%d were told that the agent stops", stopped)
		}
		if _, _, err := p.start(image("a", 99), false); !errors.Is(err, errStopped) {
			t.Errorf("afterwards: %v", err)
		}
	})
}

// A caller that leaves does not end the fetch, and one that comes later has it.
func TestTheFetchGoesOn(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		release := make(chan struct{})
		f.source.give = func(context.Context, key) ([]verifier.Attestation, error) {
			<-release
			return []verifier.Attestation{{Payload: []byte("late")}}, nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), 800*time.Millisecond)
		defer cancel()
		began := time.Now()
		_, err := f.Fetch(ctx, nodestate.FetchRequest{Repository: testRepository, Digests: []verifier.Digest{testKey.digest}})
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "the fetch goes on, ask again") || time.Since(began) != 800*time.Millisecond {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		close(release)
		synctest.Wait()
		if payloads, _ := f.record(t); payloads != "late" {
			t.Errorf("%q", payloads)
		}
		if f.ask(t, false); f.source.count() != 1 {
			t.Errorf("asked %d times", f.source.count())
		}
	})
}

// What is cut short because the agent stops is not recorded as the source's failure.
func TestStoppingRecordsNothing(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.source.give = func(ctx context.Context, _ key) ([]verifier.Attestation, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		fl, _, err := f.pool.start(testKey, false)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		f.stop()
		<-fl.done
		if _, err := f.state.Attestations(testKey.repository, testKey.digest); !errors.Is(err, nodestate.ErrNotFound) || fl.failures[0] != errStopped.Error() {
			t.Errorf("%v, %q", err, fl.failures)
		}
	})
}

func TestAFullQueueIsSaid(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.source.give = func(ctx context.Context, _ key) ([]verifier.Attestation, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		for i := range maxPerHost + maxQueuedPerHost {
			if _, _, err := f.pool.start(image("registry.example", i), false); err != nil {
				t.Fatal(err)
			}
		}
		if failures := f.ask(t, false); len(failures) != 1 || failures[0] != errHostQueue.Error() {
			t.Errorf("%q", failures)
		}
		if s := f.Status(); s.Fetches.Dropped != 1 || s.Fetches.Queued != maxQueuedPerHost || s.Fetches.Running != maxPerHost {
			t.Errorf("%+v", s.Fetches)
		}
	})
}

// Who joins a fetch that waits changes what the sources are told. One that runs has told them.
func TestJoiningSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told, open := map[key]bool{}, make(chan struct{})
		var mu sync.Mutex
		p := newPool(func(ctx context.Context, k key) []string {
			mu.Lock()
			told[k] = attestations.IsInsufficient(ctx)
			mu.Unlock()
			<-open
			return nil
		})
		start := func(i int, insufficient bool) {
			if _, _, err := p.start(image("a", i), insufficient); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		start(0, false)
		start(0, true)
		start(1, true)
		start(1, false)
		start(2, false)
		go func() { done <- p.run(ctx) }()
		synctest.Wait()
		start(2, true)
		close(open)
		synctest.Wait()
		start(2, false)
		synctest.Wait()
		for i, want := range []bool{true, true, false} {
			if told[image("a", i)] != want {
				t.Errorf("image %d: told %v", i, !want)
			}
		}
		cancel()
		<-done
	})
}
