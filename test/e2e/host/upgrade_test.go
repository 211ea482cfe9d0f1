package host

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/kritis-node/kritis-node/test/cluster"
)

// storm creates unsigned containers all the while, and signed ones between them.
type storm struct {
	stop      chan struct{}
	done      sync.WaitGroup
	asked     atomic.Int64
	retried   atomic.Int64
	mu        sync.Mutex
	started   []string // that should not have
	refused   []error  // of signed ones
	absent    int      // denials because no plugin was there
	succeeded int
}

// startStorm begins, with two clients. It must be ended.
func (s *node) startStorm(t *testing.T) *storm {
	t.Helper()
	st := &storm{stop: make(chan struct{})}
	for range 2 {
		pod, err := s.Node.CRI().RunPod(t.Context(), cluster.PodSpec{Namespace: prod})
		check(t, err)
		st.done.Go(func() {
			for {
				select {
				case <-st.stop:
					return
				default:
				}
				st.create(t.Context(), s, pod)
			}
		})
	}
	check(t, st.await(t, 6))
	return st
}

func (st *storm) create(ctx context.Context, s *node, pod string) {
	for _, image := range []string{s.unsigned, s.signed} {
		spec := cluster.ContainerSpec{Image: image, UserSpecifiedImage: image}
		id, err := s.Node.CRI().CreateContainer(ctx, pod, spec)
		if err != nil && image == s.signed && strings.Contains(err.Error(), "ttrpc: closed") {
			// The call was under way in the plugin that was stopped. A kubelet tries again, and so does this.
			st.retried.Add(1)
			id, err = s.Node.CRI().CreateContainer(ctx, pod, spec)
		}
		if err == nil && image == s.signed {
			err = s.Node.CRI().RemoveContainer(ctx, id)
		}
		st.mu.Lock()
		switch {
		case err == nil && image == s.unsigned:
			st.started = append(st.started, id)
		case err == nil:
			st.succeeded++
		case strings.Contains(err.Error(), "not present"):
			st.absent++
		case image == s.signed:
			st.refused = append(st.refused, err)
		}
		st.mu.Unlock()
	}
	st.asked.Add(1)
}

// await waits until so many more rounds were made.
func (st *storm) await(t *testing.T, more int64) error {
	want := st.asked.Load() + more
	return cluster.Await(t.Context(), "containers to be created", func(context.Context) error {
		if st.asked.Load() < want {
			return errors.New("too few yet")
		}
		return nil
	})
}

// end stops the storm and expects that no unsigned container was created and every signed one was.
func (st *storm) end(t *testing.T) {
	t.Helper()
	check(t, st.await(t, 6))
	close(st.stop)
	st.done.Wait()
	if len(st.started) > 0 {
		t.Errorf("%d unsigned containers were created", len(st.started))
	}
	if len(st.refused) > 0 {
		t.Errorf("%d signed containers were refused, the first: %v", len(st.refused), st.refused[0])
	}
	if st.absent > 0 {
		t.Errorf("%d times the plugin was absent", st.absent)
	}
	if st.succeeded == 0 {
		t.Error("no signed container was created")
	}
	t.Logf("%d rounds, %d signed containers created, %d of them at the second try", st.asked.Load(), st.succeeded, st.retried.Load())
}

// TestUpgrade shows that another version takes over without a moment in which nobody decides: on a node that does not
// require the plugin no unsigned container starts, on one that does every signed one starts. A downgrade is the same.
func TestUpgrade(t *testing.T) {
	s := startNode(t)
	one, two := s.version(t, "1"), s.version(t, "2")
	s.install(t, one)
	first := s.revision(t)
	for _, row := range []struct {
		name    string
		prepare func(t *testing.T)
		to      string
	}{
		{"best effort", func(*testing.T) {}, two},
		{"required", func(t *testing.T) { s.runs(t, two, 0, s.requireArgs("--yes", "--restart")...) }, one},
		{"required, by other flags only", func(*testing.T) {}, one},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.prepare(t)
			before := s.revision(t)
			more := []string{"--once"}
			args := s.hostArgs(more...)
			if row.name == "required, by other flags only" {
				args = append(args, "--fetch-budget", "700ms")
			}
			st := s.startStorm(t)
			s.runs(t, row.to, 0, args...)
			st.end(t)
			if s.revision(t) == before {
				t.Error("the version that runs is the old one")
			}
			if state, _, _ := s.systemd.State(nextUnit); state != "inactive" {
				t.Errorf("the stand-in is %s", state)
			}
			if left := s.files(t, "runtime-units"); len(left) > 0 {
				t.Errorf("left: %s", left)
			}
			s.enforces(t)
		})
	}
	if first == "" || len(s.files(t, "bin")) != 2 {
		t.Errorf("programs: %s, want the one that runs and the one before", s.files(t, "bin"))
	}
}

// TestBrokenUpgrade shows that a version that does not come up leaves the old one alone.
func TestBrokenUpgrade(t *testing.T) {
	s := startNode(t)
	s.install(t, s.version(t, "1"))
	before := s.revision(t)
	_, pid, _ := s.systemd.State(pluginUnit)
	st := s.startStorm(t)
	for _, flags := range [][]string{
		{"--no-such-flag"}, // ends at once
		{"--nri-socket", s.path("nowhere.sock"), "--required", "no", "--state-dir", s.path("empty-state")}, // ready, and never registered
	} {
		s.runs(t, s.Program, 2, append(s.hostArgs("--once"), flags...)...)
	}
	st.end(t)
	if _, now, _ := s.systemd.State(pluginUnit); now != pid || s.revision(t) != before {
		t.Error("the old version was touched")
	}
	if state, _, _ := s.systemd.State(nextUnit); state != "inactive" {
		t.Errorf("the new version still tries: %s", state)
	}
	s.install(t, s.version(t, "2"))
	s.enforces(t)
}
