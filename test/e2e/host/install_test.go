package host

import (
	"slices"
	"strings"
	"testing"
)

// TestInstallAndRemove shows that the service enforces once installed, that installing again changes nothing, and that
// nothing but state is left after removal.
func TestInstallAndRemove(t *testing.T) {
	s := startNode(t)
	s.startsEverything(t)
	first := s.version(t, "1")
	s.install(t, first)
	s.enforces(t)
	revision := s.revision(t)

	calls, _, starts := s.systemd.Calls(), "", 0
	_, _, starts = s.systemd.State(pluginUnit)
	s.install(t, first)
	if again := s.systemd.Calls(); !slices.Equal(again, calls) {
		t.Errorf("installing again did %q", again[len(calls):])
	}
	if _, _, now := s.systemd.State(pluginUnit); now != starts || s.revision(t) != revision {
		t.Error("installing again restarted the plugin")
	}

	s.runs(t, first, 0, s.hostArgs("--remove")...)
	s.startsEverything(t)
	for _, dir := range []string{"bin", "units", "runtime-units"} {
		if left := s.files(t, dir); len(left) > 0 && !slices.Equal(left, []string{"multi-user.target.wants"}) {
			t.Errorf("left in %s: %s", dir, strings.Join(left, ", "))
		}
	}
	s.runs(t, first, 0, s.hostArgs("--remove")...) // again: nothing to do
}
