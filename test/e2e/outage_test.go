package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/kritis-node/kritis-node/test/stack"
)

// requestTimeout is the runtime's own for a plugin, of which a decision may use a part only.
const requestTimeout = 2 * time.Second

// TestOutage shows what holds while the registry or the policy agent is out: what is known starts, policies hold, what
// is unknown is told to be unknown, not unattested; and that it heals by itself.
func TestOutage(t *testing.T) {
	onEachVersion(t, stack.Options{}, func(t *testing.T, s *site) {
		known, unsigned := s.pushSigned(t, "outage/known"), s.push(t, "outage/unsigned")
		expectStarts(t, s.run(t, prod, known))
		expectDenied(t, s.run(t, prod, unsigned), unsigned)
		t.Run("registry hangs", func(t *testing.T) { s.testRegistryHangs(t, known, unsigned) })
		t.Run("registry refuses connections", func(t *testing.T) { s.testRegistryStopped(t, known, unsigned) })
		t.Run("agent killed", func(t *testing.T) { s.testAgentKilled(t, known, unsigned) })
		t.Run("agent hangs", func(t *testing.T) { s.testAgentHangs(t, known) })
	})
}

// pushUnknown pushes a signed image that the node has and that plugin and agent know nothing of.
func (s *site) pushUnknown(t *testing.T, repository string) string {
	t.Helper()
	reference := s.pushSigned(t, repository)
	s.pull(t, reference)
	return reference
}

// expectUnverifiedInTime expects that the plugin itself says that it could not tell, before the runtime loses patience.
func (s *site) expectUnverifiedInTime(t *testing.T, reference string) {
	t.Helper()
	s.pod(t, prod, "")
	begin := time.Now()
	err := s.run(t, prod, reference)
	took := time.Since(begin)
	expectUnverified(t, err, reference)
	if took >= requestTimeout {
		t.Errorf("the answer took %s, the runtime waits %s", took, requestTimeout)
	}
}

func (s *site) testRegistryHangs(t *testing.T, known, unsigned string) {
	unknown := s.pushUnknown(t, "outage/unknown")
	check(t, s.Registry.Pause(t.Context()))
	s.expectUnverifiedInTime(t, unknown)
	expectStarts(t, s.run(t, prod, known))
	expectRefused(t, s.run(t, prod, unsigned))
	check(t, s.Registry.Resume())
	s.awaitStarts(t, prod, unknown)
	expectDenied(t, s.run(t, prod, unsigned), unsigned)
}

func (s *site) testRegistryStopped(t *testing.T, known, unsigned string) {
	unknown := s.pushUnknown(t, "outage/refused")
	check(t, s.Registry.Stop(t.Context()))
	s.expectUnverifiedInTime(t, unknown)
	expectStarts(t, s.run(t, prod, known))
	expectRefused(t, s.run(t, prod, unsigned))
	check(t, s.Registry.Start(t.Context()))
	s.awaitStarts(t, prod, unknown)
}

func (s *site) testAgentKilled(t *testing.T, known, unsigned string) {
	unknown := s.pushUnknown(t, "outage/agentless")
	check(t, s.Agent.Kill())
	s.expectUnverifiedInTime(t, unknown)
	expectStarts(t, s.run(t, prod, known))
	expectRefused(t, s.run(t, prod, unsigned))
	expectRefused(t, s.run(t, prod, tagOf(known)))
	expectStarts(t, s.run(t, "sandbox", unsigned))
	// Also a plugin that remembers nothing decides by what the agent left on disk.
	check(t, s.Plugin.Kill())
	check(t, s.StartPlugin(t.Context()))
	expectStarts(t, s.run(t, prod, known))
	expectRefused(t, s.run(t, prod, unsigned))
	startAgent(t, s)
	s.awaitStarts(t, prod, unknown)
	expectDenied(t, s.run(t, prod, unsigned), unsigned)
}

func (s *site) testAgentHangs(t *testing.T, known string) {
	unknown := s.pushUnknown(t, "outage/hanging")
	check(t, s.Agent.Pause(t.Context()))
	s.expectUnverifiedInTime(t, unknown)
	expectStarts(t, s.run(t, prod, known))
	check(t, s.Agent.Resume())
	s.awaitStarts(t, prod, unknown)
}

// kritis runs a kritis command, expects the exit code and returns what it wrote.
func (s *site) kritis(t *testing.T, code int, args ...string) (stdout, stderr string) {
	t.Helper()
	got, stdout, stderr, err := s.Kritis(t.Context(), args...)
	check(t, err)
	if got != code {
		t.Errorf("kritis %s: exit code %d, want %d: %s%s", strings.Join(args, " "), got, code, stdout, stderr)
	}
	return stdout, stderr
}
