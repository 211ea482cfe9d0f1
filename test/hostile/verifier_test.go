package hostile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/stack"
)

// TestVerifierMadeToFail takes the plugin away in ways that test/e2e's TestFailClosed does not know: by the pod's own word, by
// memory, and by a boot with nobody to ask.
func TestVerifierMadeToFail(t *testing.T) {
	t.Parallel()
	s := startSite(t, stack.Options{}, nil)
	attested, other := s.pushSigned(t, "fail/attested"), s.push(t, "fail/other")
	expectStarts(t, s.run(t, prod, attested))
	expectDenied(t, s.run(t, prod, other))
	for _, row := range []struct {
		name string
		do   func(t *testing.T, attested, other string)
	}{
		{"pod that tolerates a missing plugin", s.testTolerates},
		{"pod that requires another plugin", s.testRequiresAnother},
		{"out of memory", s.testOutOfMemory},
		{"boot with nobody to ask", s.testBoot},
	} {
		if !t.Run(row.name, func(t *testing.T) { row.do(t, attested, other) }) {
			return // the node is not as the next one expects it
		}
	}
}

// annotations are what NRI's own validator looks for, for one container, for the whole pod, and in the short form.
func annotations(name, value string) map[string]string {
	return map[string]string{name + "/container.main": value, name + "/pod": value, name: value}
}

// tolerations say by every name known that the pod does without the plugin.
func tolerations() map[string]string {
	all := map[string]string{}
	for _, name := range []string{"tolerate-missing-plugins.noderesource.dev", "tolerate-missing-plugins", "tolerate-missing-required-plugins.noderesource.dev"} {
		for key, value := range annotations(name, "true") {
			all[key] = value
		}
	}
	return all
}

func (s *site) testTolerates(t *testing.T, attested, other string) {
	ids := map[string]string{attested: s.pull(t, attested), other: s.pull(t, other)}
	pod := s.newPod(t, cluster.PodSpec{Namespace: prod, Annotations: tolerations()})
	run := func(image string) error {
		return s.runIn(t, pod, cluster.ContainerSpec{Image: ids[image], UserSpecifiedImage: image, Annotations: tolerations()})
	}
	expectDenied(t, run(other))
	check(t, s.Plugin.Kill())
	for image := range ids {
		expectNoPlugin(t, run(image))
	}
	check(t, s.StartPlugin(t.Context()))
	expectDenied(t, run(other))
	expectStarts(t, run(attested))
}

// testRequiresAnother: who demands more than the node gets nothing started, and who demands nothing is not excused.
func (s *site) testRequiresAnother(t *testing.T, attested, other string) {
	ids := map[string]string{attested: s.pull(t, attested), other: s.pull(t, other)}
	for name, row := range map[string]struct {
		plugins string
		starts  bool
	}{
		"one that is not there": {"[another]", false},
		"none":                  {"[]", true},
		"ours":                  {"[kritis]", true},
	} {
		t.Run(name, func(t *testing.T) {
			pod := s.newPod(t, cluster.PodSpec{Namespace: prod, Annotations: annotations("required-plugins.noderesource.dev", row.plugins)})
			run := func(image string) error {
				return s.runIn(t, pod, cluster.ContainerSpec{Image: ids[image], UserSpecifiedImage: image})
			}
			expectError(t, run(other))
			if row.starts {
				expectStarts(t, run(attested))
			} else {
				expectError(t, run(attested), "another")
			}
			check(t, s.Plugin.Kill())
			for image := range ids {
				expectNoPlugin(t, run(image))
			}
			check(t, s.StartPlugin(t.Context()))
			expectStarts(t, s.run(t, prod, attested))
		})
	}
}

// testOutOfMemory takes all further memory from the running plugin and gives it a policy that is larger than what it has.
func (s *site) testOutOfMemory(t *testing.T, attested, other string) {
	id := s.pull(t, other)
	none := unix.Rlimit{Cur: 1 << 20, Max: 1 << 20}
	check(t, unix.Prlimit(s.Plugin.PID(), unix.RLIMIT_DATA, &none, nil))
	const files, patterns = 8, 5000
	for i := range files {
		list := make([]string, patterns)
		for j := range list {
			list[j] = fmt.Sprintf("registry.example/a-long-name-that-takes-memory/of-%d-and-of-%d", i, j)
		}
		write(t, filepath.Join(s.PolicyDir(), fmt.Sprintf("large-%d.yaml", i)), []byte(stack.Allowlist(fmt.Sprintf("large-%d", i), list...)))
	}
	check(t, cluster.Await(t.Context(), "the plugin to run out of memory", func(context.Context) error {
		if s.runAs(t, prod, id, other) == nil {
			t.Fatal("it started, and should not")
		}
		if s.Plugin.Running() {
			return errors.New("it still runs")
		}
		return nil
	}))
	for _, image := range []string{attested, other} {
		expectNoPlugin(t, s.run(t, prod, image))
	}
	for i := range files {
		check(t, os.Remove(filepath.Join(s.PolicyDir(), fmt.Sprintf("large-%d.yaml", i))))
	}
	check(t, s.StartPlugin(t.Context()))
	s.awaitStarts(t, prod, attested)
	expectDenied(t, s.run(t, prod, other))
}

// testBoot cuts the power. When the node comes back there is neither agent nor registry, and at first no plugin.
func (s *site) testBoot(t *testing.T, attested, other string) {
	ids := map[string]string{attested: s.pull(t, attested), other: s.pull(t, other)}
	check(t, s.Agent.Kill())
	check(t, s.Plugin.Kill())
	check(t, s.Registry.Stop(t.Context()))
	check(t, s.Node.Crash(t.Context()))
	check(t, s.Node.StartContainerd(t.Context()))
	clear(s.pods)
	for image, id := range ids {
		for _, namespace := range []string{prod, sandbox, "kube-system"} {
			expectNoPlugin(t, s.runAs(t, namespace, id, image))
		}
	}
	check(t, s.StartPlugin(t.Context()))
	expectStarts(t, s.runAs(t, prod, ids[attested], attested))
	expectRefused(t, s.runAs(t, prod, ids[other], other))
	expectStarts(t, s.runAs(t, sandbox, ids[other], other))
	check(t, s.Registry.Start(t.Context()))
	check(t, s.StartAgent(t.Context()))
	s.awaitStarts(t, prod, attested)
	expectRefused(t, s.runAs(t, prod, ids[other], other))
}
