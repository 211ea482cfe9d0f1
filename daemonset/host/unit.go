package host

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/kritis-node/kritis-node/daemonset/systemd"
	"github.com/kritis-node/kritis-node/plugin"
)

// heading begins a generated unit file.
const heading = "# Written by `kritis install host`, which undoes changes. Make yours with `systemctl edit kritis-plugin`, and further flags\n" +
	"# with KRITIS_PLUGIN_ARGS in /etc/kritis/plugin.env.\n\n"

// units are the texts of the unit files that belong to a program and its flags.
type units struct {
	// revision names both. The plugin says it in its status, so that one can tell which unit it was started from.
	revision   string
	main, next string
}

// newUnits writes everything that a start of the plugin depends on into one file, so that replacing the file replaces all
// of it at once.
func newUnits(cfg Config, program string) units {
	flags := func(revision, socket, audit string) []string {
		return []string{"--placement", string(plugin.PlacementHost), "--revision", revision, "--socket", socket, "--audit-log", audit}
	}
	text := func(revision, socket, audit string) string {
		words := append([]string{program, "plugin"}, cfg.PluginArgs...)
		line := "ExecStart=" + quoted(words) + " $KRITIS_PLUGIN_ARGS " + quoted(flags(revision, socket, audit)) + "\n"
		return heading + strings.Replace(systemd.PluginUnitText(), systemd.ExecStart, line, 1)
	}
	sum := sha256.Sum256([]byte(text("", cfg.PluginSocket, cfg.AuditLog)))
	u := units{revision: hex.EncodeToString(sum[:8])}
	u.main = text(u.revision, cfg.PluginSocket, cfg.AuditLog)
	u.next = text(u.revision, cfg.nextSocket(), cfg.nextAuditLog())
	// A reboot forgets this one: it is not enabled, and is in the runtime's folder.
	u.next, _, _ = strings.Cut(u.next, "[Install]")
	u.next = strings.Replace(u.next, "Description=kritis-node plugin:", "Description=kritis-node plugin while another is replaced:", 1)
	return u
}

// quoted writes words so that systemd reads them as they are.
func quoted(words []string) string {
	out := make([]string, len(words))
	for i, w := range words {
		w = strings.NewReplacer(`\`, `\\`, `"`, `\"`, `%`, `%%`, `$`, `$$`).Replace(w)
		out[i] = fmt.Sprintf(`"%s"`, w)
	}
	return strings.Join(out, " ")
}
