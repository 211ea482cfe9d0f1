package e2e

import (
	"context"
	"fmt"
	"testing"

	"github.com/kritis-node/kritis-node/plugin"
	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/stack"
)

// TestNoPolicyEverRequired shows that a node that requires the plugin and has never had a policy runs what it needs to
// get one, and nothing else.
func TestNoPolicyEverRequired(t *testing.T) {
	onEachVersion(t, stack.Options{Bare: true}, func(t *testing.T, s *site) {
		attested, unsigned := s.pushSigned(t, "bootstrap/attested"), s.push(t, "bootstrap/unsigned")
		check(t, s.StartPlugin(t.Context()))
		for _, image := range []string{attested, unsigned} {
			for _, namespace := range []string{prod, "sandbox", "default", "kube-system-2"} {
				expectUnverified(t, s.run(t, namespace, image), image)
			}
			expectStarts(t, s.run(t, "kube-system", image))
		}
		stdout, _ := s.kritis(t, 0, "status", "--socket", s.PluginSocket())
		expectWords(t, stdout, plugin.ModeEnforcing, "none has arrived yet")

		startAgent(t, s)
		s.awaitStarts(t, prod, attested)
		expectDenied(t, s.run(t, prod, unsigned), unsigned)
		expectStarts(t, s.run(t, "sandbox", unsigned))
	})
}

// TestNoPolicyEverNotRequired shows that a plugin that nobody requires leaves a node alone that it knows nothing about,
// and begins by itself when a policy arrives.
func TestNoPolicyEverNotRequired(t *testing.T) {
	onEachVersion(t, stack.Options{Bare: true, NotRequired: true}, func(t *testing.T, s *site) {
		attested, unsigned := s.pushSigned(t, "bootstrap/attested"), s.push(t, "bootstrap/unsigned")
		check(t, s.LaunchPlugin(t.Context()))
		s.awaitMode(t, plugin.ModeWaiting)
		stdout, _ := s.kritis(t, 1, "status", "--socket", s.PluginSocket())
		expectWords(t, stdout, plugin.ModeWaiting, "none has arrived yet", "waiting for a first policy snapshot")
		expectStarts(t, s.run(t, prod, unsigned))
		expectStarts(t, s.run(t, "sandbox", unsigned))

		startAgent(t, s)
		check(t, s.Node.WaitNRI(t.Context(), plugin.Name))
		s.awaitMode(t, plugin.ModeBestEffort)
		expectDenied(t, s.run(t, prod, unsigned), unsigned)
		expectStarts(t, s.run(t, prod, attested))
		expectStarts(t, s.run(t, "sandbox", unsigned))
	})
}

// awaitMode waits until the plugin says that it is in the mode.
func (s *site) awaitMode(t *testing.T, mode string) {
	t.Helper()
	check(t, cluster.Await(t.Context(), "mode "+mode, func(ctx context.Context) error {
		status, err := s.Status(ctx)
		if err == nil && status.Mode != mode {
			err = fmt.Errorf("the mode is %s", status.Mode)
		}
		return err
	}))
}
