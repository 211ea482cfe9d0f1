package main

import (
	"os/exec"
	"strings"
	"testing"
)

// This program runs twice on every node, and what it is linked with is in the memory of each: see docs/decisions/0007.
func TestImports(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Fields(string(out))
	if len(all) < 50 {
		t.Fatalf("%d packages only", len(all))
	}
	for _, p := range all {
		for _, heavy := range []string{"k8s.io/api/", "k8s.io/client-go/kubernetes", "sigs.k8s.io/controller-runtime"} {
			if strings.HasPrefix(p, heavy) {
				t.Errorf("it needs %s", p)
			}
		}
	}
}
