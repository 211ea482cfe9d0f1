package policyagent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/kritis-node/kritis-node/policyagent/nodestate"
	"github.com/kritis-node/kritis-node/verifier"
)

// pods is a source of pods that a test feeds.
type pods struct{ changes chan []Pod }

func (p *pods) Name() string { return "test pods" }

func (p *pods) Watch(ctx context.Context, onChange func([]Pod, error)) error {
	onChange(nil, errors.New("not yet"))
	for {
		select {
		case <-ctx.Done():
			return nil
		case c := <-p.changes:
			onChange(c, nil)
		}
	}
}

func governing(namespaces ...string) verifier.Document {
	var d verifier.Document
	for _, n := range namespaces {
		d.Policies = append(d.Policies, verifier.PolicySpec{Namespace: n, Name: "p", AuthorityNames: []string{"qa"}, TagPolicy: "Resolve"})
	}
	return d
}

// The whole way: a pod is bound, and its attestations are there before the plugin asks.
func TestPrefetch(t *testing.T) {
	source := &pods{make(chan []Pod)}
	f := start(t, t.TempDir(), func(c *Config) { c.Pods = source })
	f.source.gives("", "payload")
	f.policies.say(governing("default"), nil)
	source.changes <- []Pod{{Namespace: "default", Images: []string{testKey.String(), "registry.example/tagged:v1", "no image !"}}, {Namespace: "free", Images: []string{"registry.example/free@" + string(digest('b'))}}}
	await(t, func() bool { _, err := f.state.Attestations(testKey.repository, testKey.digest); return err == nil })
	counts, waiting := f.prefetch.load()
	if counts.begun != 1 || waiting != 0 || f.source.count() != 1 {
		t.Errorf("%+v, %d wait, the source was asked %d times", counts, waiting, f.source.count())
	}
	// A policy that comes later governs pods that are there.
	f.policies.say(governing("default", "free"), nil)
	await(t, func() bool { _, err := f.state.Attestations("registry.example/free", digest('b')); return err == nil })
	if f.source.count() != 2 {
		t.Errorf("the source was asked %d times", f.source.count())
	}
}

func await(t *testing.T, done func() bool) {
	t.Helper()
	for i := 0; !done(); i++ {
		if i == 2000 {
			t.Fatal("it did not happen")
		}
		pause()
	}
}

// asked is a fetch that a test observes.
type asked struct {
	mu        sync.Mutex
	keys      []string
	now, most int
	gate      chan struct{}
	err       error
}

func (a *asked) fetch(ctx context.Context, r nodestate.FetchRequest) (nodestate.FetchResponse, error) {
	a.mu.Lock()
	a.keys = append(a.keys, key{r.Repository, r.Digests[0]}.String())
	a.now++
	a.most = max(a.most, a.now)
	a.mu.Unlock()
	select {
	case <-a.gate:
	case <-ctx.Done():
	}
	a.mu.Lock()
	a.now--
	a.mu.Unlock()
	return nodestate.FetchResponse{}, a.err
}

func images(n int) []Pod {
	all := make([]Pod, n)
	for i := range all {
		all[i] = Pod{Namespace: "default", Images: []string{fmt.Sprintf("registry.example/app%d@%s", i, digest('a'))}}
	}
	return all
}

func TestPrefetchBounds(t *testing.T) {
	for name, c := range map[string]struct{ pods, begun, skipped int }{
		"one":      {1, 1, 0},
		"all":      {maxWanted, maxWanted, 0},
		"one more": {maxWanted + 1, maxWanted, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			a := &asked{gate: make(chan struct{})}
			p := newPrefetcher(a.fetch)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- p.run(ctx) }()
			p.govern(governing("default"))
			p.expect(images(c.pods))
			synctest.Wait()
			if want := min(c.pods, prefetchers); a.most != want {
				t.Errorf("%s: %d at once, want %d", name, a.most, want)
			}
			close(a.gate)
			synctest.Wait()
			counts, waiting := p.load()
			if int(counts.begun) != c.begun || int(counts.skipped) != c.skipped || waiting != 0 || len(p.done) != c.begun {
				t.Errorf("%s: %+v, %d wait, %d done", name, counts, waiting, len(p.done))
			}
			// What is there is not fetched again; what was gone and comes back is.
			p.expect(images(c.pods))
			synctest.Wait()
			p.expect(nil)
			if again, _ := p.load(); again.begun != counts.begun || len(p.done) != 0 {
				t.Errorf("%s: fetched again: %+v, %d remembered", name, again, len(p.done))
			}
			cancel()
			<-done
		})
	}
}

func TestPrefetchFailuresAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &asked{gate: make(chan struct{}), err: errors.New("no")}
		close(a.gate)
		p := newPrefetcher(a.fetch)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- p.run(ctx) }()
		p.govern(governing("default"))
		p.expect(images(3))
		synctest.Wait()
		if counts, _ := p.load(); counts.failed != 3 {
			t.Errorf("%+v", counts)
		}
		if !slices.Contains(a.keys, "registry.example/app1@"+string(digest('a'))) {
			t.Error(a.keys)
		}
		cancel()
		<-done
	})
}

// What is known is not asked for again, however old it is: the plugin says if it does not suffice.
func TestPrefetchLeavesWhatIsKnown(t *testing.T) {
	f := start(t, t.TempDir())
	for name, c := range map[string]struct {
		record nodestate.Record
		want   int
	}{
		"attested": {nodestate.Record{Repository: "r.example/a", Digest: digest('a'), Attestations: []verifier.Attestation{{Format: verifier.FormatKritis, Payload: []byte("x")}}}, 0},
		"none":     {nodestate.Record{Repository: "r.example/b", Digest: digest('a')}, 1},
		"failed":   {nodestate.Record{Repository: "r.example/c", Digest: digest('a'), Attestations: []verifier.Attestation{{Format: verifier.FormatKritis, Payload: []byte("x")}}, Failures: []string{"x"}}, 1},
	} {
		if err := f.state.WriteRecord(c.record); err != nil {
			t.Fatal(err)
		}
		before := f.source.count()
		if _, err := f.fetchAhead(t.Context(), nodestate.FetchRequest{Repository: c.record.Repository, Digests: []verifier.Digest{c.record.Digest}}); err != nil {
			t.Fatal(err)
		}
		if got := f.source.count() - before; got != c.want {
			t.Errorf("%s: asked %d times", name, got)
		}
	}
}
