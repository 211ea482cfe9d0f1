package plugin

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/kritis-node/kritis-node/"

// The plugin depends on the verifier and on the files that it shares with the agent, on nothing else of ours; and
// nothing but commands, tests and installation depends on the plugin.
func TestImports(t *testing.T) {
	allowed := []string{"plugin", "plugin/runtimeconfig", "plugin/inventory", "verifier", "policyagent/nodestate", "policyagent/nodestate/durable"}
	for _, pkg := range list(t, "-deps", ".") {
		if ours, ok := strings.CutPrefix(pkg, module); ok && !slices.Contains(allowed, ours) {
			t.Errorf("the plugin imports %s", pkg)
		}
		// Whoever holds credentials or speaks to a cluster is somebody else.
		for _, foreign := range []string{"k8s.io/", "sigs.k8s.io/controller-runtime", "github.com/google/go-containerregistry", "github.com/aliyun/"} {
			if strings.HasPrefix(pkg, foreign) {
				t.Errorf("the plugin imports %s", pkg)
			}
		}
	}
	users := []string{"cmd/", "test/", "daemonset", "plugin", "docs"}
	for _, line := range list(t, "-f", `{{.ImportPath}} {{join .Imports ","}}`, "../...") {
		pkg, imports, _ := strings.Cut(line, " ")
		ours := strings.TrimPrefix(pkg, module)
		if slices.Contains(strings.Split(imports, ","), module+"plugin") && !slices.ContainsFunc(users, func(u string) bool { return strings.HasPrefix(ours, u) }) {
			t.Errorf("%s imports the plugin", pkg)
		}
	}
}

// list runs go list and returns its lines.
func list(t *testing.T, args ...string) []string {
	t.Helper()
	output, err := exec.Command("go", append([]string{"list"}, args...)...).Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	return strings.Split(strings.TrimSpace(string(output)), "\n")
}
