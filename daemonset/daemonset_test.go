// Package daemonset holds what is installed on nodes. Its tests let systemd and containerd read it.
package daemonset

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/cmd/containerd/server/config"

	"github.com/kritis-node/kritis-node/plugin"
)

// program is what the units start. It is not installed where the tests run.
const program = "/usr/local/bin/kritis"

// units are the services, and the exposure that systemd-analyze may find, in tenths. What remains is that they run as
// root, see the host's files, and open sockets; the plugin also gives up the network by itself, which takes two
// capabilities and a namespace.
var units = map[string]string{
	"kritis-plugin.service":      "16",
	"kritis-policyagent.service": "17",
}

// analyze runs systemd-analyze on a copy of the unit whose program exists, and returns its output.
func analyze(t *testing.T, unit string, args ...string) string {
	t.Helper()
	tool, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Fatal("systemd-analyze is missing: install it with apt-get install systemd")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), unit)
	text := strings.ReplaceAll(readFile(t, "systemd/"+unit), program, self)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), tool, append(args, path)...)
	cmd.Env = append(os.Environ(), "SYSTEMD_COLORS=0")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		if _, ok := errors.AsType[*exec.ExitError](err); !ok {
			t.Fatal(err)
		}
		t.Errorf("systemd-analyze %s: %v\n%s", strings.Join(args, " "), err, out.String())
	}
	return out.String()
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestSystemdAcceptsTheUnits(t *testing.T) {
	for unit := range units {
		t.Run(unit, func(t *testing.T) {
			// It names what it does not understand, and still ends well.
			out := analyze(t, unit, "verify")
			if strings.Contains(out, unit) {
				t.Errorf("systemd-analyze verify complains:\n%s", out)
			}
		})
	}
}

func TestUnitsExposeLittle(t *testing.T) {
	for unit, limit := range units {
		t.Run(unit, func(t *testing.T) {
			analyze(t, unit, "security", "--offline=yes", "--no-pager", "--threshold="+limit)
		})
	}
}

// settings returns a unit's settings. A setting that stands there twice has two values.
func settings(t *testing.T, unit string) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	for line := range strings.Lines(readFile(t, "systemd/"+unit)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(key, "#") {
			found[key] = append(found[key], value)
		}
	}
	return found
}

// What keeps a node alive, and what systemd-analyze does not look at.
func TestUnitsKeepTheNodeRunning(t *testing.T) {
	for unit := range units {
		s := settings(t, unit)
		for key, want := range map[string]string{
			"Restart": "always", "StartLimitIntervalSec": "0", // never given up
			"RuntimeDirectory": "kritis", "RuntimeDirectoryPreserve": "yes", // two sockets, one folder
			"User": "root", // whom the state folder belongs to
		} {
			if !slices.Equal(s[key], []string{want}) {
				t.Errorf("%s: %s is %q, want %q", unit, key, s[key], want)
			}
		}
		for _, key := range []string{"WatchdogSec", "Requires", "BindsTo", "PartOf"} {
			if len(s[key]) > 0 {
				t.Errorf("%s: %s is set: the service must not end with another, nor by a timer", unit, key)
			}
		}
	}
	s := settings(t, "kritis-plugin.service")
	for key, want := range map[string]string{
		"Type": "notify", "Before": "kubelet.service", "After": "containerd.service",
		// Longer than the plugin's own patience with a runtime, and never without end: the kubelet waits for it.
		"TimeoutStartSec": "30s",
		// What plugin.GiveUpNetwork needs.
		"CapabilityBoundingSet": "CAP_SYS_ADMIN CAP_SETPCAP", "RestrictNamespaces": "net", "RestrictAddressFamilies": "AF_UNIX AF_NETLINK",
	} {
		if !slices.Equal(s[key], []string{want}) {
			t.Errorf("plugin: %s is %q, want %q", key, s[key], want)
		}
	}
}

// load lets containerd's own loader read a configuration that imports the drop-in, and returns the validator's table.
// The names of further are relative to the folder of config.toml.
func load(t *testing.T, main string, further map[string]string) map[string]any {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{
		"config.toml":                    "imports = [\"" + dir + "/conf.d/*.toml\"]\n" + main,
		"conf.d/90-kritis-required.toml": readFile(t, "containerd/90-kritis-required.toml"),
	}
	for name, text := range further {
		files[name] = text
	}
	if err := os.Mkdir(dir+"/conf.d", 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cfg := config.Config{Version: 3}
	if err := config.LoadConfig(t.Context(), dir+"/config.toml", &cfg); err != nil {
		t.Fatal(err)
	}
	nri, _ := cfg.Plugins["io.containerd.nri.v1.nri"].(map[string]any)
	validator, _ := nri["default_validator"].(map[string]any)
	return validator
}

const validatorTable = "[plugins.\"io.containerd.nri.v1.nri\".default_validator]\n"

func required(t *testing.T, validator map[string]any) []string {
	t.Helper()
	var names []string
	list, _ := validator["required_plugins"].([]any)
	for _, n := range list {
		name, ok := n.(string)
		if !ok {
			t.Fatalf("%v is not a name", n)
		}
		names = append(names, name)
	}
	return names
}

func TestDropInRequiresThePlugin(t *testing.T) {
	for name, main := range map[string]string{
		"version 2":      "version = 2\n",
		"version 3":      "version = 3\n",
		"version 4":      "version = 4\n",
		"other settings": "version = 3\n[plugins.\"io.containerd.nri.v1.nri\"]\nsocket_path = \"/x\"\n",
		"switched off":   "version = 3\n" + validatorTable + "enable = false\n",
	} {
		t.Run(name, func(t *testing.T) {
			v := load(t, main, nil)
			if names := required(t, v); !slices.Equal(names, []string{plugin.Name}) || v["enable"] != true {
				t.Errorf("%v", v)
			}
			if _, set := v["tolerate_missing_plugins_annotation"]; set {
				t.Error("pods may opt out")
			}
		})
	}
}

// The last file that names required plugins wins: the drop-in's comment and docs/node.md tell so.
func TestRequiredPluginsAreReplacedNotJoined(t *testing.T) {
	others := validatorTable + "required_plugins = [\"other\"]\n"
	if names := required(t, load(t, "version = 3\n"+others, nil)); !slices.Equal(names, []string{plugin.Name}) {
		t.Errorf("config.toml requires another plugin: %v", names)
	}
	later := map[string]string{"conf.d/95-other.toml": "version = 3\n" + others}
	if names := required(t, load(t, "version = 3\n", later)); !slices.Equal(names, []string{"other"}) {
		t.Errorf("a later file requires another plugin: %v", names)
	}
}
