package e2e

import (
	"strings"
	"testing"

	"github.com/kritis-node/kritis-node/plugin"
	"github.com/kritis-node/kritis-node/test/stack"
)

// TestBestEffort shows that a node which does not require the plugin enforces while the plugin is there, does not while
// it is gone, and says so to people and machines.
func TestBestEffort(t *testing.T) {
	onEachVersion(t, stack.Options{NotRequired: true}, func(t *testing.T, s *site) {
		attested, unsigned := s.pushSigned(t, "effort/attested"), s.push(t, "effort/unsigned")
		expectStarts(t, s.run(t, prod, attested))
		expectDenied(t, s.run(t, prod, unsigned), unsigned)

		stdout, _ := s.kritis(t, 1, "status", "--socket", s.PluginSocket())
		expectWords(t, stdout, plugin.ModeBestEffort, "NotRequired: the runtime does not require the plugin")
		s.expectMetric(t, `kritis_plugin_enforcing{mode="best-effort",why="NotRequired"} 1`)

		check(t, s.Plugin.Kill())
		s.awaitStarts(t, prod, unsigned) // that is the price, as soon as the runtime has seen that the plugin is gone
		_, stderr := s.kritis(t, 2, "status", "--socket", s.PluginSocket())
		expectOneLine(t, stderr, "the plugin does not run on this node")
		check(t, s.StartPlugin(t.Context()))
		expectDenied(t, s.run(t, prod, unsigned), unsigned)
	})
}

// TestEnforcing is the counterpart.
func TestEnforcing(t *testing.T) {
	onEachVersion(t, stack.Options{}, func(t *testing.T, s *site) {
		stdout, _ := s.kritis(t, 0, "status", "--socket", s.PluginSocket())
		expectWords(t, stdout, plugin.ModeEnforcing)
		s.expectMetric(t, `kritis_plugin_enforcing{mode="enforcing",why=""} 1`)
		if strings.Contains(stdout, plugin.ModeBestEffort) {
			t.Errorf("it says best effort: %s", stdout)
		}
	})
}

func (s *site) expectMetric(t *testing.T, line string) {
	t.Helper()
	metrics, err := s.AskPlugin(t.Context(), "/metrics")
	check(t, err)
	for l := range strings.Lines(string(metrics)) {
		if strings.TrimSpace(l) == line {
			return
		}
	}
	t.Errorf("no metric %q in:\n%s", line, metrics)
}

// expectOneLine expects a message for people: one line, with these words.
func expectOneLine(t *testing.T, text string, words ...string) {
	t.Helper()
	if strings.Count(text, "\n") != 1 || !strings.HasSuffix(text, "\n") || !strings.HasPrefix(text, "kritis: ") {
		t.Errorf("it should be one line that begins with the program's name: %q", text)
	}
	expectWords(t, text, words...)
}
