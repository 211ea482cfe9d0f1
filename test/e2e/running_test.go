package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/kritis-node/kritis-node/plugin"
	"github.com/kritis-node/kritis-node/policyagent/nodestate"
	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/stack"
)

// TestRunning shows that containers that run already are found when they are not to run, and that nothing else is.
func TestRunning(t *testing.T) {
	onEachVersion(t, stack.Options{NotRequired: true}, func(t *testing.T, s *site) {
		check(t, s.Plugin.Stop(t.Context()))
		check(t, s.StartPlugin(t.Context(), "--recheck-interval", "4s"))
		for _, test := range []struct {
			name string
			run  func(*testing.T)
		}{
			{"policy comes later", s.testPolicyLater},
			{"the authority's key goes", s.testKeyGoes},
			{"started while the plugin was away", s.testStartedWhileAway},
			{"tasks outside of CRI", s.testUnmanaged},
			{"nobody can tell", s.testRunningUnknown},
		} {
			t.Run(test.name, test.run)
		}
	})
}

func (s *site) testPolicyLater(t *testing.T) {
	const later = "later"
	attested, unsigned := s.pushSigned(t, "running/attested"), s.push(t, "running/unsigned")
	expectStarts(t, s.run(t, later, attested))
	expectStarts(t, s.run(t, later, unsigned))
	check(t, s.Require(t.Context(), later, s.team))
	f := s.awaitFinding(t, unsigned, nodestate.ResultViolation)
	if f.Namespace != later || f.Reason != "NotAttested" || f.Pod == "" || f.PodUID == "" || f.Missed {
		t.Errorf("%+v", f)
	}
	s.expectNoFinding(t, attested)
	s.expectMetric(t, `kritis_plugin_running_containers{result="violation"} 1`)
	stdout, _ := s.kritis(t, 1, "status", "--socket", s.PluginSocket())
	expectWords(t, stdout, "1 violate policy", "violation: later/pod, image "+unsigned+": NotAttested")
	if line := s.auditLineOf(t, unsigned, "running"); line.Admitted || line.ID != f.ID {
		t.Errorf("audit line: %+v", line)
	}
	s.expectMetric(t, "kritis_plugin_report_failures_total 0") // the agent understands what it is told of findings
	// Once it is signed, nothing is held against it.
	check(t, s.Sign(t.Context(), s.team, unsigned))
	check(t, s.Require(t.Context(), later, s.team, s.stranger))
	s.awaitNoFinding(t, unsigned)
}

func (s *site) testKeyGoes(t *testing.T) {
	const keys = "keys"
	image := s.push(t, "running/keys")
	check(t, s.Sign(t.Context(), s.stranger, image))
	check(t, s.Require(t.Context(), keys, s.team, s.stranger))
	expectStarts(t, s.run(t, keys, image))
	s.expectNoFinding(t, image)
	check(t, s.Require(t.Context(), keys, s.team))
	s.awaitFinding(t, image, nodestate.ResultViolation)
	check(t, s.Require(t.Context(), keys, s.team, s.stranger))
	s.awaitNoFinding(t, image)
}

func (s *site) testStartedWhileAway(t *testing.T) {
	attested, unsigned := s.pushSigned(t, "running/away-attested"), s.push(t, "running/away")
	check(t, s.Plugin.Pause(t.Context()))
	// A stopped plugin is dropped by the runtime at the first call that it does not answer.
	s.awaitStarts(t, prod, attested)
	s.awaitStarts(t, prod, unsigned)
	check(t, s.Plugin.Resume())
	f := s.awaitFinding(t, unsigned, nodestate.ResultViolation)
	if !f.Missed {
		t.Errorf("it does not say that no decision was made: %+v", f)
	}
	s.expectNoFinding(t, attested)
}

// ctr and nerdctl start tasks that CRI does not know, in any containerd namespace.
func (s *site) testUnmanaged(t *testing.T) {
	image := s.push(t, "running/ctr")
	byHand := filepath.Base(s.Dir) + "-" // runc knows the containers of all nodes of this machine
	for _, namespace := range []string{"default", "k8s.io"} {
		id := byHand + strings.ReplaceAll(namespace, ".", "")
		s.ctr(t, namespace, "images", "pull", "--plain-http", image)
		s.ctr(t, namespace, "run", "--detach", image, id)
		t.Cleanup(func() {
			s.ctrAfter(t, namespace, "task", "kill", "--signal", "SIGKILL", id)
			s.ctrAfter(t, namespace, "task", "rm", "--force", id)
			s.ctrAfter(t, namespace, "container", "rm", id)
			s.ctrAfter(t, namespace, "images", "rm", image)
		})
	}
	s.lookAgain(t)
	for _, namespace := range []string{"default", "k8s.io"} {
		err := cluster.Await(t.Context(), "the task in namespace "+namespace, func(ctx context.Context) error {
			status, err := s.Status(ctx)
			if err == nil && !slices.ContainsFunc(status.Running.Findings, func(f nodestate.Finding) bool {
				return f.Result == nodestate.ResultUnmanaged && f.Runtime == namespace && strings.HasPrefix(f.ID, byHand) && f.Image == image && f.Reason == plugin.UnmanagedTask
			}) {
				err = fmt.Errorf("it is not there: %+v", status.Running)
			}
			return err
		})
		check(t, err)
	}
	s.expectMetric(t, `kritis_plugin_running_containers{result="unmanaged"} 2`)
}

// While the registry is away nothing is known of an image that was never asked about.
func (s *site) testRunningUnknown(t *testing.T) {
	const unknown = "unknown"
	image := s.pushSigned(t, "running/unknown")
	expectStarts(t, s.run(t, unknown, image))
	check(t, s.Registry.Stop(t.Context()))
	check(t, s.Require(t.Context(), unknown, s.team))
	s.awaitFinding(t, image, nodestate.ResultUnknown)
	check(t, s.Registry.Start(t.Context()))
	s.lookAgain(t)
	s.awaitNoFinding(t, image)
}

// TestStop shows that what violates policy is stopped if that is wanted, and what else is not.
func TestStop(t *testing.T) {
	s := startSite(t, stack.Options{NotRequired: true})
	const stops, spared, gone = "stops", "spared", "gone"
	check(t, s.Plugin.Stop(t.Context()))
	check(t, s.StartPlugin(t.Context(), "--on-violation", "Stop", "--stop-grace-period", "1s", "--stops-per-minute", "30", "--never-stop", "spa*", "--recheck-interval", "5s"))

	attested := s.pushSigned(t, "stop/attested")
	var images []string
	for range 2 {
		images = append(images, s.push(t, "stop/unsigned"))
	}
	unknown := s.pushSigned(t, "stop/unknown")
	ids := map[string]string{}
	start := func(namespace, image string) {
		id, err := s.runSpec(t, namespace, cluster.ContainerSpec{Name: fmt.Sprint("c", len(ids)), Image: s.pull(t, image), UserSpecifiedImage: image})
		check(t, err)
		ids[namespace+" "+image] = id
	}
	for _, namespace := range []string{stops, spared, "kube-system"} {
		start(namespace, images[0])
	}
	start(stops, attested)
	start(stops, images[1])
	start(gone, unknown)
	var objects []string
	for _, namespace := range []string{stops, spared, "kube-system"} {
		authority, err := stack.Authority(namespace, "team", "", s.team)
		check(t, err)
		objects = append(objects, authority, stack.Policy(namespace, "only-team", "", "team"))
	}
	check(t, s.WritePolicies(t.Context(), "stop.yaml", objects...))
	for _, image := range images {
		id := ids[stops+" "+image]
		err := cluster.Await(t.Context(), "container "+id+" to be stopped", func(ctx context.Context) error {
			state, err := s.Node.CRI().ContainerState(ctx, id)
			if err == nil && state != runtime.ContainerState_CONTAINER_EXITED {
				err = fmt.Errorf("it is in state %s", state)
			}
			return err
		})
		if err != nil {
			status, _ := s.Status(context.WithoutCancel(t.Context()))
			t.Logf("%+v", status.Running)
		}
		check(t, err)
	}
	// Nobody can tell about this one: the agent is away.
	check(t, s.Registry.Stop(t.Context()))
	check(t, s.Require(t.Context(), gone, s.team))
	s.awaitFinding(t, unknown, nodestate.ResultUnknown)
	s.awaitPasses(t, 3)
	for what, id := range ids {
		state, err := s.Node.CRI().ContainerState(t.Context(), id)
		check(t, err)
		stopped := strings.HasPrefix(what, stops+" ") && !strings.HasSuffix(what, attested)
		if (state == runtime.ContainerState_CONTAINER_EXITED) != stopped {
			t.Errorf("%s is in state %s", what, state)
		}
	}
	s.expectMetric(t, `kritis_plugin_stops_total{result="stopped"} 2`)
	s.expectMetric(t, `kritis_plugin_stop_on_violation 1`)
	for _, image := range images {
		s.auditLineOf(t, image, "stop")
	}
	check(t, s.Registry.Start(t.Context()))
}

// awaitFinding waits until the plugin has found that a container of the image runs, with a result.
func (s *site) awaitFinding(t *testing.T, image string, result nodestate.Result) (found nodestate.Finding) {
	t.Helper()
	err := cluster.Await(t.Context(), "the finding about "+image, func(ctx context.Context) error {
		status, err := s.Status(ctx)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(status.Running.Findings, func(f nodestate.Finding) bool { return f.Image == image && f.Result == result })
		if i < 0 {
			return fmt.Errorf("there is none: %+v", status.Running)
		}
		found = status.Running.Findings[i]
		return nil
	})
	check(t, err)
	return found
}

func (s *site) findings(t *testing.T, ctx context.Context, image string) error {
	t.Helper()
	status, err := s.Status(ctx)
	if err != nil {
		return err
	}
	for _, f := range status.Running.Findings {
		if f.Image == image {
			return fmt.Errorf("there is one: %+v", f)
		}
	}
	return nil
}

// expectNoFinding expects that nothing is held against the image.
func (s *site) expectNoFinding(t *testing.T, image string) {
	t.Helper()
	check(t, s.findings(t, t.Context(), image))
}

func (s *site) awaitNoFinding(t *testing.T, image string) {
	t.Helper()
	check(t, cluster.Await(t.Context(), "the finding about "+image+" to go", func(ctx context.Context) error { return s.findings(t, ctx, image) }))
}

// lookAgain makes the plugin look at what runs: a change of the rules does.
func (s *site) lookAgain(t *testing.T) {
	t.Helper()
	check(t, s.WritePolicies(t.Context(), "again.yaml", stack.Allowlist("again", fmt.Sprintf("nowhere.example/%d", time.Now().UnixNano()))))
}

// awaitPasses waits until the plugin has looked at everything so many times more.
func (s *site) awaitPasses(t *testing.T, n int) {
	t.Helper()
	var last time.Time
	err := cluster.Await(t.Context(), "the plugin to look again", func(ctx context.Context) error {
		status, err := s.Status(ctx)
		if err != nil {
			return err
		}
		if at := status.Running.LookedAt; !at.Equal(last) {
			last = at
			n--
		}
		if n >= 0 {
			return fmt.Errorf("%d looks are missing", n+1)
		}
		return nil
	})
	check(t, err)
}

func (s *site) ctr(t *testing.T, namespace string, args ...string) {
	t.Helper()
	check(t, s.runCtr(t.Context(), namespace, args...))
}

// ctrAfter is for cleaning up, when the test's context has ended.
func (s *site) ctrAfter(t *testing.T, namespace string, args ...string) {
	t.Helper()
	if err := s.runCtr(context.WithoutCancel(t.Context()), namespace, args...); err != nil {
		t.Log(err)
	}
}

func (s *site) runCtr(ctx context.Context, namespace string, args ...string) error {
	tools, err := cluster.Tool(ctx, "containerd-2.4")
	if err != nil {
		return err
	}
	args = append([]string{"--address", s.Node.ContainerdSocket(), "--namespace", namespace}, args...)
	output, err := exec.CommandContext(ctx, filepath.Join(tools, "ctr"), args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ctr %s: %w: %s", args[4], err, output)
	}
	return nil
}
