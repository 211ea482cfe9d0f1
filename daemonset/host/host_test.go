package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/kritis-node/kritis-node/daemonset/systemd"
	"github.com/kritis-node/kritis-node/plugin"
	"github.com/kritis-node/kritis-node/policyagent/kube"
)

func ask(context.Context, string) (plugin.Status, error) {
	return plugin.Status{}, errors.New("no plugin runs")
}

func installer(t *testing.T, change func(*Config)) *Installer {
	t.Helper()
	program := filepath.Join(t.TempDir(), "kritis")
	if err := os.WriteFile(program, []byte("a program"), 0o755); err != nil {
		t.Fatal(err)
	}
	cfg := Config{Program: program, BinDir: filepath.Join(t.TempDir(), "bin"), AuditLog: "/var/log/kritis/decisions.jsonl", Ask: ask}
	if change != nil {
		change(&cfg)
	}
	i, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// TestUnitsAreSystemds lets systemd's own parser read what is generated, with arguments that it has to quote.
func TestUnitsAreSystemds(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Fatal("systemd-analyze is missing: install it with apt-get install systemd")
	}
	i := installer(t, func(c *Config) {
		c.PluginArgs = []string{"--floor=/etc/with space/100%.yaml", `--x="quoted" \ $HOME`}
	})
	if _, err := i.program.install(); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{systemd.PluginUnit: i.units.main, systemd.NextUnit: i.units.next} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), name)
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			out, err := exec.CommandContext(t.Context(), analyze, "verify", path).CombinedOutput()
			if err != nil || bytes.Contains(out, []byte(name)) {
				t.Errorf("%v\n%s", err, out)
			}
			want := `ExecStart="` + i.program.path + `" "plugin" "--floor=/etc/with space/100%%.yaml" "--x=\"quoted\" \\ $$HOME" $KRITIS_PLUGIN_ARGS "--placement" "host" "--revision" "` + i.units.revision + `" `
			if !strings.Contains(text, want) {
				t.Errorf("no %s in\n%s", want, text)
			}
			if strings.Contains(text, "/usr/local/bin/kritis") {
				t.Error("it starts another program")
			}
		})
	}
	if strings.Contains(i.units.next, "WantedBy") || !strings.Contains(i.units.main, "WantedBy=multi-user.target") {
		t.Error("a reboot must know the service and forget the stand-in")
	}
	for _, path := range []string{i.cfg.PluginSocket, i.cfg.AuditLog} {
		if strings.Contains(i.units.next, `"`+path+`"`) || !strings.Contains(i.units.main, `"`+path+`"`) {
			t.Errorf("both write to %s", path)
		}
	}
}

// TestRevision shows that whatever a start depends on is in the revision's name.
func TestRevision(t *testing.T) {
	seen := map[string]string{}
	for name, change := range map[string]func(*Config){
		"as it is":        func(*Config) {},
		"flags":           func(c *Config) { c.PluginArgs = []string{"--log-level=debug"} },
		"flags elsewhere": func(c *Config) { c.PluginArgs = []string{"--log-level", "debug"} },
		"socket":          func(c *Config) { c.PluginSocket = "/run/other/plugin.sock" },
		"audit log":       func(c *Config) { c.AuditLog = "" },
		"program": func(c *Config) {
			if err := os.WriteFile(c.Program, []byte("another"), 0o755); err != nil {
				t.Fatal(err)
			}
		},
	} {
		i := installer(t, func(c *Config) { c.BinDir = "/opt/kritis/bin"; change(c) })
		if other, twice := seen[i.units.revision]; twice {
			t.Errorf("%q and %q have the same revision", name, other)
		}
		seen[i.units.revision] = name
	}
}

func TestConfigIsRefused(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"relative": func(c *Config) { c.BinDir = "bin" }, "line end in a path": func(c *Config) { c.BinDir = "/opt\nExecStart=/bin/sh" },
		"line end in a flag": func(c *Config) { c.PluginArgs = []string{"a\nExecStart=/bin/sh"} }, "nobody asks": func(c *Config) { c.Ask = nil },
		"no program": func(c *Config) { c.Program = "/nonexistent" },
	} {
		cfg := Config{Program: os.Args[0], Ask: ask}
		change(&cfg)
		if _, err := New(cfg); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

// TestProgramIsRepaired shows that a program that is damaged is replaced, and that only programs are removed.
func TestProgramIsRepaired(t *testing.T) {
	i := installer(t, nil)
	if added, err := i.program.install(); !added || err != nil {
		t.Fatal(added, err)
	}
	if added, err := i.program.install(); added || err != nil {
		t.Fatal("installed twice", err)
	}
	dir := i.cfg.BinDir
	for name, damage := range map[string]func() error{
		"cut":        func() error { return os.Truncate(i.program.path, 3) },
		"other text": func() error { return os.WriteFile(i.program.path, []byte("A program"), 0o755) },
		"mode":       func() error { return os.Chmod(i.program.path, 0o600) },
		"link":       func() error { return errors.Join(os.Remove(i.program.path), os.Symlink("/bin/true", i.program.path)) },
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		if added, err := i.program.install(); !added || err != nil {
			t.Errorf("%s: installed %t, %v", name, added, err)
		}
		if text, err := os.ReadFile(i.program.path); err != nil || string(text) != "a program" {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
	others := []string{"kritis", "kritis-policyagent", ".kritis-1.tmp"}
	old := []string{"kritis-0000000000000000", "kritis-1111111111111111", "kritis-2222222222222222"}
	for n, name := range append(others, old...) {
		path := filepath.Join(dir, name)
		when := time.Unix(1_700_000_000+int64(n), 0)
		if err := errors.Join(os.WriteFile(path, nil, 0o755), os.Chtimes(path, when, when)); err != nil {
			t.Fatal(err)
		}
	}
	if err := i.program.removeOld(); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, e := range entries {
		left = append(left, e.Name())
	}
	want := append([]string{old[2], filepath.Base(i.program.path)}, others...)
	slices.Sort(want)
	if slices.Sort(left); !slices.Equal(left, want) {
		t.Errorf("left: %v, want %v", left, want)
	}
}

// TestLeaving shows what an API server has to say for the service to be removed. Anything unclear leaves it.
func TestLeaving(t *testing.T) {
	const object = `{"kind":"DaemonSet","apiVersion":"apps/v1","metadata":{"name":"%s"%s},"spec":{"template":{"spec":{"containers":[{"args":["policyagent"]},{"args":%s}]}}}}`
	const host, pod = `["install","host","--x"]`, `["plugin"]`
	other := strings.Replace(`{"kind":"Status","apiVersion":"v1","status":"Failure","message":"m","reason":"NotFound","code":404,"details":{"name":"NAME","group":"apps","kind":"daemonsets"}}`, "NAME", "another", 1)
	status := func(code int, reason string) string {
		return fmt.Sprintf(`{"kind":"Status","apiVersion":"v1","status":"Failure","message":"m","reason":%q,"code":%d,"details":{"name":"kritis-node","group":"apps","kind":"daemonsets"}}`, reason, code)
	}
	for name, tc := range map[string]struct {
		code   int
		body   string
		remove bool
		fails  bool
	}{
		"still wanted":                    {200, fmt.Sprintf(object, "kritis-node", "", host), false, false},
		"being deleted":                   {200, fmt.Sprintf(object, "kritis-node", `,"deletionTimestamp":"2026-01-01T00:00:00Z"`, host), true, false},
		"other placement":                 {200, fmt.Sprintf(object, "kritis-node", "", pod), true, false},
		"gone":                            {404, status(404, "NotFound"), true, false},
		"not found, but by somebody else": {404, "404 page not found", false, true},
		"another is not found":            {404, other, false, true},
		"no rights":                       {403, status(403, "Forbidden"), false, true},
		"overloaded":                      {429, status(429, "TooManyRequests"), false, true},
		"broken":                          {500, "oops", false, true},
		"another object":                  {200, fmt.Sprintf(object, "other", "", pod), false, true},
		"no object":                       {200, `{}`, false, true},
		"not JSON":                        {200, `<html>`, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/apis/apps/v1/namespaces/kritis-system/daemonsets/kritis-node" {
					t.Errorf("asked for %s", r.URL.Path)
				}
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(tc.code)
				fmt.Fprint(w, tc.body)
			}))
			defer server.Close()
			api, err := kube.NewServer(&rest.Config{Host: server.URL}, "test")
			if err != nil {
				t.Fatal(err)
			}
			defer api.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			remove, _, err := DaemonSet{Server: api, Namespace: "kritis-system", Name: "kritis-node"}.Remove(ctx)
			if remove != tc.remove || (err != nil) != tc.fails {
				t.Errorf("remove %t, error %v", remove, err)
			}
		})
	}
}
