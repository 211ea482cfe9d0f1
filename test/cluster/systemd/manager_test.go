package systemd

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/godbus/dbus/v5"

	client "github.com/kritis-node/kritis-node/daemonset/systemd"
	"github.com/kritis-node/kritis-node/test/cluster"
)

// serviceVariable says what kind of service this program is, instead of a test.
const serviceVariable = "KRITIS_SYSTEMD_TEST_SERVICE"

func TestMain(m *testing.M) {
	switch kind := os.Getenv(serviceVariable); kind {
	case "":
		cluster.Isolate()
		os.Exit(m.Run())
	case "dies":
		os.Exit(1)
	case "ready", "silent", "by a child":
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, syscall.SIGTERM)
		if kind == "ready" {
			if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
				panic(err)
			}
		}
		if kind == "by a child" { // whom NotifyAccess=main does not listen to
			child := exec.Command(os.Args[0])
			child.Env = append(os.Environ(), serviceVariable+"=ready")
			if err := child.Start(); err != nil {
				panic(err)
			}
			defer child.Process.Kill()
		}
		<-stop
	}
}

func start(t *testing.T) (*Manager, *client.Conn) {
	t.Helper()
	dir, err := os.MkdirTemp("/run", "systemd-")
	if err != nil {
		t.Fatal(err)
	}
	m, err := Start(Options{Socket: dir + "/private", Units: dir + "/units", RuntimeUnits: dir + "/runtime", Logs: dir + "/logs"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(m.Close(), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	c, err := client.Dial(t.Context(), dir+"/private")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return m, c
}

// unitText is a service of this program.
func unitText(kind, more string) string {
	return "[Service]\nType=notify\nRestart=always\nRestartSec=20ms\nTimeoutStartSec=30s\nEnvironment=\"" + serviceVariable + "=" + kind + "\"\nExecStart=" + os.Args[0] + "\n" + more +
		"[Install]\nWantedBy=multi-user.target\n"
}

func (m *Manager) put(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(m.options.Units, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestRefusals(t *testing.T) {
	m, c := start(t)
	m.put(t, "kritis-bad.service", "[Service]\nType=notify\n")
	m.put(t, "kritis-relative.service", "[Service]\nExecStart=kritis plugin\n")
	m.put(t, "kritis-quote.service", "[Service]\nExecStart=/bin/true \"open\n")
	for unit, name := range map[string]string{
		"kritis-none.service": "NoSuchUnit", "kritis-bad.service": "BadUnitSetting", "kritis-relative.service": "BadUnitSetting", "kritis-quote.service": "BadUnitSetting",
	} {
		err := c.Start(t.Context(), unit)
		var failed dbus.Error
		if !errors.As(err, &failed) || !strings.HasSuffix(failed.Name, name) {
			t.Errorf("%s: %v, want %s", unit, err, name)
		}
	}
	if _, err := (methods{m}).StartUnit("kritis-bad.service", "now"); err == nil || !strings.HasSuffix(err.Name, "InvalidArgs") {
		t.Errorf("a mode that does not exist: %v", err)
	}
	if err := c.Enable(t.Context(), "kritis-none.service"); err == nil {
		t.Error("a unit without a file was enabled")
	}
	check(t, c.Stop(t.Context(), "kritis-none.service"))
	if s, err := c.State(t.Context(), "kritis-none.service"); err != nil || s.Load != "not-found" {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestLifeOfAService(t *testing.T) {
	const name = "kritis-life.service"
	m, c := start(t)
	ctx := t.Context()
	m.put(t, name, unitText("ready", ""))
	check(t, c.Enable(ctx, name))
	check(t, c.Start(ctx, name))
	check(t, c.Start(ctx, name))
	if s, err := c.State(ctx, name); err != nil || s != (client.State{Load: "loaded", Active: "active", File: "enabled"}) {
		t.Errorf("%+v, %v", s, err)
	}
	_, pid, starts := m.State(name)
	if starts != 1 {
		t.Errorf("started %d times", starts)
	}
	check(t, syscall.Kill(pid, syscall.SIGKILL))
	check(t, cluster.Await(ctx, "a restart", func(context.Context) error {
		if state, now, _ := m.State(name); state != "active" || now == pid {
			return errors.New(state)
		}
		return nil
	}))
	// What was loaded counts, until it is read again.
	m.put(t, name, unitText("dies", ""))
	check(t, c.Restart(ctx, name))
	if s, err := c.State(ctx, name); err != nil || !s.Stale {
		t.Errorf("%+v, %v; want that the file is newer", s, err)
	}
	check(t, c.Reload(ctx))
	if err := c.Restart(ctx, name); err == nil || !strings.Contains(err.Error(), "failed") {
		t.Errorf("a service that dies: %v", err)
	}
	check(t, c.Stop(ctx, name))
	_, _, starts = m.State(name)
	m.put(t, name, unitText("ready", ""))
	check(t, c.Reload(ctx))
	check(t, m.PowerOff())
	if state, _, _ := m.State(name); state != "inactive" {
		t.Errorf("after a power cut it is %s", state)
	}
	check(t, m.Boot())
	if state, _, now := m.State(name); state != "active" || now != 1 {
		t.Errorf("after a boot it is %s, started %d times, before %d", state, now, starts)
	}
	check(t, c.Disable(ctx, name))
	check(t, m.PowerOff())
	check(t, m.Boot())
	if state, _, _ := m.State(name); state != "inactive" {
		t.Errorf("disabled, it is %s after a boot", state)
	}
}

func TestReadiness(t *testing.T) {
	m, c := start(t)
	for _, kind := range []string{"silent", "by a child", "dies"} {
		name := "kritis-" + strings.ReplaceAll(kind, " ", "-") + ".service"
		m.put(t, name, unitText(kind, "TimeoutStartSec=1s\n"))
		if err := c.Start(t.Context(), name); err == nil {
			t.Errorf("%s: it counts as started", kind)
		}
		check(t, c.Stop(t.Context(), name))
	}
}

func TestWords(t *testing.T) {
	for line, want := range map[string][]string{
		`/bin/a b  c`: {"/bin/a", "b", "c"}, `"/bin/a b" 'c d'`: {"/bin/a b", "c d"}, `/a "b\"c" d\\e 100%%`: {"/a", `b"c`, `d\e`, "100%"}, `/a ""`: {"/a", ""},
	} {
		if got, err := splitWords(line); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v, want %q", line, got, err, want)
		}
	}
	u := parseUnit("/u", "[Service]\nExecStart=/a $ARGS \"$$HOME\" x\nEnvironment=\"ARGS=one two\"\nEnvironmentFile=-/nonexistent\n")
	args, _, err := u.expand(func(path string) string { return path })
	if want := []string{"/a", "one", "two", "$HOME", "x"}; err != nil || !slices.Equal(args, want) {
		t.Errorf("%q, %v", args, err)
	}
}
