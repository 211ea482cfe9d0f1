package webhook

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/kritis-node/kritis-node/"

// The webhook decides with the verifier and asks sources. It knows neither nodes nor Kubernetes' client: who watches an
// API server hands over what it found.
func TestImports(t *testing.T) {
	output, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	allowed := []string{"policyagent/webhook", "verifier", "policyagent/attestations", "policyagent/attestations/registry"}
	for pkg := range strings.FieldsSeq(string(output)) {
		if ours, ok := strings.CutPrefix(pkg, module); ok && !slices.Contains(allowed, ours) {
			t.Errorf("the webhook imports %s", pkg)
		}
		if strings.HasPrefix(pkg, "k8s.io/") || strings.HasPrefix(pkg, "sigs.k8s.io/controller-runtime") || strings.HasPrefix(pkg, "github.com/containerd/containerd") {
			t.Errorf("the webhook imports %s", pkg)
		}
	}
}
