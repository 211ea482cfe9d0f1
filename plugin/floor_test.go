package plugin

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
)

// Which namespaces run without a snapshot is the floor's to say; where it does not, it is kube-system and the agent's own.
func TestBootstrapExempt(t *testing.T) {
	for name, test := range map[string]struct {
		floor   string
		exempt  []string
		runs    []string
		refused []string
	}{
		"no file":                    {"", nil, []string{"kube-system"}, []string{"kritis-system", "prod", ""}},
		"no file, the agent's":       {"", []string{"kritis-system"}, []string{"kube-system", "kritis-system"}, []string{"kritis-systems", "prod", ""}},
		"a file without":             {"version: 1\n", []string{"kritis-system"}, []string{"kube-system", "kritis-system"}, []string{"prod"}},
		"a file that names":          {"version: 1\nbootstrapExempt: [infra]\n", []string{"kritis-system"}, []string{"infra"}, []string{"kritis-system", "kube-system"}},
		"a file that exempts nobody": {"version: 1\nbootstrapExempt: []\n", []string{"kritis-system"}, nil, []string{"kritis-system", "kube-system"}},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "floor.yaml")
			if test.floor != "" {
				if err := os.WriteFile(file, []byte(test.floor), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			inForce := newRuleStore(t.TempDir(), file, test.exempt, slog.New(slog.DiscardHandler)).load()
			floor := inForce.Floor
			if inForce.broken != "" || inForce.floor != test.floor {
				t.Fatalf("%+v", inForce)
			}
			for _, ns := range test.runs {
				if !floor.Exempts(ns) {
					t.Errorf("%s is not exempt", ns)
				}
			}
			for _, ns := range test.refused {
				if floor.Exempts(ns) {
					t.Errorf("%q is exempt", ns)
				}
			}
		})
	}
	if _, err := New(Config{StateDir: t.TempDir(), BootstrapExempt: []string{"a b"}}); err == nil {
		t.Error("a pattern that cannot match is taken")
	}
}
