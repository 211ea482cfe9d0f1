package host

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kritis-node/kritis-node/test/cluster"
)

func (s *node) dropIn() string {
	return filepath.Join(s.Node.Dir(), "conf.d", "90-kritis-required.toml")
}

func (s *node) read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	check(t, err)
	return data
}

// gone says whether a file is not there.
func gone(path string) bool {
	_, err := os.Lstat(path)
	return os.IsNotExist(err)
}

// TestRequire shows on the real runtime that after the command absence denies, also after a reboot, and that undoing it
// leaves the configuration byte by byte as it was.
func TestRequire(t *testing.T) {
	s := startNode(t)
	before := s.read(t, s.config())
	if out := s.runs(t, s.Program, 2, s.requireArgs("--yes", "--restart")...); !strings.Contains(out, "has to run before it is required") {
		t.Errorf("without a plugin: %s", out)
	}
	s.install(t, s.Program)

	shown := s.runs(t, s.Program, 0, s.requireArgs()...)
	for _, want := range []string{"+++ " + s.dropIn(), "+imports = [", `+  required_plugins = ["kritis"]`, "nothing was changed", "--yes"} {
		if !strings.Contains(shown, want) {
			t.Errorf("%q is missing in:\n%s", want, shown)
		}
	}
	if !bytes.Equal(s.read(t, s.config()), before) || !gone(s.dropIn()) {
		t.Fatal("showing changed something")
	}

	s.runs(t, s.Program, 0, s.requireArgs("--yes", "--restart")...)
	status, err := s.Status(t.Context())
	check(t, err)
	if status.Mode != "enforcing" || !status.Required {
		t.Errorf("mode %q, required %t", status.Mode, status.Required)
	}
	s.enforces(t)
	if again := s.runs(t, s.Program, 0, s.requireArgs("--yes", "--restart")...); !strings.Contains(again, "already") {
		t.Errorf("again: %s", again)
	}
	if info, err := os.Stat(s.config()); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("config.toml: %v, %v, want the mode that it had", info.Mode(), err)
	}

	t.Run("reboot", func(t *testing.T) {
		check(t, s.Node.KillContainerd())
		check(t, s.Agent.Kill())
		check(t, s.systemd.PowerOff())
		check(t, s.Node.StartContainerd(t.Context()))
		s.startsNothing(t)
		check(t, s.systemd.Boot()) // before the kubelet, and without the agent
		s.enforces(t)
	})

	s.runs(t, s.Program, 0, s.requireArgs("--undo", "--yes")...)
	s.runs(t, s.Program, 0, s.requireArgs("--undo", "--yes", "--restart")...) // the restart that the first left out
	if !bytes.Equal(s.read(t, s.config()), before) || !gone(s.dropIn()) {
		t.Errorf("undoing left something:\n%s", s.read(t, s.config()))
	}
	_, pid, _ := s.systemd.State(pluginUnit)
	if pid == 0 {
		t.Fatal("the plugin does not run")
	}
	check(t, s.systemd.PowerOff())
	s.startsEverything(t)
}

// TestRequireRefused shows what a node is not made to require.
func TestRequireRefused(t *testing.T) {
	s := startNode(t)
	check(t, s.StartPlugin(t.Context(), "--placement", "pod"))
	if out := s.runs(t, s.Program, 2, s.requireArgs("--yes")...); !strings.Contains(out, "runs in a pod") {
		t.Errorf("in a pod: %s", out)
	}
	check(t, s.Plugin.Stop(t.Context()))
	check(t, s.StartPlugin(t.Context())) // says host, and systemd does not know of it
	if out := s.runs(t, s.Program, 2, s.requireArgs("--yes")...); !strings.Contains(out, "enabled at boot") {
		t.Errorf("no service: %s", out)
	}
	check(t, s.Plugin.Stop(t.Context()))
}

// TestRequireTakenBack shows that a containerd that does not come back is given its old configuration.
func TestRequireTakenBack(t *testing.T) {
	s := startNode(t)
	before := s.read(t, s.config())
	s.install(t, s.Program)
	s.systemd.FailRestart(containerd, true)
	if out := s.runs(t, s.Program, 2, s.requireArgs("--yes", "--restart")...); !strings.Contains(out, "taken back") {
		t.Errorf("%s", out)
	}
	if !bytes.Equal(s.read(t, s.config()), before) || !gone(s.dropIn()) {
		t.Error("the change stayed")
	}
	s.systemd.FailRestart(containerd, false)
	s.enforces(t)
}

// TestRemoveWhileRequired shows that uninstalling leaves a node that starts pods, never one that starts nothing.
func TestRemoveWhileRequired(t *testing.T) {
	s := startNode(t)
	s.install(t, s.Program)
	remove := s.hostArgs("--remove")

	s.runs(t, s.Program, 0, s.requireArgs("--yes", "--restart")...)
	t.Run("containerd cannot be restarted", func(t *testing.T) {
		s.systemd.FailRestart(containerd, true)
		if out := s.runs(t, s.Program, 2, remove...); !strings.Contains(out, "stays on this node") {
			t.Errorf("%s", out)
		}
		s.enforces(t)
		s.systemd.FailRestart(containerd, false)
	})
	t.Run("required by somebody else", func(t *testing.T) {
		foreign := filepath.Join(s.Node.Dir(), "conf.d", "10-site.toml")
		check(t, os.MkdirAll(filepath.Dir(foreign), 0o755))
		// The first attempt took our files away already.
		text := append([]byte("imports = [\""+filepath.Dir(foreign)+"/*.toml\"]\n"), s.read(t, s.config())...)
		original := s.read(t, s.config())
		check(t, os.WriteFile(s.config(), text, 0o640))
		check(t, os.WriteFile(foreign, []byte("version = 3\n[plugins.'io.containerd.nri.v1.nri'.default_validator]\nenable = true\nrequired_plugins = ['kritis']\n"), 0o644))
		check(t, s.Node.RestartContainerd(t.Context()))
		if out := s.runs(t, s.Program, 2, remove...); !strings.Contains(out, "did not write") {
			t.Errorf("%s", out)
		}
		check(t, cluster.Await(t.Context(), "the plugin to be back", func(ctx context.Context) error { return s.Run(ctx, prod, s.signed) }))
		s.enforces(t)
		check(t, os.Remove(foreign))
		check(t, os.WriteFile(s.config(), original, 0o640))
	})
	t.Run("undone by hand, and containerd not restarted", func(t *testing.T) {
		s.runs(t, s.Program, 0, remove...) // containerd still runs with the requirement
		s.startsEverything(t)
		if state, _, _ := s.systemd.State(pluginUnit); state != "inactive" || len(s.files(t, "bin")) > 0 {
			t.Errorf("the service is %s, programs %s", state, s.files(t, "bin"))
		}
	})
	t.Run("required by our drop-in", func(t *testing.T) {
		s.install(t, s.Program)
		s.runs(t, s.Program, 0, s.requireArgs("--yes", "--restart")...)
		s.enforces(t)
		s.runs(t, s.Program, 0, remove...)
		s.startsEverything(t)
		if !gone(s.dropIn()) {
			t.Error("the drop-in is left")
		}
	})
}
