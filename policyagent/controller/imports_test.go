package controller

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// What the controller is made of must not come to every node: not by any detour.
func TestNodesDoNotLinkIt(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "github.com/kritis-node/kritis-node/cmd/kritis").Output()
	check(t, err)
	deps := strings.Fields(string(out))
	if !slices.Contains(deps, "github.com/kritis-node/kritis-node/plugin") {
		t.Fatalf("these are not the packages of kritis: %d", len(deps))
	}
	for _, d := range deps {
		for _, never := range []string{
			"sigs.k8s.io/controller-runtime", "github.com/open-policy-agent/cert-controller", "k8s.io/api", "k8s.io/client-go/kubernetes",
			"k8s.io/client-go/applyconfigurations", "github.com/kritis-node/kritis-node/policyagent/controller",
		} {
			if d == never || strings.HasPrefix(d, never+"/") {
				t.Errorf("kritis imports %s", d)
			}
		}
	}
}
