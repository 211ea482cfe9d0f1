package webhook

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/attestations"
	"github.com/kritis-node/kritis-node/verifier"
)

// panicking is a source with a bug.
type panicking struct{}

func (panicking) Name() string { return "panicking" }
func (panicking) Attestations(context.Context, string, verifier.Digest) ([]verifier.Attestation, error) {
	panic("boom")
}

func attestationsOf(sources ...attestations.Source) (*cache[[]verifier.Attestation], map[string]int, func()) {
	counts := map[string]int{}
	e := newEvidence(sources, nil, nil, func(_, result string) { counts[result]++ })
	return e.attestations, counts, e.close
}

// Attestations are kept for minutes, and that there are none; a failure is not kept at all.
func TestHowLongAnswersAreKept(t *testing.T) {
	k := key{repository, string(digest("a"))}
	image := pinned("a")
	for name, tc := range map[string]struct {
		source *source
		after  time.Duration
		want   int // questions
	}{
		"some, a moment later":            {new(source).attest(image), time.Millisecond, 1},
		"some, to the end":                {new(source).attest(image), keptFor - time.Millisecond, 1},
		"some, after it":                  {new(source).attest(image), keptFor, 2},
		"none, to the end":                {new(source), keptFor - time.Millisecond, 1},
		"none, after it":                  {new(source), keptFor, 2},
		"failure":                         {&source{err: errors.New("down")}, 0, 2},
		"failure that brought some along": {func() *source { s := new(source).attest(image); s.err = errors.New("down"); return s }(), 0, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, _, end := attestationsOf(tc.source)
				defer end()
				first, _, err := c.get(t.Context(), k, false)
				time.Sleep(tc.after)
				second, aged, err2 := c.get(t.Context(), k, false)
				if tc.source.count(image) != tc.want || len(first) != len(second) || (err == nil) != (err2 == nil) || (err == nil) != (tc.source.err == nil) {
					t.Errorf("%d questions, %d and %d attestations, %v, %v", tc.source.count(image), len(first), len(second), err, err2)
				}
				if len(first) != len(tc.source.by) || aged != (tc.want == 1 && tc.after >= settledFor) {
					t.Errorf("%d attestations, aged %v", len(first), aged)
				}
			})
		})
	}
}

// Who says that an answer did not do gets another one if it is some time old, and not before.
func TestAskingAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(source).attest(pinned("a"))
		c, _, end := attestationsOf(s)
		defer end()
		k := key{repository, string(digest("a"))}
		for _, step := range []struct {
			after time.Duration
			again bool
			want  int
			told  int // of them, that what was known did not do
		}{{0, false, 1, 0}, {0, true, 1, 0}, {settledFor - 1, true, 1, 0}, {1, false, 1, 0}, {0, true, 2, 1}, {0, true, 2, 1}, {keptFor, false, 3, 1}} {
			time.Sleep(step.after)
			if _, _, err := c.get(t.Context(), k, step.again); err != nil || s.count(pinned("a")) != step.want || s.told[pinned("a")] != step.told {
				t.Errorf("%+v: %d questions, %d told, %v", step, s.count(pinned("a")), s.told[pinned("a")], err)
			}
		}
	})
}

// Who joins a question that waits changes what is told to those who are asked. One that is under way has told them.
func TestJoiningSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{block: make(chan struct{})}
		c, _, end := attestationsOf(s)
		defer end()
		image := func(i int) key { return key{"r.example/r", fmt.Sprintf("sha256:%064d", i)} }
		get := func(i int, again bool) {
			go func() { _, _, _ = c.get(t.Context(), image(i), again) }()
			synctest.Wait()
		}
		for i := range maxPerHost + 1 {
			get(i, false)
		}
		get(0, true)
		get(maxPerHost, true)
		get(maxPerHost, false)
		close(s.block)
		synctest.Wait()
		if under, waiting := s.told["r.example/r@"+image(0).version], s.told["r.example/r@"+image(maxPerHost).version]; under != 0 || waiting != 1 {
			t.Errorf("told %d, %d", under, waiting)
		}
	})
}

// All who want to know the same wait for one answer. Who does not wait long enough gets what is known so far, and the
// question goes on.
func TestOneQuestionForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow, quick := &source{block: make(chan struct{})}, new(source).attest(pinned("a"))
		c, counts, end := attestationsOf(slow, quick)
		defer end()
		k := key{repository, string(digest("a"))}
		for range 100 {
			go func() {
				list, _, err := c.get(t.Context(), k, false)
				if len(list) != 1 || err != nil {
					t.Errorf("%d, %v", len(list), err)
				}
			}()
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		list, _, err := c.get(ctx, k, false)
		if len(list) != 1 || err == nil || err.Error() != textLate {
			t.Errorf("%d, %v", len(list), err)
		}
		close(slow.block)
		synctest.Wait()
		if slow.count(pinned("a")) != 1 || counts["miss"] != 1 || counts["joined"] != 100 {
			t.Errorf("%d questions, %v", slow.count(pinned("a")), counts)
		}
		if list, _, err := c.get(t.Context(), k, false); len(list) != 1 || err != nil || counts["hit"] != 1 {
			t.Errorf("%d, %v, %v", len(list), err, counts)
		}
	})
}

// A registry that hangs holds up nobody else, and whoever asks too much is told so.
func TestQuestionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int32
		hang := make(chan struct{})
		c := newCache(lookup[int]{
			ask: func(_ context.Context, k key, _ func(int)) (int, error) {
				if k.host() == "quick" {
					return 1, nil
				}
				most.Store(max(most.Load(), now.Add(1)))
				defer now.Add(-1)
				<-hang
				return 1, nil
			},
			keep: func(key, int) time.Duration { return time.Minute }, weigh: func(int) int { return 1 }, count: func(string) {},
		})
		ask := func(host string, i int) error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			_, _, err := c.get(ctx, key{host + "/r", fmt.Sprint(i)}, false)
			return err
		}
		for i := range maxPerHost + maxWaitingPerHost {
			if err := ask("slow", i); err == nil || err.Error() != textLate {
				t.Fatal(i, err)
			}
		}
		if most.Load() != maxPerHost {
			t.Errorf("%d at once", most.Load())
		}
		if err := ask("slow", -1); err == nil || err.Error() != "128 other questions to slow wait already" {
			t.Error(err)
		}
		if err := ask("quick", 0); err != nil {
			t.Errorf("a quick registry: %v", err)
		}
		// As many slow registries as there can be questions.
		waiting := maxWaitingPerHost
		for h := 0; ; h++ {
			err := ask(fmt.Sprint("slow", h), 0)
			if err.Error() == "1024 other questions wait already" {
				break
			}
			if err.Error() != textLate || h > maxRunning+maxWaiting {
				t.Fatal(h, err)
			}
			waiting++
		}
		c.mu.Lock()
		if len(c.queue) != maxWaiting || c.total != maxRunning || most.Load() != maxRunning {
			t.Errorf("%d wait, %d run, %d did", len(c.queue), c.total, most.Load())
		}
		c.mu.Unlock()
		close(hang)
		synctest.Wait()
		if err := ask("slow", maxPerHost+maxWaitingPerHost-1); err != nil {
			t.Error(err)
		}
		c.close()
		if len(c.running) != 0 || c.total != 0 || len(c.flights) != 0 {
			t.Errorf("left behind: %v, %d, %d", c.running, c.total, len(c.flights))
		}
	})
}

// What is kept has a limit in number and in bytes.
func TestWhatIsKeptIsBounded(t *testing.T) {
	weight := 1
	c := newCache(lookup[int]{
		ask:  func(context.Context, key, func(int)) (int, error) { return 1, nil },
		keep: func(key, int) time.Duration { return time.Hour }, weigh: func(int) int { return weight }, count: func(string) {},
	})
	defer c.close()
	ask := func(i int) {
		if _, _, err := c.get(t.Context(), key{"r/r", fmt.Sprintf("%06d", i)}, false); err != nil {
			t.Fatal(err)
		}
	}
	for i := range maxKept + 1 {
		ask(i)
	}
	if c.kept.Len() != maxKept || c.bytes != maxKept*(1+len("r/r")+6) {
		t.Errorf("%d kept, %d bytes", c.kept.Len(), c.bytes)
	}
	weight = maxKeptBytes / 4
	for i := range 8 {
		ask(1_000_000 + i)
	}
	if c.bytes > maxKeptBytes || c.kept.Len() != 3 {
		t.Errorf("%d kept, %d bytes", c.kept.Len(), c.bytes)
	}
	weight = maxKeptBytes + 1
	ask(2_000_000)
	if c.kept.Len() != 3 || c.bytes > maxKeptBytes {
		t.Errorf("%d kept, %d bytes", c.kept.Len(), c.bytes)
	}
}

// The end ends questions that are under way and that wait, and takes no more.
func TestCloseEndsQuestions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{block: make(chan struct{})}
		c, _, end := attestationsOf(s)
		for i := range maxPerHost + 3 {
			go func() {
				if _, _, err := c.get(t.Context(), key{"r.example/r", fmt.Sprintf("sha256:%064d", i)}, false); err == nil {
					t.Error("an answer from nowhere")
				}
			}()
		}
		synctest.Wait()
		end()
		if _, _, err := c.get(t.Context(), key{"r.example/r", "x"}, false); err == nil || err.Error() != textClosed {
			t.Error(err)
		}
	})
}

// A source that brings too much is cut off, and that is said.
func TestSourcesAreBounded(t *testing.T) {
	s := new(source)
	s.by = map[string][]verifier.Attestation{pinned("a"): make([]verifier.Attestation, 0, verifier.MaxAttestations+1)}
	for i := range verifier.MaxAttestations + 1 {
		s.by[pinned("a")] = append(s.by[pinned("a")], verifier.Attestation{Payload: fmt.Append(nil, i)})
	}
	c, _, end := attestationsOf(s)
	defer end()
	list, _, err := c.get(t.Context(), key{repository, string(digest("a"))}, false)
	if len(list) != verifier.MaxAttestations || err == nil || err.Error() != "test source: there are more than 256 attestations: remove old ones" {
		t.Errorf("%d, %v", len(list), err)
	}
}
