package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/kritis-node/kritis-node/daemonset/systemd"
	"github.com/kritis-node/kritis-node/plugin"
)

// Config is what is installed, and where. Paths are the host's: its folders are mounted under the same names.
type Config struct {
	// Program is the binary to install: this one.
	Program string
	// BinDir takes it. Nothing else is in there.
	BinDir string
	// UnitDir is the administrator's folder of unit files, RuntimeUnitDir the one that a reboot empties.
	UnitDir, RuntimeUnitDir string
	SystemdSocket           string
	// PluginSocket is where the plugin's status is served; its folder takes other files that a reboot forgets.
	PluginSocket string
	// AuditLog is the plugin's; empty: none is written.
	AuditLog string
	// PluginArgs are further flags of the plugin. KRITIS_PLUGIN_ARGS of /etc/kritis/plugin.env come after them.
	PluginArgs []string
	// ContainerdConfig and ContainerdUnit are the runtime's.
	ContainerdConfig, ContainerdUnit string
	// Every is how often the installation is compared with what it should be.
	Every time.Duration
	// Patience is how long a plugin that has started may take to say who it is.
	Patience time.Duration
	// Ask returns what a plugin says of itself at a socket.
	Ask func(ctx context.Context, socket string) (plugin.Status, error)
	Log *slog.Logger
}

// WithDefaults fills in what is empty and not meaningful when empty.
func (c Config) WithDefaults() Config {
	or := func(s *string, d string) {
		if *s == "" {
			*s = d
		}
	}
	or(&c.BinDir, "/opt/kritis/bin")
	or(&c.UnitDir, "/etc/systemd/system")
	or(&c.RuntimeUnitDir, "/run/systemd/system")
	or(&c.SystemdSocket, systemd.DefaultSocket)
	or(&c.PluginSocket, plugin.DefaultSocket)
	or(&c.ContainerdConfig, "/etc/containerd/config.toml")
	or(&c.ContainerdUnit, "containerd.service")
	if c.Every == 0 {
		c.Every = 5 * time.Second
	}
	if c.Patience == 0 {
		c.Patience = 20 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

func (c Config) check() error {
	if c.Ask == nil {
		return errors.New("nobody was named who asks the plugin")
	}
	for flag, path := range map[string]string{
		"--bin-dir": c.BinDir, "--unit-dir": c.UnitDir, "--runtime-unit-dir": c.RuntimeUnitDir, "--plugin-socket": c.PluginSocket, "program": c.Program,
	} {
		if !filepath.IsAbs(path) || strings.ContainsAny(path, "\n\r\x00") {
			return fmt.Errorf("%s is %q, must be an absolute path", flag, path)
		}
	}
	for _, arg := range c.PluginArgs {
		if strings.ContainsFunc(arg, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return fmt.Errorf("flag %q of the plugin has control characters: leave them out", arg)
		}
	}
	if c.Every < 0 || c.Patience < 0 {
		return errors.New("times are negative: name a time such as 5s")
	}
	return nil
}

func (c Config) unitPath() string     { return filepath.Join(c.UnitDir, systemd.PluginUnit) }
func (c Config) nextUnitPath() string { return filepath.Join(c.RuntimeUnitDir, systemd.NextUnit) }

// nextSocket and nextAuditLog are those of the plugin that stands in while another is replaced: both are running then.
func (c Config) nextSocket() string { return beside(c.PluginSocket, "next") }

func (c Config) nextAuditLog() string {
	if c.AuditLog == "" {
		return ""
	}
	return beside(c.AuditLog, "next")
}

// RestartMark is a file beside the plugin's socket. It is there while containerd runs with a configuration that requires the plugin although its files no longer do.
const RestartMark = "containerd-restart-needed"

func (c Config) restartMark() string { return filepath.Join(filepath.Dir(c.PluginSocket), RestartMark) }

// beside puts a word before a path's extension.
func beside(path, word string) string {
	ext := filepath.Ext(path)
	return strings.TrimSuffix(path, ext) + "-" + word + ext
}
