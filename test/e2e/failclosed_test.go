package e2e

import (
	"testing"
	"time"

	"github.com/kritis-node/kritis-node/test/stack"
)

// stall is how long a plugin is stopped that is to come back by itself: longer than the runtime waits for it.
const stall = 3 * time.Second

// TestFailClosed shows that on a node that requires the plugin nothing starts unchecked, whatever happens to the
// plugin; and that attested images start again soon after.
func TestFailClosed(t *testing.T) {
	onEachVersion(t, stack.Options{}, func(t *testing.T, s *site) {
		attested, other := s.pushSigned(t, "closed/attested"), s.push(t, "closed/other")
		expectStarts(t, s.run(t, prod, attested))
		expectDenied(t, s.run(t, prod, other), other)
		for _, row := range []struct {
			name string
			// during brings the outage about and shows that nothing starts.
			during func(t *testing.T, s *site, images ...string)
			// end ends it.
			end func(t *testing.T, s *site)
		}{
			{"absent", absent, startPlugin},
			{"stalled and resumed", stalled, resumePlugin},
			{"killed during the call", killedDuringCall, func(t *testing.T, s *site) {
				startAgent(t, s)
				startPlugin(t, s)
			}},
			{"ended by a panic during the call", diesDuringCall("panic"), startPlugin},
			{"exited during the call", diesDuringCall("exit"), startPlugin},
			{"containerd restarted", restarted, func(*testing.T, *site) {}},
			{"containerd killed and started", killed, func(*testing.T, *site) {}},
			// Last, because the plugin then depends on a relay that goes with the row.
			{"connection lost", connectionLost, func(*testing.T, *site) {}},
		} {
			ok := t.Run(row.name, func(t *testing.T) {
				row.during(t, s, attested, other)
				ended := time.Now()
				row.end(t, s)
				s.expectRecovers(t, ended, attested, other)
			})
			if !ok {
				return // the node is not as the next row expects it
			}
		}
	})
}

// expectNothingStarts tries to start each image, where a policy asks and where none does.
func (s *site) expectNothingStarts(t *testing.T, images ...string) {
	t.Helper()
	for _, image := range images {
		for _, namespace := range []string{prod, "sandbox", "kube-system"} {
			expectRefused(t, s.run(t, namespace, image))
		}
	}
}

func startPlugin(t *testing.T, s *site) {
	t.Helper()
	check(t, s.LaunchPlugin(t.Context()))
}

func startAgent(t *testing.T, s *site) {
	t.Helper()
	check(t, s.StartAgent(t.Context()))
}

func resumePlugin(t *testing.T, s *site) {
	t.Helper()
	check(t, s.Plugin.Resume())
}

func absent(t *testing.T, s *site, images ...string) {
	check(t, s.Plugin.Kill())
	s.expectNothingStarts(t, images...)
}

// stalled stops the plugin. The first call runs into the runtime's timeout, whereupon the runtime drops the plugin.
func stalled(t *testing.T, s *site, images ...string) {
	check(t, s.Plugin.Pause(t.Context()))
	for begin := time.Now(); time.Since(begin) < stall; {
		s.expectNothingStarts(t, images...)
	}
}

// killedDuringCall kills the plugin while it waits for an agent that never answers.
func killedDuringCall(t *testing.T, s *site, images ...string) {
	check(t, s.Agent.Stop(t.Context()))
	unknown := s.push(t, "closed/unknown")
	s.pull(t, unknown)
	asked, end, err := s.SilentAgent()
	check(t, err)
	t.Cleanup(end)
	created := make(chan error, 1)
	go func() { created <- s.run(t, prod, unknown) }()
	select {
	case <-asked:
	case err := <-created:
		t.Fatalf("the plugin did not ask the agent: %v", err)
	}
	check(t, s.Plugin.Kill())
	expectRefused(t, <-created)
	s.expectNothingStarts(t, images...)
}

// diesDuringCall puts a plugin in the product's place that dies when it is asked.
func diesDuringCall(fault string) func(t *testing.T, s *site, images ...string) {
	return func(t *testing.T, s *site, images ...string) {
		check(t, s.Plugin.Stop(t.Context()))
		for _, image := range images {
			faulty := s.startFaultyPlugin(t, "validate", fault)
			expectRefused(t, s.run(t, prod, image))
			expectEnded(t, faulty)
		}
		s.expectNothingStarts(t, images...)
	}
}

// connectionLost takes the connection away from a plugin that goes on running.
func connectionLost(t *testing.T, s *site, images ...string) {
	check(t, s.Plugin.Stop(t.Context()))
	relay := startRelay(t, s.Node.NRISocket())
	check(t, s.StartPlugin(t.Context(), "--nri-socket", relay.path))
	expectStarts(t, s.run(t, prod, images[0]))
	relay.cut(t)
	s.expectNothingStarts(t, images...)
	relay.restore(t)
}

func restarted(t *testing.T, s *site, _ ...string) {
	check(t, s.Node.RestartContainerd(t.Context()))
}

func killed(t *testing.T, s *site, _ ...string) {
	check(t, s.Node.KillContainerd())
	check(t, s.Node.StartContainerd(t.Context()))
}
