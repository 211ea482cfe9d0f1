package v1beta1

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/kritis-node/kritis-node/test/cluster"
)

// What is generated from the types is that of the types as they are. `make generate` writes it anew.
func TestGeneratedFilesAreFresh(t *testing.T) {
	tool, err := cluster.Tool(t.Context(), "controller-gen")
	if err != nil {
		t.Fatal(err)
	}
	crds, objects := t.TempDir(), t.TempDir()
	cmd := exec.CommandContext(t.Context(), filepath.Join(tool, "controller-gen"), "object", "crd:maxDescLen=1000", "paths=.",
		"output:crd:dir="+crds, "output:object:dir="+objects)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	compare(t, "../../../daemonset/chart/crds", crds)
	const deepCopy = "zz_generated.deepcopy.go"
	compareFile(t, deepCopy, filepath.Join(objects, deepCopy))
}

// compare compares two folders.
func compare(t *testing.T, there, fresh string) {
	t.Helper()
	names := map[string]bool{}
	for _, dir := range []string{there, fresh} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			names[e.Name()] = true
		}
	}
	if len(names) != 4 {
		t.Errorf("%d files of CRDs, want one for each kind", len(names))
	}
	for name := range names {
		compareFile(t, filepath.Join(there, name), filepath.Join(fresh, name))
	}
}

func compareFile(t *testing.T, there, fresh string) {
	t.Helper()
	a, errA := os.ReadFile(there)
	b, errB := os.ReadFile(fresh)
	if errA != nil || errB != nil || !bytes.Equal(a, b) {
		t.Errorf("%s is stale: run make generate (%v, %v)", there, errA, errB)
	}
}
