package host

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kritis-node/kritis-node/test/cluster/systemd"
	"github.com/kritis-node/kritis-node/test/stack"
)

const (
	// prod is the namespace that requires the attestation of the site's key.
	prod       = "prod"
	pluginUnit = "kritis-plugin.service"
	nextUnit   = "kritis-plugin-next.service"
	containerd = "containerd.service"
)

// node is one without a plugin, with an agent, and with what stands in for systemd.
type node struct {
	*stack.Stack
	systemd  *systemd.Manager
	signed   string
	unsigned string
}

func startNode(t *testing.T) *node {
	t.Helper()
	running, err := stack.Start(t.Context(), stack.Options{Bare: true, NotRequired: true})
	check(t, err)
	s := &node{Stack: running}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(s.Logs())
		}
		check(t, s.Close())
	})
	// As containerd's own default configuration has it, from 2.2 on; the tests' own has an empty list.
	config := s.config()
	text, err := os.ReadFile(config)
	check(t, err)
	check(t, os.WriteFile(config, bytes.Replace(text, []byte("imports = []\n"), nil, 1), 0o640))
	check(t, os.Chmod(config, 0o640))
	s.systemd, err = systemd.Start(systemd.Options{
		Socket: s.path("private"), Units: s.path("units"), RuntimeUnits: s.path("runtime-units"), Logs: s.path("services"),
		Provided: map[string]func(context.Context) error{containerd: s.Node.RestartContainerd},
	})
	check(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(s.systemd.Logs())
		}
		check(t, s.systemd.Close())
	})
	check(t, s.StartAgent(t.Context()))
	team, err := s.NewKey("team")
	check(t, err)
	check(t, s.Require(t.Context(), prod, team))
	s.signed, err = s.Push(t.Context(), "host/signed")
	check(t, err)
	check(t, s.Sign(t.Context(), team, s.signed))
	s.unsigned, err = s.Push(t.Context(), "host/unsigned")
	check(t, err)
	for _, image := range []string{s.signed, s.unsigned} {
		_, err := s.Node.CRI().PullImage(t.Context(), image)
		check(t, err)
	}
	return s
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (s *node) path(name string) string { return filepath.Join(s.Dir, "host", name) }
func (s *node) config() string          { return filepath.Join(s.Node.Dir(), "config.toml") }

// hostArgs are the arguments of kritis install host on this node.
func (s *node) hostArgs(more ...string) []string {
	args := []string{"install", "host", "--bin-dir", s.path("bin"), "--unit-dir", s.path("units"), "--runtime-unit-dir", s.path("runtime-units"),
		"--systemd-socket", s.path("private"), "--plugin-socket", s.PluginSocket(), "--plugin-audit-log", s.AuditLog(),
		"--containerd-config", s.config(), "--every", "200ms", "--log-level", "debug"}
	args = append(args, more...)
	return append(append(args, "--"), s.PluginArgs()[1:]...)
}

// requireArgs are the arguments of kritis install --require on this node.
func (s *node) requireArgs(more ...string) []string {
	return append([]string{"install", "--require", "--containerd-config", s.config(), "--systemd-socket", s.path("private"), "--socket", s.PluginSocket()}, more...)
}

// version returns a program that does the same as the product and is another file.
func (s *node) version(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(s.Program)
	check(t, err)
	path := s.path("kritis-" + name)
	check(t, os.MkdirAll(filepath.Dir(path), 0o755))
	check(t, os.WriteFile(path, append(data, name...), 0o755))
	return path
}

// runs runs a program to its end and returns what it said; it has to exit with the code.
func (s *node) runs(t *testing.T, program string, code int, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	output, err := cmd.CombinedOutput()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != code {
		t.Fatalf("kritis %s: exit code %d, want %d:\n%s", strings.Join(args[:2], " "), got, code, output)
	}
	return string(output)
}

// install installs a version once.
func (s *node) install(t *testing.T, program string) {
	t.Helper()
	s.runs(t, program, 0, s.hostArgs("--once")...)
}

// enforces expects that the node tells signed from unsigned.
func (s *node) enforces(t *testing.T) {
	t.Helper()
	if err := s.Run(t.Context(), prod, s.signed); err != nil {
		t.Errorf("the signed image did not start: %v", err)
	}
	if err := s.Run(t.Context(), prod, s.unsigned); err == nil || !strings.Contains(err.Error(), "is not attested") {
		t.Errorf("the unsigned image: %v, want a denial", err)
	}
}

// startsEverything expects that nobody asks for signatures.
func (s *node) startsEverything(t *testing.T) {
	t.Helper()
	check(t, s.Run(t.Context(), prod, s.unsigned))
}

// startsNothing expects that everything is denied because the plugin is absent.
func (s *node) startsNothing(t *testing.T) {
	t.Helper()
	for _, namespace := range []string{prod, "default", "kube-system"} {
		if err := s.Run(t.Context(), namespace, s.signed); err == nil || !strings.Contains(err.Error(), "not present") {
			t.Errorf("in %s without the plugin: %v, want that the required plugin is not present", namespace, err)
		}
	}
}

// revision is what the running plugin calls its installation.
func (s *node) revision(t *testing.T) string {
	t.Helper()
	status, err := s.Status(t.Context())
	check(t, err)
	if !status.Registered || status.Placement != "host" || status.Revision == "" {
		t.Fatalf("registered %t, placement %q, revision %q", status.Registered, status.Placement, status.Revision)
	}
	return status.Revision
}

// files are the names of what is installed.
func (s *node) files(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(s.path(dir))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
